// SPDX-License-Identifier: Apache-2.0
// When nothing is said of coroutines that wait for each other.
#include "tests/debug/deadlock_fixture.h"

namespace {

class NoDeadlock : public WhereAllMaySleep {};
void expect_silence(body run) {
    child_result r = in_child(run);
    EXPECT_TRUE(r.exited_with(0)) << r.status << r.text;
    EXPECT_EQ("", r.text);
}

TEST(NoCycle, OfOneAloneWhileOthersRun) {
    expect_silence([] {
        lock_twice();
        go("sleeper", [] { co_sleep_ms(20000); });
        look();
    });
}

TEST(NoCycle, WhereOneHasATimeLimit) {
    expect_silence([] {
        static co_mutex_t left, right;
        go("patient", [] {
            co_mutex_lock(&left);
            co_yield_now();
            co_mutex_lock(&right);
        });
        go("impatient", [] {
            co_mutex_lock(&right);
            co_yield_now();
            co_mutex_timedlock(&left, 20000);
        });
        look();
    });
}

TEST(NoCycle, WhereTheHolderSleeps) {
    expect_silence([] {
        static co_mutex_t m;
        go("holder", [] {
            co_mutex_lock(&m);
            co_sleep_ms(20000);
        });
        for (int i = 0; i < 10; ++i)
            go("waiter", [] { co_mutex_lock(&m); });
        look();
    });
}

// Locks pass from thread to thread, in one order, and each sleep of a loop looks.
int rounds_made; // under the locks
void hand_over_locks() {
    for (int i = 0; i < 8; ++i)
        go("user", [] {
            for (int n = 0; n < 3000; ++n) {
                corun::env_or_null()->event_loop->look_at_cycles = 0;
                for (int m = 0; m < 3; ++m) {
                    co_mutex_lock(&locks[m]);
                    if (n % 4 == m)
                        co_yield_now();
                }
                ++rounds_made;
                for (int m = 0; m < 3; ++m)
                    co_mutex_unlock(&locks[m]);
            }
        });
    co_run();
}
TEST(NoCycle, WhereThreadsHandLocksToEachOther) {
    if (under_tsan)
        GTEST_SKIP() << "ThreadSanitizer starts no threads in the child of a fork";
    expect_silence([] {
        std::thread other(hand_over_locks), third(hand_over_locks);
        hand_over_locks();
        other.join();
        third.join();
        if (rounds_made != 3 * 8 * 3000)
            dprintf(2, "only %d rounds\n", rounds_made);
    });
}

TEST_F(NoDeadlock, WhileSomebodyWaitsForADescriptor) {
    expect_silence([] {
        sleep_beside([] {
            go("reader", [] {
                static int ends[2];
                EXPECT_EQ(0, pipe(ends));
                pollfd readable{ends[0], POLLIN, 0};
                co_poll(co_get_epoll_ct(), &readable, 1, -1);
            });
        });
    });
}

TEST_F(NoDeadlock, WhileAHelperIsAtWork) {
    expect_silence([] {
        static char fifo[] = "/tmp/corun-fifo-XXXXXX";
        close(mkstemp(fifo));
        unlink(fifo);
        EXPECT_EQ(0, mkfifo(fifo, 0600));
        sleep_beside([] {
            go("opener", [] {
                co_enable_hook_sys();
                open(fifo, O_RDONLY); // waits for a writer, on a helper
            });
        });
        unlink(fifo);
    });
}

TEST_F(NoDeadlock, WhileAnotherThreadLives) {
    expect_silence([] { sleep_beside([] { std::thread([] { pause(); }).detach(); }); });
}

TEST_F(NoDeadlock, WhileASignalIsHandled) {
    expect_silence([] { sleep_beside([] { signal(SIGUSR1, [](int) {}); }); });
}

// Of its own: with the reports of faults in front of it, and without.
TEST_F(NoDeadlock, WhileFaultsAreHandled) {
    SKIP_UNDER_SANITIZERS();
    static unsigned flags;
    for (unsigned reports : {0U, unsigned{CO_DEBUG_OVERFLOW}}) {
        flags = reports;
        expect_silence([] {
            signal(SIGSEGV, [](int) { _exit(1); });
            EXPECT_EQ(0, co_set_debug(flags));
            sleep_beside([] {});
        });
    }
}

TEST_F(NoDeadlock, WhereNobodyWaitsForOthers) {
    expect_silence([] {
        go("yields", [] { co_yield_ct(); });
        look();
    });
}

} // namespace
