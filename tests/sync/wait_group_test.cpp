// SPDX-License-Identifier: Apache-2.0
#include "tests/sync/sync_fixture.h"

#include <climits>

namespace {

using WaitGroup = SyncTest;

TEST_F(WaitGroup, DoesNotWaitForNothing) {
    co_wg_t wg{};
    EXPECT_EQ(co_wg_wait(&wg), 0);
    EXPECT_EQ(co_wg_timedwait(&wg, 0), 0);
    EXPECT_EQ(co_wg_destroy(&wg), 0);
}

TEST_F(WaitGroup, WakesAllWaitersWhenTheLastPieceIsDone) {
    co_wg_t wg{};
    int done = 0, woken = 0;
    EXPECT_EQ(co_wg_add(&wg, 3), 0);
    for (int i = 0; i < 2; ++i)
        go([&] {
            EXPECT_EQ(co_wg_wait(&wg), 0);
            EXPECT_EQ(done, 3);
            ++woken;
        });
    for (int i = 0; i < 3; ++i)
        go([&] {
            co_yield_now();
            ++done;
            EXPECT_EQ(co_wg_done(&wg), 0);
        });
    EXPECT_EQ(co_wg_destroy(&wg), EBUSY);
    EXPECT_EQ(co_wg_wait(&wg), 0); // on the thread's own stack
    EXPECT_EQ(done, 3);
    co_run();
    EXPECT_EQ(woken, 2);
    EXPECT_EQ(co_wg_destroy(&wg), 0);
}

TEST_F(WaitGroup, RefusesACountBelowZeroOrBeyondLong) {
    co_wg_t wg{};
    EXPECT_EQ(co_wg_done(&wg), EINVAL);
    EXPECT_EQ(co_wg_add(&wg, LONG_MAX), 0);
    EXPECT_EQ(co_wg_add(&wg, 1), EOVERFLOW);
    EXPECT_EQ(co_wg_add(&wg, -LONG_MAX), 0);
    EXPECT_EQ(co_wg_add(&wg, -1), EINVAL);
    EXPECT_EQ(co_wg_wait(&wg), 0);
}

TEST_F(WaitGroup, TimesOutAndCanBeWaitedForAgain) {
    co_wg_t wg{};
    EXPECT_EQ(co_wg_add(&wg, 1), 0);
    go([&] {
        EXPECT_EQ(co_wg_timedwait(&wg, 0), ETIMEDOUT);
        EXPECT_EQ(co_wg_timedwait(&wg, 2), ETIMEDOUT);
        EXPECT_EQ(co_wg_done(&wg), 0);
        EXPECT_EQ(co_wg_wait(&wg), 0);
    });
    co_run();
    EXPECT_EQ(co_wg_destroy(&wg), 0);
}

TEST_F(WaitGroup, CancelledOrReleasedWaiterLeavesTheQueue) {
    co_wg_t wg{};
    EXPECT_EQ(co_wg_add(&wg, 1), 0);
    int unwound = 0, woken = 0;
    auto wait_for_ever = [&] {
        Unwound guard{&unwound};
        co_wg_wait(&wg);
        ADD_FAILURE();
    };
    stCoRoutine_t *cancelled = keep(wait_for_ever), *released = keep(wait_for_ever);
    go([&] {
        EXPECT_EQ(co_wg_wait(&wg), 0);
        ++woken;
    });
    stCoRoutine_t *granted = keep(wait_for_ever);
    settle();
    EXPECT_EQ(co_cancel(cancelled), 0);
    release(released);
    settle();
    EXPECT_EQ(unwound, 1);
    EXPECT_EQ(co_wg_done(&wg), 0);
    release(granted); // woken, and gone before it ran
    co_run();
    EXPECT_EQ(woken, 1);
    EXPECT_EQ(co_wg_destroy(&wg), 0);
}

// The waiter destroys the group while the thread that made it zero may not have left co_wg_done.
TEST_F(WaitGroup, MayBeDestroyedAsSoonAsItHasBeenWaitedFor) {
    co_chan_t *work = nullptr;
    ASSERT_EQ(co_chan_create(&work, sizeof(co_wg_t *), 4), 0);
    std::thread helper([&] {
        co_wg_t *wg;
        while (co_chan_recv(work, &wg) == 0)
            EXPECT_EQ(co_wg_done(wg), 0);
    });
    const int count = rounds(20000);
    for (int i = 0; i < count; ++i) {
        auto wg = std::make_unique<co_wg_t>();
        EXPECT_EQ(co_wg_add(wg.get(), 1), 0);
        co_wg_t *pointer = wg.get();
        EXPECT_EQ(co_chan_send(work, &pointer), 0);
        EXPECT_EQ(co_wg_wait(wg.get()), 0);
        EXPECT_EQ(co_wg_destroy(wg.get()), 0);
    }
    EXPECT_EQ(co_chan_close(work), 0);
    helper.join();
    EXPECT_EQ(co_chan_destroy(work), 0);
}

TEST_F(WaitGroup, CountsPiecesOfFourThreads) {
    co_wg_t wg{};
    const int pieces = rounds(2000);
    std::atomic<long> done{0}, seen{0};
    EXPECT_EQ(co_wg_add(&wg, 4L * 4 * pieces), 0);
    run_threads(4, 5, [&](int, int index) {
        if (index == 4) {
            ASSERT_EQ(co_wg_wait(&wg), 0);
            seen += done.load();
            return;
        }
        for (int i = 0; i < pieces; ++i) {
            ++done;
            ASSERT_EQ(co_wg_done(&wg), 0);
            if (i % 64 == 0)
                co_yield_now();
        }
    });
    EXPECT_EQ(seen.load(), 4 * 4L * 4 * pieces);
    EXPECT_EQ(co_wg_destroy(&wg), 0);
}

} // namespace
