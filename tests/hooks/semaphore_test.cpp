// SPDX-License-Identifier: Apache-2.0
// POSIX semaphores between coroutines, threads, processes and signal handlers.
#include "both.h"

#include <atomic>
#include <climits>
#include <csignal>
#include <fcntl.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

struct semaphore {
    sem_t s;
    explicit semaphore(unsigned value = 0, int shared = 0) {
        EXPECT_EQ(sem_init(&s, shared, value), 0);
    }
    ~semaphore() { sem_destroy(&s); }
    sem_t *operator&() { return &s; }
    int value() {
        int v = -1;
        sem_getvalue(&s, &v);
        return v;
    }
};

timespec from_now(int clock, long ms) {
    timespec t;
    clock_gettime(clock, &t);
    int64_t ns = t.tv_nsec + int64_t{ms} * 1000000; // a long is too short for it on i386
    t.tv_sec += static_cast<time_t>(ns / 1000000000);
    t.tv_nsec = static_cast<long>(ns % 1000000000);
    return t;
}

void finish(std::vector<stCoRoutine_t *> &all) {
    for (stCoRoutine_t *co : all) {
        co_join(co, nullptr);
        co_release(co);
    }
    all.clear();
}

TEST(Semaphore, LibcStillLaysItOutAsWeReadIt) {
    for (unsigned shared : {0U, 1U}) {
        semaphore s(3, static_cast<int>(shared));
        auto *words = reinterpret_cast<const unsigned *>(&s.s);
#if defined(__x86_64__)
        EXPECT_EQ(words[0], 3U);
        EXPECT_EQ(words[2] != 0, shared != 0);
#else
        EXPECT_EQ(words[0], 3U << 1);
        EXPECT_EQ(words[1] != 0, shared != 0);
#endif
    }
}

TEST(Semaphore, ResultsAndErrorsAreLibcs) {
    expect_same([](side &s) {
        semaphore sem(2), full(SEM_VALUE_MAX);
        timespec past{0, 0}, negative{-5, 0}, bad{1, 1000000000};
        errno = 77;
        s.says("wait", sem_wait(&sem));
        s.says("errno stays", errno);
        s.says("timed, in the past", sem_timedwait(&sem, &past));
        s.says("none left", sem_timedwait(&sem, &past));
        s.says("before the clock began", sem_timedwait(&sem, &negative));
        s.says("bad time", sem_timedwait(&sem, &bad));
        s.says("bad clock", sem_clockwait(&sem, CLOCK_BOOTTIME, &past));
        s.says("bad time of a clock", sem_clockwait(&sem, CLOCK_MONOTONIC, &bad));
        s.says("try", sem_trywait(&sem));
        s.says("post", sem_post(&sem));
        s.says("bad time, though one is there", sem_timedwait(&sem, &bad));
        s.says("value", sem.value());
        s.says("post the full one", sem_post(&full));
        for (int clock : {CLOCK_REALTIME, CLOCK_MONOTONIC}) {
            semaphore none;
            timespec until = from_now(clock, 5);
            s.says("until", sem_clockwait(&none, clock, &until));
            timespec now;
            clock_gettime(clock, &now);
            s.says("it is over", now.tv_sec > until.tv_sec ||
                                     (now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec));
        }
    });
}

TEST(Semaphore, APostLetsOneGoOn) {
    for (int shared : {0, 1})
        expect_same([shared](side &s) {
            semaphore there(0, shared), back(0, shared);
            int value = 0;
            s.partner([&](side &p) {
                for (int i = 0; i < 5; ++i) {
                    p.says("wait", sem_wait(&there));
                    p.says("value", value);
                    sem_post(&back);
                }
            });
            for (int i = 0; i < 5; ++i) {
                value = i * i;
                s.says("post", sem_post(&there));
                timespec limit = from_now(CLOCK_REALTIME, 10000);
                s.says("timedwait", sem_timedwait(&back, &limit));
            }
            s.join();
        });
}

TEST(Semaphore, FirstComeFirstServed) {
    in_coroutine([] {
        semaphore s;
        std::string order;
        std::vector<stCoRoutine_t *> all;
        for (char c : std::string("abcd"))
            all.push_back(go([&, c] {
                sem_wait(&s);
                order += c;
            }));
        co_yield_now();
        for (int i = 0; i < 4; ++i) {
            sem_post(&s);
            sched_yield();
        }
        finish(all);
        EXPECT_EQ(order, "abcd");
    });
}

TEST(Semaphore, ACancelledWaiterHandsItsWakeOn) { // contract 38
    in_coroutine([] {
        semaphore s;
        bool taken = false;
        std::vector<stCoRoutine_t *> all = {go([&] { sem_wait(&s); }),
                                            go([&] { taken = sem_wait(&s) == 0; })};
        co_yield_now();
        sem_post(&s);
        EXPECT_EQ(co_cancel(all[0]), 0);
        finish(all);
        EXPECT_TRUE(taken);
    });
}

