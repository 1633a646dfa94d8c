// SPDX-License-Identifier: Apache-2.0
// Mutexes: among coroutines, and with plain threads and code without hooks on the other side.
#include "tests/hooks/threads_fixture.h"
#include "tests/hooks/ticking.h"

#include <atomic>
#include <threads.h>

namespace {

TEST(PthreadMutex, HeldAcrossAWaitDoesNotStopTheThread) { // contract 28, brpc #1741
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    std::string order;
    run_together({[&] {
                      pthread_mutex_lock(&m);
                      order += 'a';
                      usleep(2000);
                      order += 'b';
                      pthread_mutex_unlock(&m);
                  },
                  [&] {
                      pthread_mutex_lock(&m);
                      order += 'c';
                      pthread_mutex_unlock(&m);
                  }});
    EXPECT_EQ(order, "abc");
    EXPECT_EQ(pthread_mutex_destroy(&m), 0);
}

TEST(PthreadMutex, EveryTypeAnswersAsWithThreads) {
    for (int type : {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK,
                     PTHREAD_MUTEX_ADAPTIVE_NP})
        expect_same([type](side &s) {
            typed_mutex t(type);
            s.says("lock", pthread_mutex_lock(&t.m));
            s.says("try", pthread_mutex_trylock(&t.m));
            if (type == PTHREAD_MUTEX_RECURSIVE || type == PTHREAD_MUTEX_ERRORCHECK)
                s.says("again", pthread_mutex_lock(&t.m));
            s.partner([&t](side &p) {
                p.says("try by another", pthread_mutex_trylock(&t.m));
                if (p.says("timed", [&] {
                        timespec soon = after_ms(CLOCK_REALTIME, 5);
                        return pthread_mutex_timedlock(&t.m, &soon);
                    }()) == 0)
                    pthread_mutex_unlock(&t.m);
            });
            s.join();
            if (type == PTHREAD_MUTEX_RECURSIVE) {
                s.partner([&t](side &p) { p.says("foreign unlock", pthread_mutex_unlock(&t.m)); });
                s.join();
                s.says("unlock", pthread_mutex_unlock(&t.m));
                s.says("unlock", pthread_mutex_unlock(&t.m));
            }
            if (type == PTHREAD_MUTEX_ERRORCHECK) {
                s.partner([&t](side &p) { p.says("foreign unlock", pthread_mutex_unlock(&t.m)); });
                s.join();
            }
            s.says("last unlock", pthread_mutex_unlock(&t.m));
            if (type == PTHREAD_MUTEX_RECURSIVE || type == PTHREAD_MUTEX_ERRORCHECK)
                s.says("one too many", pthread_mutex_unlock(&t.m));
        });
}

// libc's own function for 32-bit times reads it first, to convert it.
TEST(PthreadMutex, ATimeThatIsNotWaitedForIsNotRead) {
    auto body = [](side &s) {
        const timespec *volatile nowhere = reinterpret_cast<const timespec *>(uintptr_t{64});
        for (int type : {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK})
            for (int robust : {PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_ROBUST}) {
                pthread_mutexattr_t how;
                pthread_mutexattr_init(&how);
                pthread_mutexattr_settype(&how, type);
                pthread_mutexattr_setrobust(&how, robust);
                pthread_mutex_t m;
                pthread_mutex_init(&m, &how);
                s.says("free", pthread_mutex_timedlock(&m, nowhere));
                if (type != PTHREAD_MUTEX_NORMAL)
                    s.says("its own", pthread_mutex_timedlock(&m, nowhere));
                while (pthread_mutex_unlock(&m) == 0 && type == PTHREAD_MUTEX_RECURSIVE)
                    continue;
                s.says("free", pthread_mutex_clocklock(&m, CLOCK_MONOTONIC, nowhere));
                s.says("unlock", pthread_mutex_unlock(&m));
                pthread_mutex_destroy(&m);
            }
        mtx_t c11;
        mtx_init(&c11, mtx_timed);
        s.says("C11", mtx_timedlock(&c11, nowhere));
        mtx_unlock(&c11);
        mtx_destroy(&c11);
    };
    if constexpr (sizeof(long) == 8) {
        expect_same(body);
    } else {
        std::vector<std::string> trace;
        in_coroutine([&] {
            side s(true);
            body(s);
            trace = s.trace();
        });
        EXPECT_EQ(trace.back(), "C11 = 0");
    }
}

TEST(PthreadMutex, TimesAndBadTimes) {
    expect_same([](side &s) {
        pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
        timespec bad{0, 1000000000}, past{-1, 0}, zero{0, 0};
        s.says("free, bad time", pthread_mutex_timedlock(&m, &bad));
        s.partner([&](side &p) {
            p.says("bad time", pthread_mutex_timedlock(&m, &bad));
            p.says("before 1970", pthread_mutex_timedlock(&m, &past));
            p.says("1970", pthread_mutex_clocklock(&m, CLOCK_MONOTONIC, &zero));
            p.says("bad clock", pthread_mutex_clocklock(&m, CLOCK_BOOTTIME, &zero));
            for (clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC}) {
                timespec at = after_ms(clock, 10);
                p.says("10 ms", pthread_mutex_clocklock(&m, clock, &at));
                timespec now = after_ms(clock, 0);
                p.says("waited", now.tv_sec > at.tv_sec ||
                                     (now.tv_sec == at.tv_sec && now.tv_nsec >= at.tv_nsec));
            }
            timespec later = after_ms(CLOCK_REALTIME, 60000);
            p.says("in time", pthread_mutex_timedlock(&m, &later));
            p.says("unlock", pthread_mutex_unlock(&m));
        });
        usleep(40000);
        s.says("unlock", pthread_mutex_unlock(&m));
        s.join();
    });
}

