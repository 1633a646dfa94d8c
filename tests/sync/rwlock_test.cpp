// SPDX-License-Identifier: Apache-2.0
#include "tests/sync/sync_fixture.h"

namespace {

class RwLock : public SyncTest {
  protected:
    // A coroutine that takes the lock, writes its name, holds it for some turns and gives it up.
    void reader(char name, int turns = 1) {
        go([this, name, turns] {
            EXPECT_EQ(co_rwlock_rdlock(&rw), 0);
            enter(name);
            hold(turns);
            EXPECT_EQ(co_rwlock_unlock(&rw), 0);
        });
    }
    void writer(char name, int turns = 1) {
        go([this, name, turns] {
            EXPECT_EQ(co_rwlock_wrlock(&rw), 0);
            enter(name);
            hold(turns);
            EXPECT_EQ(co_rwlock_unlock(&rw), 0);
        });
    }
    void enter(char name) { trace += name; }
    static void hold(int turns) {
        for (int i = 0; i < turns; ++i)
            co_yield_now();
    }
    void expect_free() { EXPECT_EQ(co_rwlock_destroy(&rw), 0); }

    co_rwlock_t rw{};
    std::string trace;
};

TEST_F(RwLock, LetsManyReadersInTogetherAndWritersAlone) {
    EXPECT_EQ(co_rwlock_rdlock(&rw), 0);
    go([&] {
        EXPECT_EQ(co_rwlock_tryrdlock(&rw), 0);
        EXPECT_EQ(co_rwlock_trywrlock(&rw), EBUSY);
        EXPECT_EQ(co_rwlock_unlock(&rw), 0);
    });
    co_run();
    EXPECT_EQ(co_rwlock_destroy(&rw), EBUSY);
    EXPECT_EQ(co_rwlock_unlock(&rw), 0);
    EXPECT_EQ(co_rwlock_wrlock(&rw), 0);
    go([&] {
        EXPECT_EQ(co_rwlock_tryrdlock(&rw), EBUSY);
        EXPECT_EQ(co_rwlock_trywrlock(&rw), EBUSY);
    });
    co_run();
    EXPECT_EQ(co_rwlock_destroy(&rw), EBUSY);
    EXPECT_EQ(co_rwlock_unlock(&rw), 0);
    expect_free();
}

// contract 10
//
//     a (reader)   W (writer)    b (reader)    V (writer)    readers  writer  queue
//     in                                                     1
//     holds        parks                                     1                W
//     holds                      parks                       1                W b     not past W
//     holds                                    parks         1                W b V
//     out          in                                        0        W       b V     not past b
//                  out           in                          1                V
//                                out           in            0        V
TEST_F(RwLock, IsFairBothWays) {
    reader('a', 4);
    writer('W');
    reader('b');
    writer('V');
    co_run();
    EXPECT_EQ(trace, "aWbV");
    expect_free();
}

TEST_F(RwLock, ReadersAtTheHeadGoInTogether) {
    EXPECT_EQ(co_rwlock_wrlock(&rw), 0);
    int inside = 0, most = 0;
    for (int i = 0; i < 3; ++i)
        go([&] {
            EXPECT_EQ(co_rwlock_rdlock(&rw), 0);
            most = std::max(most, ++inside);
            hold(2);
            --inside;
            EXPECT_EQ(co_rwlock_unlock(&rw), 0);
        });
    go([&] {
        EXPECT_EQ(co_rwlock_wrlock(&rw), 0);
        EXPECT_EQ(inside, 0);
        EXPECT_EQ(co_rwlock_unlock(&rw), 0);
    });
    settle();
    EXPECT_EQ(co_rwlock_unlock(&rw), 0);
    co_run();
    EXPECT_EQ(most, 3);
    expect_free();
}

TEST_F(RwLock, TellsAWriterThatLockingAgainWouldWaitForEver) {
    EXPECT_EQ(co_rwlock_wrlock(&rw), 0);
    EXPECT_EQ(co_rwlock_wrlock(&rw), EDEADLK);
    EXPECT_EQ(co_rwlock_rdlock(&rw), EDEADLK);
    EXPECT_EQ(co_rwlock_upgrade(&rw), EDEADLK);
    EXPECT_EQ(co_rwlock_trywrlock(&rw), EBUSY);
    EXPECT_EQ(co_rwlock_unlock(&rw), 0);
    expect_free();
}

TEST_F(RwLock, CanOnlyBeUnlockedByAHolder) {
    EXPECT_EQ(co_rwlock_unlock(&rw), EPERM);
    EXPECT_EQ(co_rwlock_upgrade(&rw), EPERM);
    EXPECT_EQ(co_rwlock_downgrade(&rw), EPERM);
    EXPECT_EQ(co_rwlock_wrlock(&rw), 0);
    go([&] {
        EXPECT_EQ(co_rwlock_unlock(&rw), EPERM);
        EXPECT_EQ(co_rwlock_upgrade(&rw), EPERM);
        EXPECT_EQ(co_rwlock_downgrade(&rw), EPERM);
    });
    co_run();
    EXPECT_EQ(co_rwlock_unlock(&rw), 0);
    EXPECT_EQ(co_rwlock_rdlock(&rw), 0);
    EXPECT_EQ(co_rwlock_downgrade(&rw), EPERM);
    EXPECT_EQ(co_rwlock_unlock(&rw), 0);
    expect_free();
}

TEST_F(RwLock, UpgradeOfTheOnlyReaderDoesNotWait) {
    EXPECT_EQ(co_rwlock_rdlock(&rw), 0);
    EXPECT_EQ(co_rwlock_upgrade(&rw), 0);
    go([&] { EXPECT_EQ(co_rwlock_tryrdlock(&rw), EBUSY); });
    co_run();
    EXPECT_EQ(co_rwlock_unlock(&rw), 0);
    expect_free();
}

// contract 10
//
//     U (reader)     W (writer)   r (reader)   readers  writer  queue
//     in                                       1
//     holds          parks                     1                W
//     holds                       parks        1                W r
//     upgrade parks  in                        0        W       r U    given up, and behind r
//                    out          in           1                U
//                                 out          0        U
TEST_F(RwLock, UpgradeDropsAndQueues) {
    go([&] {
        EXPECT_EQ(co_rwlock_rdlock(&rw), 0);
        enter('u');
        hold(2);
        EXPECT_EQ(co_rwlock_upgrade(&rw), 0);
        enter('U');
        EXPECT_EQ(co_rwlock_unlock(&rw), 0);
    });
    writer('W');
    reader('r');
    co_run();
    EXPECT_EQ(trace, "uWrU");
    expect_free();
}

TEST_F(RwLock, TwoReadersThatUpgradeBothGetThere) {
    for (char name : {'A', 'B'})
        go([&, name] {
            EXPECT_EQ(co_rwlock_rdlock(&rw), 0);
            hold(1);
            EXPECT_EQ(co_rwlock_upgrade(&rw), 0);
            enter(name);
            hold(1);
            EXPECT_EQ(co_rwlock_unlock(&rw), 0);
        });
    co_run();
    EXPECT_EQ(trace, "AB");
    expect_free();
}

// contract 10
//
//     W (writer)   a, b (readers)   V (writer)   c (reader)   readers  writer  queue
//     in           park             parks        parks        0        W       a b V c
//     downgrade    in                                         3                V c    c stays
//     out          out              in                        0        V       c
TEST_F(RwLock, DowngradeWakesTheReadersAtTheHead) {
    go([&] {
        EXPECT_EQ(co_rwlock_wrlock(&rw), 0);
        enter('W');
        hold(1);
        EXPECT_EQ(co_rwlock_downgrade(&rw), 0);
        hold(1);
        enter('w'); // still reading, beside a and b
        EXPECT_EQ(co_rwlock_unlock(&rw), 0);
    });
    reader('a', 3);
    reader('b', 3);
    writer('V');
    reader('c');
    co_run();
    EXPECT_EQ(trace, "Wabw"
                     "Vc");
    expect_free();
}

TEST_F(RwLock, WriterThatTimesOutLetsTheReadersBehindItIn) {
    EXPECT_EQ(co_rwlock_rdlock(&rw), 0);
    int timed_out = 0;
    go([&] {
        EXPECT_EQ(co_rwlock_timedwrlock(&rw, 0), ETIMEDOUT);
        EXPECT_EQ(co_rwlock_timedwrlock(&rw, 2), ETIMEDOUT);
        ++timed_out;
    });
    reader('a');
    reader('b');
    co_run(); // ends although the read lock is still held here
    EXPECT_EQ(timed_out, 1);
    EXPECT_EQ(trace, "ab");
    EXPECT_EQ(co_rwlock_unlock(&rw), 0);
    expect_free();
}

TEST_F(RwLock, ReaderTimesOutBehindAWriter) {
    EXPECT_EQ(co_rwlock_wrlock(&rw), 0);
    go([&] { EXPECT_EQ(co_rwlock_timedrdlock(&rw, 2), ETIMEDOUT); });
    co_run();
    EXPECT_EQ(co_rwlock_unlock(&rw), 0);
    expect_free();
}

TEST_F(RwLock, CancelledOrReleasedWriterLetsTheReadersBehindItIn) {
    for (bool released : {false, true}) {
        trace.clear();
        EXPECT_EQ(co_rwlock_rdlock(&rw), 0);
        int unwound = 0;
        stCoRoutine_t *victim = keep([&] {
            Unwound guard{&unwound};
            co_rwlock_wrlock(&rw);
            ADD_FAILURE();
        });
        reader('a');
        settle();
        EXPECT_EQ(trace, "");
        if (released)
            release(victim);
        else {
            EXPECT_EQ(co_cancel(victim), 0);
        }
        co_run();
        EXPECT_EQ(trace, "a");
        EXPECT_EQ(unwound, released ? 0 : 1);
        EXPECT_EQ(co_rwlock_unlock(&rw), 0);
        expect_free();
    }
}

TEST_F(RwLock, CancelOrReleaseAfterTheGrantGivesTheLockBack) {
    for (bool as_writer : {false, true})
        for (bool released : {false, true}) {
            trace.clear();
            EXPECT_EQ(co_rwlock_wrlock(&rw), 0);
            stCoRoutine_t *victim = keep([&] {
                as_writer ? co_rwlock_wrlock(&rw) : co_rwlock_rdlock(&rw);
                ADD_FAILURE();
            });
            writer('W');
            settle();
            EXPECT_EQ(co_rwlock_unlock(&rw), 0); // the victim's from here on, before it has run
            if (released)
                release(victim);
            else {
                EXPECT_EQ(co_cancel(victim), 0);
            }
            co_run();
            EXPECT_EQ(trace, "W");
            expect_free();
        }
}

TEST_F(RwLock, CancelledUpgradeHoldsNothing) {
    EXPECT_EQ(co_rwlock_rdlock(&rw), 0);
    int error = -1;
    stCoRoutine_t *victim = keep([&] {
        co_cancel_mode(CO_CANCEL_ERRNO);
        EXPECT_EQ(co_rwlock_rdlock(&rw), 0);
        error = co_rwlock_upgrade(&rw);
    });
    settle();
    EXPECT_EQ(co_cancel(victim), 0);
    co_run();
    EXPECT_EQ(error, ECANCELED);
    EXPECT_EQ(co_rwlock_unlock(&rw), 0);
    expect_free();
}

TEST_F(RwLock, KeepsWritersAloneAcrossFourThreads) {
    long value = 0;
    std::atomic<int> readers{0}, writers{0};
    std::atomic<long> written{0}, reads{0};
    const int per_coroutine = rounds(3000);
    run_threads(4, 4, [&](int, int index) {
        for (int i = 0; i < per_coroutine; ++i) {
            if ((i + index) % 4 == 0) {
                ASSERT_EQ(co_rwlock_wrlock(&rw), 0);
                ASSERT_EQ(writers.fetch_add(1), 0);
                ASSERT_EQ(readers.load(), 0);
                ++value;
                if (i % 64 == 0)
                    co_yield_now();
                --writers;
                ++written;
                if (i % 3 == 0) {
                    ASSERT_EQ(co_rwlock_downgrade(&rw), 0);
                    ASSERT_EQ(writers.load(), 0);
                }
            } else {
                ASSERT_EQ(co_rwlock_rdlock(&rw), 0);
                ++readers;
                ASSERT_EQ(writers.load(), 0);
                long seen = value;
                if (i % 64 == 0)
                    co_yield_now();
                ASSERT_EQ(seen, value);
                --readers;
                ++reads;
                if (i % 16 == 0) {
                    ASSERT_EQ(co_rwlock_upgrade(&rw), 0);
                    ++value;
                    ++written;
                }
            }
            ASSERT_EQ(co_rwlock_unlock(&rw), 0);
        }
    });
    EXPECT_EQ(value, written.load());
    EXPECT_GT(reads.load(), 0);
    expect_free();
}

} // namespace