TEST(Semaphore, MayBeDestroyedByTheOneThatWasLetGo) {
    in_coroutine([] {
        for (int i = 0; i < 100; ++i) {
            auto s = std::make_unique<semaphore>();
            std::thread t([&] { sem_post(&s->s); });
            EXPECT_EQ(sem_wait(&s->s), 0);
            t.join(); // glibc's own rule: sem_post may still look at it
            s.reset();
        }
    });
}

TEST(Semaphore, OthersRunWhileAProcessIsAwaited) {
    auto *s = static_cast<sem_t *>(
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    ASSERT_EQ(sem_init(s, 1, 0), 0);
    ASSERT_EQ(sem_init(s + 1, 1, 0), 0);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 3; ++i) {
            sem_wait(s + 1);
            usleep(2000);
            sem_post(s);
        }
        _exit(0);
    }
    int ticks = 0;
    in_coroutine([&] {
        bool over = false;
        std::vector<stCoRoutine_t *> all = {go([&] {
            for (; !over; ++ticks)
                usleep(500);
        })};
        for (int i = 0; i < 3; ++i) {
            sem_post(s + 1);
            timespec limit = from_now(CLOCK_MONOTONIC, 10000);
            EXPECT_EQ(i == 0 ? sem_wait(s) : sem_clockwait(s, CLOCK_MONOTONIC, &limit), 0);
        }
        timespec limit = from_now(CLOCK_REALTIME, 4);
        EXPECT_EQ(sem_timedwait(s, &limit), -1);
        EXPECT_EQ(errno, ETIMEDOUT);
        over = true;
        finish(all);
    });
    EXPECT_GT(ticks, 3);
    waitpid(child, nullptr, 0);
    munmap(s, 4096);
}

TEST(Semaphore, ANamedOneIsSharedToo) {
    std::string name = "/corun-test-" + std::to_string(getpid());
    sem_t *s = sem_open(name.c_str(), O_CREAT | O_EXCL, 0600, 0);
    if (s == SEM_FAILED)
        GTEST_SKIP() << "no /dev/shm here";
    pid_t child = fork();
    if (child == 0) {
        usleep(3000);
        sem_post(s);
        _exit(0);
    }
    in_coroutine([&] { EXPECT_EQ(sem_wait(s), 0); });
    waitpid(child, nullptr, 0);
    sem_close(s);
    sem_unlink(name.c_str());
}

sem_t *of_handler;
std::atomic<int> handled;
void post_in_handler(int) {
    ++handled;
    sem_post(of_handler);
}

// A handler runs wherever the signal meets the thread: also inside the table of waiters, the ready
// queue and the loop's sleep.
TEST(Semaphore, PostsOfASignalHandlerAreNotLost) {
    constexpr int signals = 600;
    semaphore s, busy;
    of_handler = &s;
    handled = 0;
    struct sigaction action {
    }, former;
    action.sa_handler = post_in_handler;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, &former);
    pthread_t target = pthread_self();
    std::thread sender([&] {
        for (int i = 1; i <= signals; ++i) {
            pthread_kill(target, SIGUSR1);
            while (handled < i) // a pending one would swallow the next
                std::this_thread::yield();
            if (i % 100 == 0)
                usleep(1000); // let the loop fall asleep
        }
    });
    in_coroutine([&] {
        int taken = 0;
        std::vector<stCoRoutine_t *> all;
        for (int i = 0; i < 2; ++i)
            all.push_back(go([&] {
                for (int k = 0; k < signals / 2; ++k) {
                    timespec limit = from_now(CLOCK_MONOTONIC, 10000);
                    if (sem_clockwait(&s, CLOCK_MONOTONIC, &limit) != 0) {
                        ADD_FAILURE() << "a post was lost after " << taken;
                        return;
                    }
                    ++taken;
                }
            }));
        // The same queue, all the time.
        for (int i = 0; i < 2; ++i)
            all.push_back(go([&, i] {
                while (taken < signals && handled < signals) {
                    if (i == 0)
                        sem_post(&busy);
                    else
                        sem_wait(&busy);
                    sched_yield();
                }
                sem_post(&busy);
            }));
        finish(all);
        EXPECT_EQ(taken, signals);
    });
    sender.join();
    EXPECT_EQ(s.value(), 0);
    sigaction(SIGUSR1, &former, nullptr);
}

TEST(Semaphore, OnASharedStackTheWaiterKeepsItsLocals) { // contract 37
    stShareStack_t *stacks = co_alloc_sharestack(1, 64 * 1024);
    semaphore s;
    int ended = 0;
    for (int i = 0; i < 2; ++i)
        go(
            [&, i] {
                timespec limit = from_now(CLOCK_REALTIME, 5000 + i), same = limit;
                EXPECT_EQ(sem_timedwait(&s, &limit), 0);
                EXPECT_EQ(memcmp(&limit, &same, sizeof same), 0);
                ++ended;
            },
            stacks);
    in_coroutine([&] {
        co_yield_now();
        sem_post(&s);
        sem_post(&s);
    });
    co_run();
    EXPECT_EQ(ended, 2);
    co_release_sharestack(stacks);
}

} // namespace
