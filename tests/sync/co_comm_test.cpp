// SPDX-License-Identifier: Apache-2.0
#include "co_routine/co_comm.h"
#include "tests/sync/sync_fixture.h"

namespace {

using CoComm = SyncTest;

TEST_F(CoComm, SmartLockHoldsTheMutexForItsScope) {
    clsCoMutex mutex;
    std::string trace;
    for (char name : {'A', 'B', 'C'})
        go([&, name] {
            clsSmartLock lock(&mutex);
            trace += name;
            co_yield_now();
            trace += static_cast<char>(name - 'A' + 'a');
        });
    co_run();
    EXPECT_EQ(trace, "AaBbCc");
}

TEST_F(CoComm, SmartLockIsGivenUpWhenItsHolderIsCancelled) {
    clsCoMutex mutex;
    bool locked = false;
    stCoRoutine_t *holder = keep([&] {
        clsSmartLock lock(&mutex);
        co_sleep_ms(1000000);
    });
    go([&] {
        mutex.CoLock();
        locked = true;
        mutex.CoUnLock();
    });
    settle();
    EXPECT_EQ(co_cancel(holder), 0);
    co_run();
    EXPECT_TRUE(locked);
}

TEST_F(CoComm, LockingTwiceEndsTheProcessWithALine) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            clsCoMutex mutex;
            mutex.CoLock();
            mutex.CoLock();
        },
        "clsCoMutex::CoLock failed with errno");
    EXPECT_DEATH(clsCoMutex().CoUnLock(), "clsCoMutex::CoUnLock failed with errno");
}

} // namespace