TEST(PthreadMutex, OneThatLocksAgainAtOnceLetsTheOthersIn) {
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    bool done = false;
    int rounds = 0;
    run_together({[&] {
                      for (; !done && rounds < 1000; ++rounds) {
                          pthread_mutex_lock(&m);
                          pass(); // the other one finds it locked each time
                          pthread_mutex_unlock(&m);
                      }
                  },
                  [&] {
                      pthread_mutex_lock(&m);
                      done = true;
                      pthread_mutex_unlock(&m);
                  }});
    EXPECT_TRUE(done);
    EXPECT_LT(rounds, 10);
}

TEST(PthreadMutex, WaitersComeInOrder) {
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    std::string order;
    std::vector<std::function<void()>> bodies{[&] {
        pthread_mutex_lock(&m);
        for (int i = 0; i < 5; ++i)
            pass();
        pthread_mutex_unlock(&m);
    }};
    for (char c : std::string("abcdef"))
        bodies.push_back([&, c] {
            pthread_mutex_lock(&m);
            order += c;
            pass();
            pthread_mutex_unlock(&m);
        });
    run_together(bodies);
    EXPECT_EQ(order, "abcdef");
}

TEST(PthreadMutex, AFreeMutexCostsNoSwitch) {
    in_coroutine([] {
        pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
        uint64_t before = switches();
        for (int i = 0; i < 1000; ++i) {
            pthread_mutex_lock(&m);
            pthread_mutex_unlock(&m);
        }
        EXPECT_EQ(switches(), before);
    });
}

TEST(PthreadMutex, HooksOffOnOneSideAndOnOnTheOther) {
    for (int type : {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK})
        in_coroutine([type] {
            typed_mutex t(type);
            for (int i = 0; i < 2; ++i) {
                co_disable_hook_sys();
                EXPECT_EQ(pthread_mutex_lock(&t.m), 0);
                co_enable_hook_sys();
                EXPECT_EQ(pthread_mutex_unlock(&t.m), 0);
                EXPECT_EQ(pthread_mutex_lock(&t.m), 0);
                co_disable_hook_sys();
                if (type == PTHREAD_MUTEX_RECURSIVE) {
                    EXPECT_EQ(pthread_mutex_lock(&t.m), 0);
                    EXPECT_EQ(pthread_mutex_unlock(&t.m), 0);
                }
                EXPECT_EQ(pthread_mutex_unlock(&t.m), 0);
                co_enable_hook_sys();
            }
        });
}

TEST(PthreadMutex, ACoroutineWithoutHooksUnlocksForOneThatWaits) {
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    bool got = false;
    run_together({[&] {
                      co_disable_hook_sys();
                      pthread_mutex_lock(&m);
                      pass();
                      pass();
                      pthread_mutex_unlock(&m);
                  },
                  [&] {
                      pthread_mutex_lock(&m);
                      got = true;
                      pthread_mutex_unlock(&m);
                  }});
    EXPECT_TRUE(got);
}

