// SPDX-License-Identifier: Apache-2.0
// Barriers, spin locks and the yielding functions.
#include "both.h"

#include <atomic>
#include <climits>
#include <mutex>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

namespace {

void finish(std::vector<stCoRoutine_t *> &all) {
    for (stCoRoutine_t *co : all) {
        co_join(co, nullptr);
        co_release(co);
    }
    all.clear();
}

// One that is released while it waits runs no destructor: its body is the caller's.
stCoRoutine_t *go_kept(std::function<void()> &body) {
    stCoRoutine_t *co = nullptr;
    auto run = [](void *f) -> void * {
        co_enable_hook_sys();
        (*static_cast<std::function<void()> *>(f))();
        return nullptr;
    };
    EXPECT_EQ(co_go(&co, nullptr, run, &body), 0);
    return co;
}

// ---- Barriers ------------------------------------------------------------------------------------

TEST(Barrier, EachRoundHasOneSerialOne) {
    for (int shared : {PTHREAD_PROCESS_PRIVATE, PTHREAD_PROCESS_SHARED})
        expect_same([shared](side &s) {
            constexpr int parties = 4, rounds = 5;
            pthread_barrierattr_t attr;
            pthread_barrierattr_init(&attr);
            pthread_barrierattr_setpshared(&attr, shared);
            pthread_barrier_t b;
            s.says("init", pthread_barrier_init(&b, &attr, parties));
            std::atomic<int> arrived{0}, serial{0};
            std::atomic<bool> early{false};
            auto party = [&] {
                for (int round = 1; round <= rounds; ++round) {
                    ++arrived;
                    int r = pthread_barrier_wait(&b);
                    if (arrived < round * parties)
                        early = true;
                    serial += r == PTHREAD_BARRIER_SERIAL_THREAD;
                    if (r != 0 && r != PTHREAD_BARRIER_SERIAL_THREAD)
                        early = true;
                }
            };
            for (int i = 1; i < parties; ++i)
                s.partner([&](side &) { party(); });
            party();
            s.join();
            s.says("serial ones", serial.load());
            s.says("early", early.load());
            s.says("destroy", pthread_barrier_destroy(&b));
            s.says("of nobody", pthread_barrier_init(&b, nullptr, 0));
        });
}

TEST(Barrier, CoroutinesAndThreadsTogether) {
    constexpr int each = 3, rounds = 200;
    pthread_barrier_t b;
    ASSERT_EQ(pthread_barrier_init(&b, nullptr, 2 * each), 0);
    std::atomic<int> arrived{0}, serial{0}, early{0};
    auto party = [&] {
        for (int round = 1; round <= rounds; ++round) {
            ++arrived;
            serial += pthread_barrier_wait(&b) == PTHREAD_BARRIER_SERIAL_THREAD;
            early += arrived < round * 2 * each;
        }
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < each; ++i)
        threads.emplace_back(party);
    in_coroutine([&] {
        std::vector<stCoRoutine_t *> all;
        for (int i = 0; i < each; ++i)
            all.push_back(go(party));
        finish(all);
    });
    for (std::thread &t : threads)
        t.join();
    EXPECT_EQ(serial, rounds);
    EXPECT_EQ(early, 0);
    EXPECT_EQ(pthread_barrier_destroy(&b), 0);
}

TEST(Barrier, MayBeDestroyedWhileTheOthersHaveNotLeftYet) {
    in_coroutine([] {
        for (int i = 0; i < 100; ++i) {
            auto *b = new pthread_barrier_t;
            pthread_barrier_init(b, nullptr, 3);
            auto party = [b] {
                if (pthread_barrier_wait(b) == PTHREAD_BARRIER_SERIAL_THREAD) {
                    EXPECT_EQ(pthread_barrier_destroy(b), 0);
                    delete b;
                }
            };
            std::vector<stCoRoutine_t *> all = {go(party), go(party)};
            std::thread t;
            if (i % 2)
                t = std::thread(party);
            else
                all.push_back(go(party));
            finish(all);
            if (t.joinable())
                t.join();
        }
    });
}

struct words { // libc's
    unsigned in, round, count;
    int shared;
    unsigned out;
};

TEST(Barrier, CountersThatComeToTheirEndBeginAnew) {
    constexpr unsigned parties = 3, last = UINT_MAX / 2 - UINT_MAX / 2 % parties;
    for (bool with_thread : {false, true}) {
        pthread_barrier_t b;
        ASSERT_EQ(pthread_barrier_init(&b, nullptr, parties), 0);
        auto *w = reinterpret_cast<words *>(&b);
        ASSERT_EQ(w->count, parties);
        w->in = w->round = w->out = last - 2 * parties;
        std::atomic<int> serial{0};
        auto party = [&] {
            for (int round = 0; round < 5; ++round)
                serial += pthread_barrier_wait(&b) == PTHREAD_BARRIER_SERIAL_THREAD;
        };
        std::thread t;
        if (with_thread)
            t = std::thread(party);
        in_coroutine([&] {
            std::vector<stCoRoutine_t *> all = {go(party), go(party)};
            if (!with_thread)
                all.push_back(go(party));
            finish(all);
        });
        if (with_thread)
            t.join();
        EXPECT_EQ(serial, 5);
        EXPECT_EQ(w->in, 3 * parties);
        EXPECT_EQ(pthread_barrier_destroy(&b), 0);
    }
}

TEST(Barrier, AnArrivalStandsWhenItIsReleased) {
    in_coroutine([] {
        pthread_barrier_t b;
        pthread_barrier_init(&b, nullptr, 3);
        std::function<void()> party = [&] { pthread_barrier_wait(&b); };
        stCoRoutine_t *gone = go_kept(party);
        std::vector<stCoRoutine_t *> all = {go(party)};
        co_yield_now();
        co_release(gone);
        EXPECT_EQ(pthread_barrier_wait(&b), PTHREAD_BARRIER_SERIAL_THREAD);
        finish(all);
        EXPECT_EQ(pthread_barrier_destroy(&b), 0);
    });
}

TEST(Barrier, ACancelDoesNotEndTheWaitButTheNextOne) { // contract 41
    in_coroutine([] {
        pthread_barrier_t b;
        pthread_barrier_init(&b, nullptr, 2);
        bool passed = false;
        std::vector<stCoRoutine_t *> all = {go([&] {
            EXPECT_EQ(pthread_barrier_wait(&b), 0);
            passed = true;
            usleep(60000000);
            ADD_FAILURE() << "it was cancelled";
        })};
        co_yield_now();
        EXPECT_EQ(co_cancel(all[0]), 0);
        usleep(1000);
        EXPECT_FALSE(passed);
        EXPECT_EQ(pthread_barrier_wait(&b), PTHREAD_BARRIER_SERIAL_THREAD);
        finish(all);
        EXPECT_TRUE(passed);
        EXPECT_EQ(pthread_barrier_destroy(&b), 0);
    });
}

TEST(Barrier, WithAnotherProcess) {
    auto *b = static_cast<pthread_barrier_t *>(
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    pthread_barrierattr_t attr;
    pthread_barrierattr_init(&attr);
    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    ASSERT_EQ(pthread_barrier_init(b, &attr, 3), 0);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 3; ++i) {
            usleep(2000);
            pthread_barrier_wait(b);
        }
        _exit(0);
    }
    in_coroutine([&] {
        auto party = [&] {
            for (int i = 0; i < 3; ++i)
                pthread_barrier_wait(b);
        };
        std::vector<stCoRoutine_t *> all = {go(party), go(party)};
        finish(all);
    });
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    munmap(b, 4096);
}

