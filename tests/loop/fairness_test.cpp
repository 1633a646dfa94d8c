// SPDX-License-Identifier: Apache-2.0
// The loop itself: an idle one does nothing, a busy one forgets nobody.
#include "tests/loop/loop_fixture.h"

#include <sys/resource.h>
#include <sys/wait.h>

using namespace corun;

namespace {

using IdleLoop = LoopTest;
using BusyLoop = LoopTest;
using EventLoop = LoopTest;

long times_slept() { // voluntary context switches of this thread
    rusage r{};
    EXPECT_EQ(getrusage(RUSAGE_THREAD, &r), 0);
    return r.ru_nvcsw;
}

TEST_F(IdleLoop, WakesForNothing) { // contract 33
    std::vector<std::unique_ptr<stream_pair>> pairs;
    std::vector<stCoRoutine_t *> waiting;
    waiting.push_back(keep([] { co_sleep_ms(90000); }));
    for (int i = 0; i < 20; ++i) {
        pairs.push_back(std::make_unique<stream_pair>());
        waiting.push_back(keep([fd = pairs.back()->a] {
            char c;
            recv_in_loop(fd, &c, 1, deadline_in(120 * ns_per_s));
        }));
    }
    settle();
    co_sleep_ms(1); // the first edges of all descriptors are harvested
    uint64_t wakeups = stats_now().wakeups;
    long slept = times_slept();
    EXPECT_EQ(co_sleep_ms(CO_SANITIZED ? 2000 : 10000), 0);
    // Under 5 is the contract's; the end of the sleep is one.
    EXPECT_LT(stats_now().wakeups - wakeups, CO_SANITIZED ? 2U : 5U);
    EXPECT_LT(times_slept() - slept, 5);
    for (stCoRoutine_t *co : waiting)
        EXPECT_EQ(co_cancel(co), 0);
    co_run();
}

// One that is always ready, until the others are done. Returns how often it ran.
int spin_until(const bool *done) {
    int64_t give_up = soon();
    int turns = 0;
    for (; !*done && now_ns() < give_up; ++turns)
        co_yield_now();
    EXPECT_TRUE(*done);
    return turns;
}

TEST_F(BusyLoop, StarvesNoTimer) {
    bool done = false;
    go([&] { EXPECT_GT(spin_until(&done), 100); });
    go([&] {
        for (int i = 0; i < 10; ++i)
            EXPECT_EQ(co_sleep_ms(1), 0);
        done = true;
    });
    co_run();
}

TEST_F(BusyLoop, StarvesNoDescriptor) {
    bool done = false;
    stream_pair p;
    go([&] { spin_until(&done); });
    auto play = [&](int fd, bool begins) {
        char c = 'x';
        for (int i = 0; i < 100; ++i) {
            if (begins) {
                ASSERT_EQ(send_in_loop(fd, &c, 1), 1);
            }
            ASSERT_EQ(recv_in_loop(fd, &c, 1), 1);
            if (!begins) {
                ASSERT_EQ(send_in_loop(fd, &c, 1), 1);
            }
        }
        done = done || begins;
    };
    go([&] { play(p.a, true); });
    go([&] { play(p.b, false); });
    co_run();
}

TEST_F(BusyLoop, OnTheThreadsOwnStackStarvesNobodyEither) {
    bool done = false;
    stream_pair p;
    go([&] {
        char c;
        EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1);
        done = true;
    });
    go([&] {
        EXPECT_EQ(co_sleep_ms(2), 0);
        EXPECT_EQ(send_now(p.b, "x"), 1);
    });
    spin_until(&done);
}

TEST_F(BusyLoop, GivesEveryReadyCoroutineOneTurnInEach) {
    int turns[3] = {};
    for (int &mine : turns)
        go([&] {
            for (int i = 0; i < 1000; ++i) {
                ++mine;
                for (int other : turns)
                    EXPECT_LE(std::abs(mine - other), 1);
                co_yield_now();
            }
        });
    co_run();
}

TEST_F(EventLoop, EndsWhenTheCallbackSaysMinusOne) {
    int calls = 0;
    auto callback = [](void *arg) { return ++*static_cast<int *>(arg) == 5 ? -1 : 0; };
    co_eventloop(co_get_epoll_ct(), callback, &calls);
    EXPECT_EQ(calls, 5);
    calls = 4; // only -1 ends it, and it can be run again
    co_eventloop(co_get_epoll_ct(), callback, &calls);
    EXPECT_EQ(calls, 5);
}

TEST_F(EventLoop, CallsBackAboutEveryMillisecond) {
    int calls = 0;
    auto callback = [](void *arg) { return ++*static_cast<int *>(arg) == 50 ? -1 : 0; };
    int64_t best = INT64_MAX;
    for (int attempt = 0; attempt < (is_plain_build ? 3 : 1); ++attempt) {
        calls = 0;
        uint64_t wakeups = stats_now().wakeups;
        int64_t begin = now_ns();
        co_eventloop(co_get_epoll_ct(), callback, &calls);
        int64_t took = now_ns() - begin;
        EXPECT_GE(took, 50 * ns_per_ms); // none came early
        EXPECT_EQ(stats_now().wakeups - wakeups, 50U);
        best = took < best ? took : best;
    }
    if (is_plain_build) {
        EXPECT_LT(best, 200 * ns_per_ms);
    }
}

TEST_F(EventLoop, RunsCoroutinesBetweenTheCalls) {
    struct state {
        stream_pair p;
        bool done = false;
        int64_t give_up = soon();
    } s;
    go([&] {
        char c;
        EXPECT_EQ(recv_in_loop(s.p.a, &c, 1), 1);
        s.done = true;
    });
    go([&] {
        co_sleep_ms(3);
        EXPECT_EQ(send_now(s.p.b, "x"), 1);
    });
    co_eventloop(
        co_get_epoll_ct(),
        [](void *arg) {
            auto *at = static_cast<state *>(arg);
            return at->done || now_ns() > at->give_up ? -1 : 0;
        },
        &s);
    EXPECT_TRUE(s.done);
}

TEST_F(EventLoop, WithoutACallbackSleepsUntilItIsNeeded) { // contract 33
    pid_t child = fork(); // nothing ends such a loop but the process
    if (child == 0) {
        alarm(20);
        go([] {
            co_sleep_ms(1);
            uint64_t before = stats_now().wakeups;
            co_sleep_ms(300);
            _exit(stats_now().wakeups - before < 5 ? 0 : 1);
        });
        co_eventloop(co_get_epoll_ct(), nullptr, nullptr);
    }
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

} // namespace
