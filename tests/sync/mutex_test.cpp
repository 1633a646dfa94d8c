// SPDX-License-Identifier: Apache-2.0
#include "co_routine/base/spinlock.h"
#include "tests/sync/sync_fixture.h"

#include <sys/wait.h>
#include <unistd.h>

namespace {

using Mutex = SyncTest;

TEST_F(Mutex, AllZeroIsUnlocked) {
    co_mutex_t m;
    memset(&m, 0, sizeof m);
    EXPECT_EQ(co_mutex_lock(&m), 0);
    EXPECT_EQ(co_mutex_unlock(&m), 0);
    EXPECT_EQ(co_mutex_destroy(&m), 0);
}

// contract 10
//
//     A            B            C            owner   waiters
//     lock                                   A
//     yield        lock parks                A       B
//                               lock parks   A       B C
//     unlock                                 B       C        B owns it before it runs
//     trylock EBUSY                          B       C        a newcomer cannot pass
//     lock parks                             B       C A
//                  unlock                    C       A
//                               unlock       A
TEST_F(Mutex, IsHandedOverFirstComeFirstServed) {
    co_mutex_t m{};
    std::string trace;
    go([&] {
        EXPECT_EQ(co_mutex_lock(&m), 0);
        trace += 'A';
        co_yield_now();
        EXPECT_EQ(co_mutex_unlock(&m), 0);
        EXPECT_EQ(co_mutex_trylock(&m), EBUSY);
        EXPECT_EQ(co_mutex_lock(&m), 0);
        trace += 'a';
        EXPECT_EQ(co_mutex_unlock(&m), 0);
    });
    for (char name : {'B', 'C'})
        go([&, name] {
            EXPECT_EQ(co_mutex_lock(&m), 0);
            trace += name;
            EXPECT_EQ(co_mutex_unlock(&m), 0);
        });
    co_run();
    EXPECT_EQ(trace, "ABCa");
    EXPECT_EQ(co_mutex_destroy(&m), 0);
}

TEST_F(Mutex, TellsItsOwnerThatLockingAgainWouldWaitForEver) {
    co_mutex_t m{};
    go([&] {
        EXPECT_EQ(co_mutex_lock(&m), 0);
        EXPECT_EQ(co_mutex_lock(&m), EDEADLK);
        EXPECT_EQ(co_mutex_timedlock(&m, 1), EDEADLK);
        EXPECT_EQ(co_mutex_trylock(&m), EBUSY);
        EXPECT_EQ(co_mutex_unlock(&m), 0);
    });
    co_run();
}

TEST_F(Mutex, CanOnlyBeUnlockedByItsOwner) {
    co_mutex_t m{};
    EXPECT_EQ(co_mutex_unlock(&m), EPERM);
    EXPECT_EQ(co_mutex_lock(&m), 0); // the thread's own stack is an owner like any other
    go([&] { EXPECT_EQ(co_mutex_unlock(&m), EPERM); });
    co_run();
    std::thread([&] { EXPECT_EQ(co_mutex_unlock(&m), EPERM); }).join();
    EXPECT_EQ(co_mutex_destroy(&m), EBUSY);
    EXPECT_EQ(co_mutex_unlock(&m), 0);
}

TEST_F(Mutex, WaitsOnTheThreadsOwnStackByRunningTheLoop) {
    co_mutex_t m{};
    bool unlocked = false;
    go([&] {
        EXPECT_EQ(co_mutex_lock(&m), 0);
        co_yield_now();
        co_yield_now();
        unlocked = true;
        EXPECT_EQ(co_mutex_unlock(&m), 0);
    });
    co_yield_now();
    EXPECT_EQ(co_mutex_lock(&m), 0);
    EXPECT_TRUE(unlocked);
    EXPECT_EQ(co_mutex_unlock(&m), 0);
    co_run();
}

TEST_F(Mutex, TimesOutAndLeavesTheQueue) {
    co_mutex_t m{};
    EXPECT_EQ(co_mutex_lock(&m), 0);
    int timed_out = 0, locked = 0;
    go([&] {
        EXPECT_EQ(co_mutex_timedlock(&m, 0), ETIMEDOUT);
        const int64_t begin = corun::now_ns();
        EXPECT_EQ(co_mutex_timedlock(&m, 5), ETIMEDOUT);
        EXPECT_GE(corun::now_ns() - begin, 5 * corun::ns_per_ms);
        ++timed_out;
        EXPECT_EQ(co_mutex_unlock(&m), EPERM); // it has got nothing
    });
    go([&] {
        EXPECT_EQ(co_mutex_timedlock(&m, -1), 0);
        ++locked;
        EXPECT_EQ(co_mutex_unlock(&m), 0);
    });
    while (!timed_out)
        EXPECT_EQ(co_sleep_ms(1), 0);
    EXPECT_EQ(co_mutex_unlock(&m), 0); // goes to the second, not to the one that left
    co_run();
    EXPECT_EQ(locked, 1);
    EXPECT_EQ(co_mutex_destroy(&m), 0);
}

TEST_F(Mutex, CancelledWaiterLeavesTheQueueAndIsUnwound) {
    co_mutex_t m{};
    EXPECT_EQ(co_mutex_lock(&m), 0);
    int unwound = 0, locked = 0;
    stCoRoutine_t *victim = keep([&] {
        Unwound guard{&unwound};
        co_mutex_lock(&m);
        ADD_FAILURE() << "the lock came back";
    });
    go([&] {
        EXPECT_EQ(co_mutex_lock(&m), 0);
        ++locked;
        EXPECT_EQ(co_mutex_unlock(&m), 0);
    });
    settle();
    EXPECT_EQ(co_cancel(victim), 0);
    void *result = nullptr;
    EXPECT_EQ(co_join(victim, &result), 0);
    EXPECT_EQ(result, CO_CANCELED);
    EXPECT_EQ(unwound, 1);
    EXPECT_EQ(co_mutex_unlock(&m), 0);
    co_run();
    EXPECT_EQ(locked, 1);
    EXPECT_EQ(co_mutex_destroy(&m), 0);
}

TEST_F(Mutex, CancelInErrnoModeReturnsWithoutTheLock) {
    co_mutex_t m{};
    EXPECT_EQ(co_mutex_lock(&m), 0);
    int error = -1;
    stCoRoutine_t *victim = keep([&] {
        co_cancel_mode(CO_CANCEL_ERRNO);
        error = co_mutex_lock(&m);
        EXPECT_EQ(co_mutex_lock(&m), ECANCELED); // and every later wait
        EXPECT_EQ(co_mutex_unlock(&m), EPERM);
    });
    settle();
    EXPECT_EQ(co_cancel(victim), 0);
    co_run();
    EXPECT_EQ(error, ECANCELED);
    EXPECT_EQ(co_mutex_unlock(&m), 0);
    EXPECT_EQ(co_mutex_destroy(&m), 0);
}

//     root          V               W            owner   waiters
//     lock          lock parks      lock parks   root    V W
//     unlock                                     V       W        V has not run yet
//     cancel(V)     gives it back                W
TEST_F(Mutex, CancelAfterTheGrantHandsTheLockOn) {
    co_mutex_t m{};
    EXPECT_EQ(co_mutex_lock(&m), 0);
    int locked = 0;
    stCoRoutine_t *victim = keep([&] { co_mutex_lock(&m), ADD_FAILURE(); });
    go([&] {
        EXPECT_EQ(co_mutex_lock(&m), 0);
        ++locked;
        EXPECT_EQ(co_mutex_unlock(&m), 0);
    });
    settle();
    EXPECT_EQ(co_mutex_unlock(&m), 0);
    EXPECT_EQ(co_cancel(victim), 0);
    co_run();
    EXPECT_EQ(locked, 1);
    EXPECT_EQ(co_mutex_destroy(&m), 0);
}

TEST_F(Mutex, ReleasedWaiterLeavesTheQueue) {
    co_mutex_t m{};
    EXPECT_EQ(co_mutex_lock(&m), 0);
    int locked = 0;
    stCoRoutine_t *first = keep([&] { co_mutex_lock(&m), ADD_FAILURE(); });
    go([&] {
        EXPECT_EQ(co_mutex_lock(&m), 0);
        ++locked;
        EXPECT_EQ(co_mutex_unlock(&m), 0);
    });
    stCoRoutine_t *last = keep([&] { co_mutex_lock(&m), ADD_FAILURE(); });
    settle();
    release(first);
    release(last);
    EXPECT_EQ(co_mutex_unlock(&m), 0);
    co_run();
    EXPECT_EQ(locked, 1);
    EXPECT_EQ(co_mutex_destroy(&m), 0);
}

TEST_F(Mutex, ReleaseAfterTheGrantHandsTheLockOn) {
    co_mutex_t m{};
    EXPECT_EQ(co_mutex_lock(&m), 0);
    int locked = 0;
    stCoRoutine_t *victim = keep([&] { co_mutex_lock(&m), ADD_FAILURE(); });
    go([&] {
        EXPECT_EQ(co_mutex_lock(&m), 0);
        ++locked;
        EXPECT_EQ(co_mutex_unlock(&m), 0);
    });
    settle();
    EXPECT_EQ(co_mutex_unlock(&m), 0);
    release(victim);
    co_run();
    EXPECT_EQ(locked, 1);
    EXPECT_EQ(co_mutex_destroy(&m), 0);
}

TEST_F(Mutex, EarlyResumeOfAWaiterDoesNotGiveItTheLock) {
    co_mutex_t m{};
    EXPECT_EQ(co_mutex_lock(&m), 0);
    bool locked = false;
    stCoRoutine_t *co = keep([&] {
        EXPECT_EQ(co_mutex_lock(&m), 0);
        locked = true;
        EXPECT_EQ(co_mutex_unlock(&m), 0);
    });
    settle();
    for (int i = 0; i < 3; ++i)
        co_resume(co);
    EXPECT_FALSE(locked);
    EXPECT_EQ(co_mutex_unlock(&m), 0);
    co_run();
    EXPECT_TRUE(locked);
}

TEST_F(Mutex, KeepsManyWaitersInOrder) {
    co_mutex_t m{};
    EXPECT_EQ(co_mutex_lock(&m), 0);
    std::vector<int> order;
    for (int i = 0; i < 1000; ++i)
        go([&, i] {
            EXPECT_EQ(co_mutex_lock(&m), 0);
            order.push_back(i);
            co_yield_now();
            EXPECT_EQ(co_mutex_unlock(&m), 0);
        });
    settle();
    EXPECT_EQ(co_mutex_unlock(&m), 0);
    co_run();
    ASSERT_EQ(order.size(), 1000U);
    for (int i = 0; i < 1000; ++i)
        ASSERT_EQ(order[static_cast<size_t>(i)], i);
}

//     this thread          another thread          in the child
//     holds m              a coroutine waits       gone
//     a coroutine waits                            gone
//     fork                 in mid-unlock (feigned) never comes back
TEST_F(Mutex, ForkedChildFindsNoWaitersAndNoSpinLockHeld) {
    co_mutex_t m{};
    EXPECT_EQ(co_mutex_lock(&m), 0);
    int locked = 0;
    auto lock_once = [&] {
        EXPECT_EQ(co_mutex_lock(&m), 0);
        ++locked;
        EXPECT_EQ(co_mutex_unlock(&m), 0);
    };
    std::thread other([&] { run_threads(1, 1, [&](int, int) { lock_once(); }); });
    const auto somebody_waits = [&] {
        corun::spin_guard guard(&m.waiters.lock);
        return m.waiters.first != nullptr;
    };
    while (!somebody_waits())
        std::this_thread::yield();
    keep(lock_once);
    settle();
    corun::spin_acquire(&m.waiters.lock);
    pid_t pid = fork();
    if (pid == 0)
        _exit(co_mutex_unlock(&m) == 0 && co_mutex_destroy(&m) == 0 ? 0 : 1);
    corun::spin_release(&m.waiters.lock);
    ASSERT_GE(pid, 0);
    int status = -1;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(co_mutex_unlock(&m), 0); // the parent's waiters have missed nothing
    co_run();
    other.join();
    EXPECT_EQ(locked, 2);
}

TEST_F(Mutex, ExcludesCoroutinesOfFourThreads) {
    co_mutex_t m{};
    long counter = 0; // guarded by m, and by nothing else
    const int per_coroutine = rounds(5000);
    run_threads(4, 8, [&](int, int) {
        for (int i = 0; i < per_coroutine; ++i) {
            ASSERT_EQ(co_mutex_lock(&m), 0);
            long seen = counter;
            if (i % 64 == 0)
                co_yield_now(); // held while others run
            counter = seen + 1;
            ASSERT_EQ(co_mutex_unlock(&m), 0);
        }
    });
    EXPECT_EQ(counter, 4L * 8 * per_coroutine);
    EXPECT_EQ(co_mutex_destroy(&m), 0);
}

// Timeouts of 1 ms against holders that sleep about as long: grants and timeouts meet.
TEST_F(Mutex, IsNeitherLostNorDoubledWhenTimeoutsMeetGrants) {
    co_mutex_t m{};
    long counter = 0;
    std::atomic<long> got{0}, timed_out{0};
    run_threads(4, 4, [&](int, int index) {
        for (int i = 0; i < 60; ++i) {
            int error = co_mutex_timedlock(&m, 1);
            if (error != 0) {
                ASSERT_EQ(error, ETIMEDOUT);
                ++timed_out;
                continue;
            }
            ++counter;
            ++got;
            if (index % 2 == 0)
                co_sleep_ms(1);
            ASSERT_EQ(co_mutex_unlock(&m), 0);
        }
    });
    EXPECT_EQ(counter, got.load());
    EXPECT_EQ(got + timed_out, 4 * 4 * 60);
    EXPECT_EQ(co_mutex_destroy(&m), 0);
}

} // namespace