TEST(PthreadMutex, APlainThreadHoldsItAndACoroutineWaits) {
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    std::atomic<bool> locked{false}, release{false};
    std::thread holder([&] {
        pthread_mutex_lock(&m);
        locked = true;
        while (!release)
            usleep(100);
        pthread_mutex_unlock(&m);
    });
    while (!locked)
        usleep(100);
    int ticks = 0;
    bool got = false;
    run_together({[&] {
                      pthread_mutex_lock(&m);
                      got = true;
                      pthread_mutex_unlock(&m);
                  },
                  [&] {
                      for (; ticks < 20; ++ticks)
                          usleep(500);
                      EXPECT_FALSE(got);
                      release = true;
                  }});
    holder.join();
    EXPECT_TRUE(got);
    EXPECT_EQ(ticks, 20);
}

TEST(PthreadMutex, ACoroutineHoldsItAndAPlainThreadWaits) {
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    bool got = false;
    std::thread waiter;
    in_coroutine([&] {
        pthread_mutex_lock(&m);
        waiter = std::thread([&] {
            pthread_mutex_lock(&m);
            got = true;
            pthread_mutex_unlock(&m);
        });
        usleep(5000);
        EXPECT_FALSE(got);
        pthread_mutex_unlock(&m);
    });
    waiter.join();
    EXPECT_TRUE(got);
}

TEST(PthreadMutex, LockingIsNoPlaceToBeCancelledAt) {
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    bool got = false, past_sleep = false, owns = false;
    stCoRoutine_t *victim = go([&] {
        pthread_mutex_lock(&m); // waits; cancelled meanwhile
        got = true;
        owns = pthread_mutex_trylock(&m) == EBUSY;
        pthread_mutex_unlock(&m);
        usleep(10);
        past_sleep = true;
    });
    stCoRoutine_t *holder = nullptr;
    pthread_mutex_lock(&m); // by the thread's own stack
    holder = go([&] {
        pass();
        EXPECT_EQ(co_cancel(victim), 0);
        pass();
        pass();
        EXPECT_FALSE(got);
        pthread_mutex_unlock(&m);
    });
    co_run();
    EXPECT_TRUE(got);
    EXPECT_TRUE(owns);
    EXPECT_FALSE(past_sleep);
    co_release(victim);
    co_release(holder);
    EXPECT_EQ(pthread_mutex_trylock(&m), 0);
    pthread_mutex_unlock(&m);
}

TEST(PthreadMutex, CancelByErrnoDoesNotMakeALockFail) {
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    int locked = -1, slept = 0, error = 0;
    stCoRoutine_t *victim = go([&] {
        co_cancel_mode(CO_CANCEL_ERRNO);
        locked = pthread_mutex_lock(&m);
        pthread_mutex_unlock(&m);
        slept = usleep(10);
        error = errno;
    });
    pthread_mutex_lock(&m);
    stCoRoutine_t *other = go([&] {
        pass();
        co_cancel(victim);
        pass();
        pthread_mutex_unlock(&m);
    });
    co_run();
    EXPECT_EQ(locked, 0);
    EXPECT_EQ(slept, -1);
    EXPECT_EQ(error, ECANCELED);
    co_release(victim);
    co_release(other);
}

TEST(PthreadMutex, OneThatIsReleasedWhileItWaitsKeepsNobodyWaiting) {
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    bool got = false;
    stCoRoutine_t *dropped = nullptr;
    run_together({[&] {
                      pthread_mutex_lock(&m);
                      pass();
                      pass();
                      pthread_mutex_unlock(&m); // wakes the one that goes away now
                      co_release(dropped);
                  },
                  [&] {
                      dropped = go_plain(
                          [](void *at) { pthread_mutex_lock(static_cast<pthread_mutex_t *>(at)); },
                          &m);
                      pass();
                      pthread_mutex_lock(&m);
                      got = true;
                      pthread_mutex_unlock(&m);
                  }});
    EXPECT_TRUE(got);
}

TEST(PthreadMutex, TwoCoroutinesOnOneSharedStackWait) { // contract 37
    stShareStack_t *stack = co_alloc_sharestack(1, 128 * 1024);
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    int got = 0;
    auto body = [&] {
        volatile char canary[512];
        memset(const_cast<char *>(canary), 7 + got, sizeof canary);
        char mine = canary[0];
        pthread_mutex_lock(&m);
        for (size_t i = 0; i < sizeof canary; ++i)
            EXPECT_EQ(canary[i], mine);
        ++got;
        usleep(100);
        pthread_mutex_unlock(&m);
    };
    std::vector<stCoRoutine_t *> all;
    for (int i = 0; i < 4; ++i)
        all.push_back(go(body, stack));
    co_run();
    EXPECT_EQ(got, 4);
    for (stCoRoutine_t *co : all)
        co_release(co);
    co_release_sharestack(stack);
}

} // namespace
