// SPDX-License-Identifier: Apache-2.0
// co_wake, unpark and the thread's own stack.
#include "tests/loop/loop_fixture.h"

using namespace corun;

namespace {

using Wake = LoopTest;
using Unpark = LoopTest;
using Root = LoopTest;

TEST_F(Wake, MakesAYieldedCoroutineReady) {
    std::string trace;
    stCoRoutine_t *co = keep([&] {
        trace += 'a';
        co_yield_ct();
        trace += 'c';
    });
    go([&] {
        trace += 'b';
        EXPECT_EQ(co_wake(co), 0);
        EXPECT_EQ(trace, "ab"); // ready is not running
    });
    co_run();
    EXPECT_EQ(trace, "abc");
}

TEST_F(Wake, IsRememberedWhenItComesBeforeTheYield) {
    int yields = 0;
    stCoRoutine_t *co = keep([&] {
        EXPECT_EQ(co_wake(co_self()), 0);
        co_yield_ct();
        ++yields;
        co_yield_ct();
        ++yields;
    });
    settle();
    EXPECT_EQ(yields, 1);
    EXPECT_EQ(co_wake(co), 0);
    co_run();
    EXPECT_EQ(yields, 2);
}

TEST_F(Wake, SeveralAreOne) {
    int yields = 0;
    stCoRoutine_t *co = keep([&] {
        for (int i = 0; i < 3; ++i)
            co_wake(co_self()); // before
        for (;;) {
            co_yield_ct();
            if (++yields == 3)
                return;
        }
    });
    settle();
    EXPECT_EQ(yields, 1);
    for (int i = 0; i < 3; ++i)
        EXPECT_EQ(co_wake(co), 0); // while it is yielded
    settle();
    EXPECT_EQ(yields, 2);
    EXPECT_EQ(co_wake(co), 0);
    co_run();
    EXPECT_EQ(yields, 3);
}

//   sleeper               waker
//   co_wake(itself)
//   co_yield: ready at once
//                         co_wake: it has not run since the first
//   runs: both are answered
//   co_yield: suspended
TEST_F(Wake, OneBeforeAndOneAfterTheYieldAreOne) {
    int yields = 0;
    stCoRoutine_t *co = keep([&] {
        co_wake(co_self());
        co_yield_ct();
        ++yields;
        co_yield_ct();
        ++yields;
    });
    go([&] { EXPECT_EQ(co_wake(co), 0); });
    settle();
    EXPECT_EQ(yields, 1);
    EXPECT_EQ(co->state, co_state::yielded);
    co_wake(co);
    co_run();
}

TEST_F(Wake, OfAParkedCoroutineDoesNotEndItsWaitAndIsRemembered) {
    stream_pair p;
    std::string trace;
    stCoRoutine_t *co = keep([&] {
        char c;
        EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1);
        trace += 'r';
        co_yield_ct(); // the wake-up from before
        trace += 'y';
    });
    go([&] {
        EXPECT_EQ(co_wake(co), 0);
        co_sleep_ms(1);
        EXPECT_EQ(trace, "");
        EXPECT_EQ(send_now(p.b, "x"), 1);
    });
    co_run();
    EXPECT_EQ(trace, "ry");
}

TEST_F(Wake, OfOneThatHasEndedIsEsrch) {
    stCoRoutine_t *co = keep([] {});
    co_run();
    EXPECT_EQ(co_wake(co), ESRCH);
    EXPECT_EQ(co_cancel(co), ESRCH);
}

TEST_F(Unpark, IsForNothingUnlessTheConditionHolds) {
    bool condition = false;
    int looks = 0;
    constexpr wait_kind kind{"test", false, nullptr};
    stCoRoutine_t *co = keep([&] {
        while (!condition) {
            ++looks;
            EXPECT_EQ(park(kind, {}, soon()), 0);
        }
    });
    go([&] {
        for (int i = 0; i < 5; ++i) {
            unpark(co);
            unpark(co); // ready already: nothing more
            co_yield_now();
        }
        condition = true;
        unpark(co);
    });
    co_run();
    EXPECT_EQ(looks, 6);
    unpark(co); // it has ended
    EXPECT_EQ(co->state, co_state::ended);
}

TEST_F(Unpark, BesideADeadlineLeavesNoSecondWakeUp) {
    constexpr wait_kind kind{"test", false, nullptr};
    int64_t at = deadline_in(ns_per_ms);
    stCoRoutine_t *co = keep([&] {
        int r = park(kind, {}, at);
        EXPECT_TRUE(r == 0 || r == -ETIMEDOUT);
        EXPECT_EQ(park(kind, {}, deadline_in(ns_per_ms)), -ETIMEDOUT); // not ended by the first
    });
    go([&] {
        while (now_ns() < at) {
        }
        unpark(co); // the timer is due in the same turn
    });
    co_run();
}

TEST_F(Root, JoinsWhileTheOthersRun) {
    stream_pair p;
    stCoRoutine_t *co = keep([&] {
        char c;
        EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1);
    });
    bool other_done = false;
    go([&] {
        co_sleep_ms(1);
        EXPECT_EQ(send_now(p.b, "x"), 1);
        co_sleep_ms(1);
        other_done = true;
    });
    EXPECT_EQ(co_join(co, nullptr), 0);
    EXPECT_EQ(co->state, co_state::ended);
    EXPECT_FALSE(other_done); // join waits for one, not for all
    co_run();
    EXPECT_TRUE(other_done);
}

TEST_F(Root, SleepsWhileTheOthersRun) {
    int beats = 0;
    go([&] {
        for (; beats < 5; ++beats)
            co_sleep_ms(1);
    });
    int64_t begin = now_ns();
    do
        EXPECT_EQ(co_sleep_ms(20), 0);
    while (beats < 5 && now_ns() - begin < patience_ns);
    EXPECT_EQ(beats, 5);
}

TEST_F(Root, IsUnparkedByACoroutine) {
    constexpr wait_kind kind{"test", false, nullptr};
    bool flag = false;
    coroutine *root = self_for_waiting();
    go([&] {
        co_yield_now();
        flag = true;
        unpark(root);
    });
    EXPECT_EQ(park(kind, {}, soon()), 0);
    EXPECT_TRUE(flag);
}

TEST_F(Root, TimesOutWhileNobodyIsReady) {
    constexpr wait_kind kind{"test", false, nullptr};
    EXPECT_EQ(park(kind, {}, deadline_in(ns_per_ms)), -ETIMEDOUT);
    EXPECT_EQ(park(kind, {}, deadline_in(ns_per_ms)), -ETIMEDOUT);
}

TEST_F(Root, RunReturnsAtOnceWhenNobodyLives) {
    co_run();
    co_run();
}

} // namespace
