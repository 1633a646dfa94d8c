// SPDX-License-Identifier: Apache-2.0
// Who waits on a futex: coroutines and threads together, released, cancelled and forked ones, other
// processes.
#include "futex_fixture.h"

#include <array>
#include <climits>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

namespace {

TEST(Futex, CoroutinesAndThreadsAreCountedTogether) {
    word w{1};
    std::atomic<int> woken{0};
    std::vector<std::thread> threads;
    in_coroutine([&] {
        std::vector<stCoRoutine_t *> coroutines;
        for (int i = 0; i < 5; ++i) {
            threads.emplace_back([&] {
                EXPECT_EQ(wait_private(&w, 1), 0);
                ++woken;
            });
            coroutines.push_back(go([&] {
                EXPECT_EQ(wait_private(&w, 1), 0);
                ++woken;
            }));
        }
        EXPECT_EQ(wake_until(&w, 7), 7);
        EXPECT_EQ(wake_until(&w, 3), 3);
        EXPECT_EQ(wake_private(&w, INT_MAX), 0);
        for (stCoRoutine_t *co : coroutines) {
            co_join(co, nullptr);
            co_release(co);
        }
    });
    for (std::thread &t : threads)
        t.join();
    EXPECT_EQ(woken, 10);
}

TEST(Futex, NeitherCoroutinesNorThreadsStarve) {
    word w{1};
    std::atomic<bool> over{false}, thread_woken{false};
    std::thread t([&] {
        EXPECT_EQ(wait_private(&w, 1), 0);
        thread_woken = true;
    });
    in_coroutine([&] {
        std::vector<stCoRoutine_t *> coroutines;
        for (int i = 0; i < 3; ++i)
            coroutines.push_back(go([&] {
                while (!over)
                    wait_private(&w, 1);
            }));
        int wakes = 0;
        for (; !thread_woken && wakes < 1000000; ++wakes) {
            wake_private(&w, 1);
            sched_yield();
        }
        EXPECT_TRUE(thread_woken);
        over = true;
        while (wake_private(&w, 9) > 0)
            sched_yield();
        w = 0;
        for (stCoRoutine_t *co : coroutines) {
            wake_private(&w, 9);
            co_join(co, nullptr);
            co_release(co);
        }
    });
    w = 0;
    wake_private(&w, 9);
    t.join();
}

TEST(Futex, OneThatIsReleasedAfterItWasWokenHandsTheWakeOn) { // contract 38
    word w{1};
    int second = -1;
    in_coroutine([&] {
        std::function<void()> body = [&] { wait_private(&w, 1); };
        stCoRoutine_t *a = go_kept(body);
        stCoRoutine_t *b = go([&] { second = static_cast<int>(wait_private(&w, 1)); });
        co_yield_now();
        EXPECT_EQ(wake_private(&w, 1), 1);
        co_release(a); // woken, and not yet run
        co_join(b, nullptr);
        co_release(b);
    });
    EXPECT_EQ(second, 0);
}

// syscall() and std::atomic::wait are noexcept.
TEST(Futex, ACancelDoesNotEndTheWaitButTheNextOne) { // contract 41
    for (int mode : {CO_CANCEL_UNWIND, CO_CANCEL_ERRNO})
        in_coroutine([mode] {
            word w{1};
            bool woken = false;
            stCoRoutine_t *a = go([&]() noexcept {
                co_cancel_mode(mode);
                w.wait(1);
                woken = true;
            });
            stCoRoutine_t *b = go([&] {
                co_cancel_mode(mode);
                EXPECT_EQ(wait_private(&w, 1), 0);
                EXPECT_EQ(usleep(60000000), -1);
                EXPECT_EQ(errno, ECANCELED);
                EXPECT_EQ(mode, CO_CANCEL_ERRNO);
            });
            for (int i = 0; i < 20; ++i)
                sched_yield();
            EXPECT_EQ(co_cancel(a), 0);
            EXPECT_EQ(co_cancel(b), 0);
            usleep(1000);
            EXPECT_FALSE(woken);
            w = 2;
            w.notify_all();
            while (wake_private(&w, 9) > 0)
                sched_yield();
            co_join(a, nullptr);
            co_join(b, nullptr);
            EXPECT_TRUE(woken);
            co_release(a);
            co_release(b);
        });
}

TEST(Futex, OneThatIsReleasedAfterItWasWokenWakesAThread) { // contract 38
    word w{1};
    std::atomic<pid_t> tid{0};
    std::thread t([&] {
        tid = gettid();
        EXPECT_EQ(wait_private(&w, 1), 0);
    });
    auto asleep = [&] {
        char path[64], state[256] = {};
        snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid.load());
        FILE *f = fopen(path, "r");
        bool is = f && fgets(state, sizeof state, f) && atoi(state) == SYS_futex;
        if (f)
            fclose(f);
        return is;
    };
    while (tid == 0 || !asleep())
        std::this_thread::yield();
    in_coroutine([&] {
        std::function<void()> body = [&] { wait_private(&w, 1); };
        stCoRoutine_t *a = go_kept(body);
        co_yield_now();
        wake_private(&w, 1);
        co_release(a);
    });
    wake_private(&w, 1); // where the wake went to the thread at once, this is one too many
    t.join();
}