// ---- Spin locks, and giving way ------------------------------------------------------------------

TEST(Spin, AHolderThatWaitsDoesNotStopTheThread) {
    expect_same([](side &s) {
        pthread_spinlock_t lock;
        s.says("init", pthread_spin_init(&lock, 0));
        int inside = 0, most = 0;
        auto use = [&] {
            for (int i = 0; i < 3; ++i) {
                pthread_spin_lock(&lock);
                most = std::max(most, ++inside);
                usleep(300);
                --inside;
                pthread_spin_unlock(&lock);
            }
        };
        for (int i = 0; i < 3; ++i)
            s.partner([&](side &) { use(); });
        use();
        s.join();
        s.says("inside at once", most);
        s.says("try", pthread_spin_trylock(&lock));
        s.says("try again", pthread_spin_trylock(&lock));
        s.says("unlock", pthread_spin_unlock(&lock));
    });
}

TEST(Spin, AHolderOnAnotherThread) {
    pthread_spinlock_t lock;
    pthread_spin_init(&lock, 0);
    std::atomic<bool> held{false}, wanted{false};
    std::thread t([&] {
        pthread_spin_lock(&lock);
        held = true;
        while (!wanted)
            std::this_thread::yield();
        usleep(2000);
        pthread_spin_unlock(&lock);
    });
    while (!held)
        std::this_thread::yield();
    in_coroutine([&] {
        wanted = true;
        EXPECT_EQ(pthread_spin_lock(&lock), 0);
        EXPECT_EQ(pthread_spin_unlock(&lock), 0);
    });
    t.join();
}

