// SPDX-License-Identifier: Apache-2.0
// syscall(), and the futexes behind it: what the kernel says, said to coroutines.
#include "both.h"

#include <array>
#include <atomic>
#include <climits>
#include <fcntl.h>
#include <future>
#include <latch>
#include <linux/futex.h>
#include <poll.h>
#include <semaphore>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using word = std::atomic<int>;

long futex(void *at, int operation, long value, const void *timeout = nullptr,
           void *second = nullptr, unsigned third = 0) {
    return syscall(SYS_futex, at, operation, value, timeout, second, third);
}
long wait_private(word *w, int value) { return futex(w, FUTEX_WAIT_PRIVATE, value); }
long wake_private(word *w, int n) { return futex(w, FUTEX_WAKE_PRIVATE, n); }

// For as long as it takes until so many are asleep and have been woken.
long wake_until(word *w, long wanted, int operation = FUTEX_WAKE_PRIVATE, unsigned bits = ~0U) {
    long woken = 0;
    while (woken < wanted) {
        woken += futex(w, operation, wanted - woken, nullptr, nullptr, bits);
        sched_yield();
    }
    return woken;
}

timespec in_ms(int clock, long ms) {
    timespec t{};
    if (clock >= 0)
        clock_gettime(clock, &t);
    int64_t ns = t.tv_nsec + int64_t{ms} * 1000000; // a long is too short for it on i386
    t.tv_sec += static_cast<time_t>(ns / 1000000000);
    t.tv_nsec = static_cast<long>(ns % 1000000000);
    return t;
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

TEST(Futex, ErrorsAreTheKernels) {
    expect_same([](side &s) {
        alignas(8) int words[2] = {5, 5};
        int *w = &words[0];
        auto *crooked = reinterpret_cast<char *>(w) + 1;
        auto *nowhere = reinterpret_cast<int *>(8);
        timespec bad{0, 1000000000}, negative{-1, 0}, soon = in_ms(-1, 1);
        s.says("changed", futex(w, FUTEX_WAIT_PRIVATE, 4));
        s.says("changed, shared", futex(w, FUTEX_WAIT, 4));
        s.says("changed, bitset", futex(w, FUTEX_WAIT_BITSET, 4, nullptr, nullptr, 1));
        s.says("no bits", futex(w, FUTEX_WAIT_BITSET, 5));
        s.says("crooked", futex(crooked, FUTEX_WAIT_PRIVATE, 5));
        s.says("nowhere", futex(nowhere, FUTEX_WAIT_PRIVATE, 5));
        s.says("bad time", futex(w, FUTEX_WAIT_PRIVATE, 5, &bad));
        s.says("negative time", futex(w, FUTEX_WAIT_PRIVATE, 4, &negative));
        s.says("time nowhere", futex(w, FUTEX_WAIT_PRIVATE, 5, nowhere));
        s.says("wall clock", futex(w, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 5, &soon));
        s.says("no such operation", futex(w, 77, 5));
        s.says("wake on the wall clock", futex(w, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 5));
        s.says("wake crooked", futex(crooked, FUTEX_WAKE_PRIVATE, 5));
        s.says("wake without bits", futex(w, FUTEX_WAKE_BITSET, 5));
        s.says("wake nobody", futex(w, FUTEX_WAKE_PRIVATE, INT_MAX));
        s.says("wake less than nobody", futex(w, FUTEX_WAKE_PRIVATE, -1));
        s.says("move less", futex(w, FUTEX_REQUEUE, 1, reinterpret_cast<void *>(-1L), w));
        s.says("move, changed",
               futex(w, FUTEX_CMP_REQUEUE_PRIVATE, 1, reinterpret_cast<void *>(1L), w + 1, 4));
        s.says("wake_op nowhere", futex(w, FUTEX_WAKE_OP_PRIVATE, 1, nullptr, nowhere, 0));
        s.says("no such wake_op",
               futex(w, FUTEX_WAKE_OP_PRIVATE, 1, nullptr, w + 1, FUTEX_OP(6, 1, 0, 0)));
        s.says("no such comparison",
               futex(w, FUTEX_WAKE_OP_PRIVATE, 1, nullptr, w + 1, FUTEX_OP(FUTEX_OP_ADD, 1, 9, 0)));
        s.says("but it was added", words[1]);
    });
}

TEST(Futex, TimeLimitsOfEachKind) {
    expect_same([](side &s) {
        word w{1};
        timespec relative = in_ms(-1, 5), past{0, 1}, zero{};
        s.says("relative", futex(&w, FUTEX_WAIT_PRIVATE, 1, &relative));
        s.says("no time", futex(&w, FUTEX_WAIT_PRIVATE, 1, &zero));
        s.says("shared", futex(&w, FUTEX_WAIT, 1, &relative));
        for (int clock : {CLOCK_MONOTONIC, CLOCK_REALTIME}) {
            int operation = FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG |
                            (clock == CLOCK_REALTIME ? FUTEX_CLOCK_REALTIME : 0);
            timespec until = in_ms(clock, 5);
            s.says("until", futex(&w, operation, 1, &until, nullptr, 6));
            timespec now;
            clock_gettime(clock, &now);
            s.says("it is over", now.tv_sec > until.tv_sec ||
                                     (now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec));
            s.says("the past", futex(&w, operation, 1, &past, nullptr, ~0U));
        }
#if defined(__i386__)
        struct {
            int64_t seconds;
            int32_t nanoseconds, padding;
        } wide{0, 5000000, -1};
        s.says("time64", syscall(SYS_futex_time64, &w, FUTEX_WAIT_PRIVATE, 1, &wide));
#endif
    });
}

TEST(Futex, AWakeReachesWhoeverWaits) {
    for (int shared : {0, FUTEX_PRIVATE_FLAG})
        expect_same([shared](side &s) {
            word w{1};
            for (int i = 0; i < 3; ++i)
                s.partner([&](side &p) { p.says("wait", futex(&w, FUTEX_WAIT | shared, 1)); });
            s.says("woken one by one", wake_until(&w, 1, FUTEX_WAKE | shared));
            s.says("and the rest", wake_until(&w, 2, FUTEX_WAKE | shared));
            s.says("nobody is left", futex(&w, FUTEX_WAKE | shared, 9));
            s.join();
        });
}

TEST(Futex, BitsChooseWhoIsWoken) {
    expect_same([](side &s) {
        word w{1};
        for (unsigned bits : {1U, 2U, 6U})
            s.partner([&w, bits](side &p) {
                p.says("wait", futex(&w, FUTEX_WAIT_BITSET_PRIVATE, 1, nullptr, nullptr, bits));
            });
        s.says("2 wakes two", wake_until(&w, 2, FUTEX_WAKE_BITSET_PRIVATE, 2));
        s.says("4 nobody", futex(&w, FUTEX_WAKE_BITSET_PRIVATE, 9, nullptr, nullptr, 4));
        s.says("any wakes one", wake_until(&w, 1));
        s.join();
    });
}

TEST(Futex, WaitersAreMovedToAnotherWord) {
    for (int operation : {FUTEX_REQUEUE_PRIVATE, FUTEX_CMP_REQUEUE_PRIVATE})
        for (unsigned bits : {~0U, 3U})
            expect_same([operation, bits](side &s) {
                word from{1}, to{1};
                std::atomic<int> begun{0};
                for (int i = 0; i < 4; ++i)
                    s.partner([&](side &p) {
                        ++begun;
                        p.says("wait",
                               futex(&from, FUTEX_WAIT_BITSET_PRIVATE, 1, nullptr, nullptr, bits));
                    });
                // All are asleep once two could be woken or moved onto the word itself four times.
                auto move = [&](word *onto, int wake, long most) {
                    return futex(&from, operation, wake, reinterpret_cast<void *>(most), onto, 1);
                };
                while (begun < 4 || move(&from, 0, 9) < 4)
                    sched_yield();
                s.says("one woken, two moved", move(&to, 1, 2));
                s.says("the first word's", wake_private(&from, 9));
                s.says("the second word's", wake_private(&to, 1));
                s.says("the second word's last", wake_private(&to, 9));
                s.join();
            });
}

TEST(Futex, WakeOpChangesAndComparesTheSecondWord) {
    expect_same([](side &s) {
        word a{1}, b{40};
        for (word *w : {&a, &b, &b})
            s.partner([w](side &p) { p.says("wait", wait_private(w, w->load())); });
        std::vector<std::pair<int, int>> kinds = {
            {FUTEX_OP_SET, FUTEX_OP_CMP_EQ},
            {FUTEX_OP_ADD, FUTEX_OP_CMP_NE},
            {FUTEX_OP_OR, FUTEX_OP_CMP_LT},
            {FUTEX_OP_ANDN, FUTEX_OP_CMP_LE},
            {FUTEX_OP_XOR, FUTEX_OP_CMP_GT},
            {FUTEX_OP_ADD, FUTEX_OP_CMP_GE},
            {FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT, FUTEX_OP_CMP_EQ}};
        word c{7}, d{40};
        for (auto [operation, comparison] : kinds) {
            long r = futex(&c, FUTEX_WAKE_OP_PRIVATE, 1, reinterpret_cast<void *>(1L), &d,
                           FUTEX_OP(operation, 5, comparison, 40));
            s.says("nobody waits", r);
            s.says("it is now", d.load());
        }
        long woken = 0; // one at a, two at b: as they fall asleep
        while (woken < 3) {
            woken += futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, reinterpret_cast<void *>(2L), &b,
                           FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 40));
            sched_yield();
        }
        s.says("woken", woken);
        s.says("not when it differs",
               futex(&a, FUTEX_WAKE_OP_PRIVATE, 1, reinterpret_cast<void *>(2L), &b,
                     FUTEX_OP(FUTEX_OP_SET, -3, FUTEX_OP_CMP_GT, 40)));
        s.says("set", b.load());
        s.join();
    });
}

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
