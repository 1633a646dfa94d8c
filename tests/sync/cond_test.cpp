// SPDX-License-Identifier: Apache-2.0
#include "tests/sync/sync_fixture.h"

namespace {

class Cond : public SyncTest { // contract 11
  protected:
    void SetUp() override {
        SyncTest::SetUp();
        cond = co_cond_alloc();
    }
    void TearDown() override {
        EXPECT_EQ(co_cond_free(cond), 0);
        SyncTest::TearDown();
    }
    void waiter(char name, int timeout_ms = -1, int result = 0) {
        go([=, this] {
            EXPECT_EQ(co_cond_timedwait(cond, timeout_ms), result);
            trace += name;
        });
    }
    stCoCond_t *cond = nullptr;
    std::string trace;
};

TEST_F(Cond, SignalWakesTheFirstWaiterAndOnlyIt) {
    waiter('A');
    waiter('B');
    settle();
    EXPECT_EQ(co_cond_signal(cond), 0);
    settle();
    EXPECT_EQ(trace, "A");
    EXPECT_EQ(co_cond_signal(cond), 0);
    co_run();
    EXPECT_EQ(trace, "AB");
}

TEST_F(Cond, BroadcastWakesAllInOrder) {
    waiter('A');
    waiter('B');
    waiter('C');
    settle();
    EXPECT_EQ(co_cond_broadcast(cond), 0);
    co_run();
    EXPECT_EQ(trace, "ABC");
}

TEST_F(Cond, RemembersNothingWhenNobodyWaits) {
    EXPECT_EQ(co_cond_signal(cond), 0);
    EXPECT_EQ(co_cond_broadcast(cond), 0);
    waiter('A', 2, ETIMEDOUT);
    co_run();
    EXPECT_EQ(trace, "A");
}

TEST_F(Cond, TellsATimeoutFromASignal) {
    waiter('s', 10000, 0);
    waiter('t', 1, ETIMEDOUT);
    settle();
    EXPECT_EQ(co_cond_signal(cond), 0);
    co_run();
    EXPECT_EQ(trace, "st");
}

TEST_F(Cond, TimeoutOfZeroIsForEverAsInLibco) {
    waiter('z', 0);
    waiter('t', 3, ETIMEDOUT);
    while (trace != "t")
        EXPECT_EQ(co_sleep_ms(1), 0);
    EXPECT_EQ(co_cond_signal(cond), 0);
    co_run();
    EXPECT_EQ(trace, "tz");
}

TEST_F(Cond, WaiterThatTimedOutTakesNoSignal) {
    waiter('t', 1, ETIMEDOUT);
    waiter('A');
    while (trace != "t")
        EXPECT_EQ(co_sleep_ms(1), 0);
    EXPECT_EQ(co_cond_signal(cond), 0);
    co_run();
    EXPECT_EQ(trace, "tA");
}

TEST_F(Cond, CannotBeFreedWhileSomebodyWaits) {
    waiter('A');
    settle();
    EXPECT_EQ(co_cond_free(cond), EBUSY);
    EXPECT_EQ(co_cond_signal(cond), 0);
    // The waiter has been woken and has not run: it needs the condition no more.
    EXPECT_EQ(co_cond_free(cond), 0);
    cond = co_cond_alloc();
    co_run();
    EXPECT_EQ(trace, "A");
}

TEST_F(Cond, WaitsOnTheThreadsOwnStackToo) {
    go([&] { EXPECT_EQ(co_cond_signal(cond), 0); });
    EXPECT_EQ(co_cond_timedwait(cond, -1), 0);
    EXPECT_EQ(co_cond_timedwait(cond, 1), ETIMEDOUT);
}

TEST_F(Cond, CancelledOrReleasedWaiterHandsItsSignalOn) {
    for (bool signalled : {false, true})
        for (bool released : {false, true}) {
            trace.clear();
            int unwound = 0;
            stCoRoutine_t *victim = keep([&] {
                Unwound guard{&unwound};
                co_cond_timedwait(cond, -1);
                ADD_FAILURE();
            });
            waiter('A');
            settle();
            if (signalled) {
                EXPECT_EQ(co_cond_signal(cond), 0);
            }
            if (released)
                release(victim);
            else {
                EXPECT_EQ(co_cancel(victim), 0);
            }
            settle();
            EXPECT_EQ(trace, signalled ? "A" : "");
            if (!signalled) {
                EXPECT_EQ(co_cond_signal(cond), 0);
            }
            co_run();
            EXPECT_EQ(trace, "A");
            EXPECT_EQ(unwound, released ? 0 : 1);
        }
}

//     victim       newcomer              root
//     waits
//                  ready, not yet run
//                                        broadcast, cancel(victim)
//                  waits
//     gives back   sleeps on: the broadcast was before its time
TEST_F(Cond, BroadcastToACancelledWaiterIsNotHandedToANewcomer) {
    stCoRoutine_t *victim = keep([&] { co_cond_timedwait(cond, -1), ADD_FAILURE(); });
    settle();
    waiter('n', 2, ETIMEDOUT);
    EXPECT_EQ(co_cond_broadcast(cond), 0);
    EXPECT_EQ(co_cancel(victim), 0);
    co_run();
    EXPECT_EQ(trace, "n");
}

// libco's own example: a consumer that waits whenever the queue is empty.
TEST_F(Cond, CarriesLibcosProducerAndConsumer) {
    std::vector<int> queue, consumed;
    go([&] {
        while (consumed.size() < 100) {
            if (queue.empty()) {
                EXPECT_EQ(co_cond_timedwait(cond, -1), 0);
                continue;
            }
            consumed.push_back(queue.front());
            queue.erase(queue.begin());
        }
    });
    go([&] {
        for (int i = 0; i < 100; ++i) {
            queue.push_back(i);
            EXPECT_EQ(co_cond_signal(cond), 0);
            if (i % 3 == 0)
                co_yield_now();
        }
    });
    co_run();
    ASSERT_EQ(consumed.size(), 100U);
    for (int i = 0; i < 100; ++i)
        EXPECT_EQ(consumed[static_cast<size_t>(i)], i);
}

// Signals from another thread reach exactly as many waiters.
TEST_F(Cond, SignalsAcrossThreadsWakeOneWaiterEach) {
    std::atomic<int> waiting{0}, woken{0};
    constexpr int waiters = 200;
    std::thread other([&] {
        coroutine_bodies bodies;
        for (int i = 0; i < waiters; ++i)
            bodies.go(
                [&] {
                    ++waiting;
                    EXPECT_EQ(co_cond_timedwait(cond, -1), 0);
                    ++woken;
                },
                nullptr, false);
        co_run();
    });
    // A signal that comes before its wait is lost, so there are as many as it takes.
    while (woken < waiters) {
        EXPECT_EQ(co_cond_signal(cond), 0);
        co_yield_now();
        std::this_thread::yield();
    }
    other.join();
    EXPECT_EQ(waiting.load(), waiters);
}

} // namespace