TEST(Spin, ACancelDoesNotEndTheWaitButTheNextOne) { // contract 41
    in_coroutine([] {
        pthread_spinlock_t lock;
        pthread_spin_init(&lock, 0);
        pthread_spin_lock(&lock);
        bool locked = false;
        std::vector<stCoRoutine_t *> all = {go([&] {
            pthread_spin_lock(&lock);
            locked = true;
            usleep(60000000);
            ADD_FAILURE() << "it was cancelled";
        })};
        usleep(5000); // it pauses by now
        EXPECT_EQ(co_cancel(all[0]), 0);
        usleep(2000);
        EXPECT_FALSE(locked);
        pthread_spin_unlock(&lock);
        finish(all);
        EXPECT_TRUE(locked);
    });
}

TEST(Yield, LetsOthersRunTimersAndDescriptorsIncluded) {
    for (int which = 0; which < 3; ++which)
        in_coroutine([which] {
            std::atomic<int> flag{0};
            int fd[2];
            ASSERT_EQ(pipe(fd), 0);
            std::vector<stCoRoutine_t *> all = {go([&] { flag |= 1; }), go([&] {
                                                    usleep(1000);
                                                    flag |= 2;
                                                    EXPECT_EQ(write(fd[1], "x", 1), 1);
                                                }),
                                                go([&] {
                                                    char c;
                                                    EXPECT_EQ(read(fd[0], &c, 1), 1);
                                                    flag |= 4;
                                                })};
            while (flag != 7) {
                if (which == 0)
                    EXPECT_EQ(sched_yield(), 0);
                else if (which == 1)
                    thrd_yield();
                else
                    std::this_thread::yield();
            }
            finish(all);
            close(fd[0]);
            close(fd[1]);
        });
}

TEST(Yield, IsNotWhereACancelActs) { // contract 41: it is noexcept
    in_coroutine([] {
        int turns = 0;
        std::vector<stCoRoutine_t *> all = {go([&] {
            for (; turns < 10; ++turns)
                std::this_thread::yield();
            usleep(60000000);
            ADD_FAILURE() << "it was cancelled";
        })};
        co_yield_now();
        EXPECT_EQ(co_cancel(all[0]), 0);
        void *result = nullptr;
        EXPECT_EQ(co_join(all[0], &result), 0);
        EXPECT_EQ(result, CO_CANCELED);
        EXPECT_EQ(turns, 10);
        co_release(all[0]);
    });
}

} // namespace