TEST(Futex, OneThatIsReleasedLeavesTheQueue) {
    word w{1};
    in_coroutine([&] {
        for (unsigned bits : {~0U, 5U}) {
            std::function<void()> body = [&w, bits] {
                futex(&w, FUTEX_WAIT_BITSET_PRIVATE, 1, nullptr, nullptr, bits);
                ADD_FAILURE() << "it was released";
            };
            stCoRoutine_t *a = go_kept(body);
            co_yield_now();
            co_release(a);
            EXPECT_EQ(wake_private(&w, 9), 0);
        }
    });
}

TEST(Futex, TheChildOfAForkHasNoWaitersButItsOwn) {
    word w{1};
    int here = -1;
    in_coroutine([&] {
        stCoRoutine_t *a = go([&] { here = static_cast<int>(wait_private(&w, 1)); });
        co_yield_now();
        pid_t child = fork();
        if (child == 0) {
            long others = wake_private(&w, 9);
            stCoRoutine_t *own = go([&] { wait_private(&w, 1); });
            co_yield_now();
            _exit(others == 0 && wake_private(&w, 9) == 1 && co_join(own, nullptr) == 0 ? 0 : 1);
        }
        int status = -1;
        EXPECT_EQ(waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
        EXPECT_EQ(wake_private(&w, 9), 1);
        co_join(a, nullptr);
        co_release(a);
    });
    EXPECT_EQ(here, 0);
}

TEST(Futex, ASharedOneIsWokenByAnotherProcess) {
    void *memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    word *w = new (memory) word{1};
    pid_t child = fork();
    if (child == 0) {
        while (syscall(SYS_futex, w, FUTEX_WAKE, 1) != 1) // without any change
            usleep(1000);
        while (syscall(SYS_futex, w, FUTEX_WAKE, 1) != 1)
            usleep(1000);
        _exit(0);
    }
    int ticks = 0;
    bool over = false;
    in_coroutine([&] {
        stCoRoutine_t *ticking = go([&] {
            for (; !over; ++ticks)
                usleep(1000);
        });
        timespec limit{10, 0};
        EXPECT_EQ(futex(w, FUTEX_WAIT, 1, &limit), 0);
        timespec until = in_ms(CLOCK_REALTIME, 10000);
        EXPECT_EQ(futex(w, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 1, &until, nullptr, 8), 0);
        timespec moment = in_ms(-1, 5);
        EXPECT_EQ(futex(w, FUTEX_WAIT, 1, &moment), -1);
        EXPECT_EQ(errno, ETIMEDOUT);
        over = true;
        co_join(ticking, nullptr);
        co_release(ticking);
    });
    EXPECT_GT(ticks, 3);
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    munmap(memory, 4096);
}

TEST(Futex, OtherCoroutinesRunMeanwhile) {
    word w{1};
    int ticks = 0;
    in_coroutine([&] {
        stCoRoutine_t *other = go([&] {
            for (; ticks < 20; ++ticks)
                usleep(500);
            w = 2;
            EXPECT_EQ(wake_private(&w, 1), 1);
        });
        EXPECT_EQ(wait_private(&w, 1), 0);
        EXPECT_EQ(ticks, 20);
        co_join(other, nullptr);
        co_release(other);
    });
}

TEST(Futex, OnASharedStackTheWaiterKeepsItsLocals) { // contract 37
    stShareStack_t *stacks = co_alloc_sharestack(1, 64 * 1024);
    word w{1};
    int ended = 0;
    for (int i = 0; i < 2; ++i)
        go(
            [&, i] {
                int canary[64];
                std::fill_n(canary, 64, i);
                timespec limit{5, i};
                int bits = i + 1;
                EXPECT_EQ(futex(&w, FUTEX_WAIT_BITSET_PRIVATE, 1, nullptr, nullptr,
                                static_cast<unsigned>(bits)),
                          0);
                EXPECT_EQ(limit.tv_nsec, i);
                EXPECT_EQ(std::count(canary, canary + 64, i), 64);
                ++ended;
            },
            stacks);
    in_coroutine([&] {
        EXPECT_EQ(wake_until(&w, 1, FUTEX_WAKE_BITSET_PRIVATE, 2), 1);
        EXPECT_EQ(wake_until(&w, 1, FUTEX_WAKE_BITSET_PRIVATE, 1), 1);
    });
    co_run();
    EXPECT_EQ(ended, 2);
    co_release_sharestack(stacks);
}

} // namespace
