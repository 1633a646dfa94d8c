// SPDX-License-Identifier: Apache-2.0
#include "tests/sync/sync_fixture.h"

#include <climits>

namespace {

using Sem = SyncTest;

TEST_F(Sem, CountsDownToZeroAndThenMakesWait) {
    co_sem_t s;
    EXPECT_EQ(co_sem_init(&s, 2), 0);
    EXPECT_EQ(co_sem_wait(&s), 0);
    EXPECT_EQ(co_sem_trywait(&s), 0);
    EXPECT_EQ(co_sem_trywait(&s), EAGAIN);
    bool passed = false;
    go([&] {
        EXPECT_EQ(co_sem_wait(&s), 0);
        passed = true;
    });
    settle();
    EXPECT_FALSE(passed);
    EXPECT_EQ(co_sem_destroy(&s), EBUSY);
    EXPECT_EQ(co_sem_post(&s), 0);
    co_run();
    EXPECT_TRUE(passed);
    EXPECT_EQ(co_sem_trywait(&s), EAGAIN); // the post was the waiter's
    EXPECT_EQ(co_sem_destroy(&s), 0);
}

TEST_F(Sem, RemembersPostsUpToTheLargestCount) {
    co_sem_t s;
    EXPECT_EQ(co_sem_init(&s, UINT_MAX - 1), 0);
    EXPECT_EQ(co_sem_post(&s), 0);
    EXPECT_EQ(co_sem_post(&s), EOVERFLOW);
    EXPECT_EQ(co_sem_trywait(&s), 0);
}

TEST_F(Sem, PostGoesToTheFirstWaiterAndNotToANewcomer) {
    co_sem_t s{};
    std::string trace;
    for (char name : {'A', 'B', 'C'})
        go([&, name] {
            EXPECT_EQ(co_sem_wait(&s), 0);
            trace += name;
        });
    settle();
    EXPECT_EQ(co_sem_post(&s), 0);
    EXPECT_EQ(co_sem_trywait(&s), EAGAIN);
    settle();
    EXPECT_EQ(trace, "A");
    EXPECT_EQ(co_sem_post(&s), 0);
    EXPECT_EQ(co_sem_post(&s), 0);
    co_run();
    EXPECT_EQ(trace, "ABC");
}

TEST_F(Sem, MayBeDestroyedByThePosterOnceItsPostIsGranted) {
    auto s = std::make_unique<co_sem_t>();
    bool passed = false;
    go([&] {
        EXPECT_EQ(co_sem_wait(s.get()), 0);
        passed = true;
    });
    settle();
    EXPECT_EQ(co_sem_post(s.get()), 0);
    EXPECT_EQ(co_sem_destroy(s.get()), 0);
    s.reset();
    co_run();
    EXPECT_TRUE(passed);
}

TEST_F(Sem, TimesOutAndLeavesTheQueue) {
    co_sem_t s{};
    go([&] {
        EXPECT_EQ(co_sem_timedwait(&s, 0), ETIMEDOUT);
        EXPECT_EQ(co_sem_timedwait(&s, 2), ETIMEDOUT);
        EXPECT_EQ(co_sem_post(&s), 0); // remembered: nobody waits
        EXPECT_EQ(co_sem_timedwait(&s, 0), 0);
    });
    co_run();
    EXPECT_EQ(co_sem_destroy(&s), 0);
}

TEST_F(Sem, CancelledOrReleasedWaiterHandsItsPostOn) {
    for (bool granted : {false, true})
        for (bool released : {false, true}) {
            co_sem_t s{};
            int unwound = 0, passed = 0;
            stCoRoutine_t *victim = keep([&] {
                Unwound guard{&unwound};
                co_sem_wait(&s);
                ADD_FAILURE();
            });
            go([&] {
                EXPECT_EQ(co_sem_wait(&s), 0);
                ++passed;
            });
            settle();
            if (granted) {
                EXPECT_EQ(co_sem_post(&s), 0);
            }
            if (released)
                release(victim);
            else {
                EXPECT_EQ(co_cancel(victim), 0);
            }
            settle();
            EXPECT_EQ(passed, granted ? 1 : 0);
            if (!granted) {
                EXPECT_EQ(co_sem_post(&s), 0);
            }
            co_run();
            EXPECT_EQ(passed, 1);
            EXPECT_EQ(unwound, released ? 0 : 1);
            EXPECT_EQ(co_sem_trywait(&s), EAGAIN);
            EXPECT_EQ(co_sem_destroy(&s), 0);
        }
}

// As pthread semaphores limit threads: never more than 3 inside, and all get through.
TEST_F(Sem, LimitsCoroutinesOfFourThreads) {
    co_sem_t s;
    EXPECT_EQ(co_sem_init(&s, 3), 0);
    std::atomic<int> inside{0}, most{0};
    std::atomic<long> passed{0};
    const int per_coroutine = rounds(2000);
    run_threads(4, 8, [&](int, int) {
        for (int i = 0; i < per_coroutine; ++i) {
            ASSERT_EQ(co_sem_wait(&s), 0);
            int now = ++inside;
            for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
            }
            if (i % 32 == 0)
                co_yield_now();
            --inside;
            ++passed;
            ASSERT_EQ(co_sem_post(&s), 0);
        }
    });
    EXPECT_LE(most.load(), 3);
    EXPECT_EQ(passed.load(), 4L * 8 * per_coroutine);
    for (int i = 0; i < 3; ++i)
        EXPECT_EQ(co_sem_trywait(&s), 0);
    EXPECT_EQ(co_sem_trywait(&s), EAGAIN); // no post was lost and none was doubled
}

TEST_F(Sem, KeepsItsCountWhenTimeoutsMeetPosts) {
    co_sem_t s{};
    std::atomic<long> posted{0}, taken{0};
    run_threads(4, 4, [&](int thread, int) {
        for (int i = 0; i < 100; ++i) {
            if (thread % 2 == 0) {
                co_sleep_ms(i % 3 == 0 ? 1 : 0);
                ASSERT_EQ(co_sem_post(&s), 0);
                ++posted;
            } else if (co_sem_timedwait(&s, 1) == 0) {
                ++taken;
            }
        }
    });
    while (co_sem_trywait(&s) == 0)
        ++taken;
    EXPECT_EQ(taken.load(), posted.load());
    EXPECT_EQ(co_sem_destroy(&s), 0);
}

} // namespace
