// SPDX-License-Identifier: Apache-2.0
// Conditions: among coroutines, and with plain threads and code without hooks on the other side.
#include "tests/hooks/threads_fixture.h"
#include "tests/hooks/ticking.h"

#include <atomic>
#include <sys/mman.h>
#include <sys/wait.h>

namespace {

struct shelf { // a count that somebody waits for
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    int items = 0;

    void put(int n = 1, bool all = false) {
        pthread_mutex_lock(&m);
        items += n;
        pthread_mutex_unlock(&m);
        EXPECT_EQ(all ? pthread_cond_broadcast(&c) : pthread_cond_signal(&c), 0);
    }
    void get() {
        struct guard {
            pthread_mutex_t *m;
            ~guard() { pthread_mutex_unlock(m); }
        };
        pthread_mutex_lock(&m);
        guard unlock_at_end{&m};
        while (items == 0)
            EXPECT_EQ(pthread_cond_wait(&c, &m), 0);
        --items;
    }
};

TEST(PthreadCond, SignalAndBroadcast) {
    expect_same([](side &s) {
        shelf one;
        s.partner([&](side &p) {
            one.get();
            p.says("got", 1);
        });
        usleep(2000);
        one.put();
        s.join();
        for (int i = 0; i < 3; ++i)
            s.partner([&](side &p) {
                one.get();
                p.says("got", 1);
            });
        usleep(2000);
        one.put(3, true);
        s.join();
        s.says("left", one.items);
        s.says("destroy", pthread_cond_destroy(&one.c));
        s.says("destroy", pthread_mutex_destroy(&one.m));
    });
}

TEST(PthreadCond, ASignalWakesOneOfTheCoroutines) {
    shelf one;
    int woken = 0;
    auto waiter = [&] {
        pthread_mutex_lock(&one.m);
        pthread_cond_wait(&one.c, &one.m);
        ++woken;
        pthread_mutex_unlock(&one.m);
    };
    run_together({waiter, waiter, waiter, [&] {
                      pass();
                      for (int i = 1; i <= 3; ++i) {
                          pthread_cond_signal(&one.c);
                          pass();
                          pass();
                          EXPECT_EQ(woken, i);
                      }
                  }});
}

TEST(PthreadCond, TimesClocksAndErrors) {
    expect_same([](side &s) {
        pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
        pthread_condattr_t a;
        pthread_condattr_init(&a);
        pthread_cond_t real, monotonic;
        pthread_cond_init(&real, &a);
        pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
        pthread_cond_init(&monotonic, &a);
        timespec bad{0, -1}, past{-5, 0};
        pthread_mutex_lock(&m);
        s.says("bad time", pthread_cond_timedwait(&real, &m, &bad));
        s.says("past", pthread_cond_timedwait(&real, &m, &past));
        s.says("bad clock", pthread_cond_clockwait(&real, &m, CLOCK_BOOTTIME, &past));
        for (clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC}) {
            timespec at = after_ms(clock, 10);
            s.says("timed",
                   pthread_cond_timedwait(clock == CLOCK_REALTIME ? &real : &monotonic, &m, &at));
            timespec now = after_ms(clock, 0);
            s.says("waited", now.tv_sec > at.tv_sec ||
                                 (now.tv_sec == at.tv_sec && now.tv_nsec >= at.tv_nsec));
            at = after_ms(clock, 10);
            s.says("clock", pthread_cond_clockwait(&real, &m, clock, &at));
        }
        s.partner([&](side &p) { p.says("locked again?", pthread_mutex_trylock(&m)); });
        s.join();
        pthread_mutex_unlock(&m);

        pthread_mutexattr_t ma;
        pthread_mutexattr_init(&ma);
        pthread_mutexattr_settype(&ma, PTHREAD_MUTEX_ERRORCHECK);
        pthread_mutex_t checked;
        pthread_mutex_init(&checked, &ma);
        s.says("not locked", pthread_cond_wait(&real, &checked));
        timespec soon = after_ms(CLOCK_REALTIME, 5);
        pthread_mutex_lock(&checked);
        s.says("checked", pthread_cond_timedwait(&real, &checked, &soon));
        s.says("unlock", pthread_mutex_unlock(&checked));
        pthread_mutex_destroy(&checked);
        pthread_cond_destroy(&real);
        pthread_cond_destroy(&monotonic);
    });
}

TEST(PthreadCond, APlainThreadSignalsACoroutine) { // contract 28, libgo #129
    for (bool all : {false, true}) {
        shelf one;
        bool got = false;
        int ticks = 0;
        std::thread signaller([&] {
            usleep(5000);
            one.put(1, all);
        });
        run_together({[&] {
                          one.get();
                          got = true;
                      },
                      [&] {
                          while (!got && ++ticks < 100000)
                              usleep(200);
                      }});
        signaller.join();
        EXPECT_TRUE(got);
        EXPECT_GT(ticks, 0); // the thread was free meanwhile
    }
}

TEST(PthreadCond, ACoroutineSignalsAPlainThread) {
    for (bool all : {false, true}) {
        shelf one;
        std::thread waiter([&] { one.get(); });
        in_coroutine([&] {
            usleep(3000);
            one.put(1, all);
        });
        waiter.join();
        EXPECT_EQ(one.items, 0);
    }
}

TEST(PthreadCond, BothWaitAndNeitherIsForgotten) {
    shelf one;
    std::atomic<int> thread_got{0}, coroutine_got{0}, waiting{0};
    auto wait_on = [&](std::atomic<int> &counter) {
        pthread_mutex_lock(&one.m);
        for (;;) {
            ++waiting;
            while (one.items == 0)
                pthread_cond_wait(&one.c, &one.m);
            --waiting;
            if (one.items < 0)
                break;
            --one.items;
            ++counter;
        }
        pthread_mutex_unlock(&one.m);
    };
    std::thread plain([&] { wait_on(thread_got); });
    run_together({[&] { wait_on(coroutine_got); },
                  [&] {
                      for (int i = 0; i < 200; ++i) {
                          while (waiting != 2) // both are back, one may be about to wait
                              usleep(50);
                          one.put();
                          for (;;) {
                              pthread_mutex_lock(&one.m);
                              int left = one.items;
                              pthread_mutex_unlock(&one.m);
                              if (left == 0)
                                  break;
                              usleep(50);
                          }
                      }
                      pthread_mutex_lock(&one.m);
                      one.items = -1;
                      pthread_mutex_unlock(&one.m);
                      pthread_cond_broadcast(&one.c);
                  }});
    plain.join();
    EXPECT_EQ(thread_got + coroutine_got, 200);
}

// libc unlocks the mutex inside pthread_cond_wait, where no hook of ours sees it.
TEST(PthreadCond, APlainThreadsWaitLetsACoroutineHaveTheMutex) {
    shelf one;
    std::atomic<bool> locked{false};
    std::atomic<int> go_on{0};
    std::thread plain([&] {
        pthread_mutex_lock(&one.m);
        locked = true;
        while (!go_on)
            usleep(100);
        while (one.items == 0)
            pthread_cond_wait(&one.c, &one.m);
        pthread_mutex_unlock(&one.m);
    });
    while (!locked)
        usleep(100);
    int got = 0;
    auto locker = [&] {
        pthread_mutex_lock(&one.m);
        if (++got == 3) {
            one.items = 1;
            pthread_cond_signal(&one.c);
        }
        pthread_mutex_unlock(&one.m);
    };
    run_together({locker, locker, locker, [&] {
                      usleep(2000);
                      go_on = 1;
                  }});
    plain.join();
    EXPECT_EQ(got, 3);
}

TEST(PthreadCond, ACancelledWaitHasTheMutexAgainAndUnwinds) {
    shelf one;
    int owned = -1;
    bool after = false;
    struct at_end {
        shelf &s;
        int &owned;
        ~at_end() {
            owned = pthread_mutex_trylock(&s.m); // EBUSY: it is ours
            pthread_mutex_unlock(&s.m);
        }
    };
    stCoRoutine_t *victim = go([&] {
        pthread_mutex_lock(&one.m);
        at_end unlock{one, owned};
        pthread_cond_wait(&one.c, &one.m);
        after = true;
    });
    run_together({[&] {
        pass();
        pthread_mutex_lock(&one.m); // so that it has to wait for it
        co_cancel(victim);
        pass();
        pass();
        EXPECT_EQ(owned, -1);
        pthread_mutex_unlock(&one.m);
        void *result = nullptr;
        co_join(victim, &result);
        EXPECT_EQ(result, CO_CANCELED);
    }});
    co_release(victim);
    EXPECT_EQ(owned, EBUSY);
    EXPECT_FALSE(after);
    EXPECT_EQ(pthread_mutex_trylock(&one.m), 0);
    pthread_mutex_unlock(&one.m);
}

TEST(PthreadCond, ACancelledWaiterKeepsNoSignal) { // contract 38
    shelf one;
    bool got = false;
    stCoRoutine_t *first = go([&] { one.get(); });
    run_together({[&] {
                      one.get();
                      got = true;
                  },
                  [&] {
                      pass();
                      one.put();
                      co_cancel(first);
                  }});
    co_release(first);
    EXPECT_TRUE(got);
}

TEST(PthreadCond, AReleasedWaiterKeepsNoSignal) {
    shelf one;
    bool got = false;
    stCoRoutine_t *first = go_plain([](void *at) { static_cast<shelf *>(at)->get(); }, &one);
    run_together({[&] {
                      one.get();
                      got = true;
                  },
                  [&] {
                      pass();
                      one.put();
                      co_release(first);
                  }});
    EXPECT_TRUE(got);
}

TEST(PthreadCond, OnOneSharedStack) { // contract 37
    stShareStack_t *stack = co_alloc_sharestack(1, 128 * 1024);
    shelf one;
    int got = 0;
    std::vector<stCoRoutine_t *> all;
    for (int i = 0; i < 3; ++i)
        all.push_back(go(
            [&, i] {
                volatile char canary[256];
                memset(const_cast<char *>(canary), i, sizeof canary);
                pthread_mutex_lock(&one.m);
                while (one.items == 0) {
                    timespec later = after_ms(CLOCK_REALTIME, 10000);
                    pthread_cond_timedwait(&one.c, &one.m, &later);
                }
                --one.items;
                pthread_mutex_unlock(&one.m);
                for (size_t k = 0; k < sizeof canary; ++k)
                    EXPECT_EQ(canary[k], i);
                ++got;
            },
            stack));
    all.push_back(go([&] {
        pass();
        for (int i = 0; i < 3; ++i)
            one.put();
    }));
    co_run();
    EXPECT_EQ(got, 3);
    for (stCoRoutine_t *co : all)
        co_release(co);
    co_release_sharestack(stack);
}

TEST(PthreadCond, AnotherProcessSignals) {
    struct shared {
        pthread_mutex_t m;
        pthread_cond_t c;
        int items;
    };
    auto *s = static_cast<shared *>(
        mmap(nullptr, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    pthread_mutexattr_t ma;
    pthread_mutexattr_init(&ma);
    pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&s->m, &ma);
    pthread_condattr_t ca;
    pthread_condattr_init(&ca);
    pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
    pthread_cond_init(&s->c, &ca);
    pid_t child = fork();
    if (child == 0) {
        usleep(20000);
        pthread_mutex_lock(&s->m);
        s->items = 1;
        pthread_mutex_unlock(&s->m);
        pthread_cond_signal(&s->c);
        _exit(0);
    }
    int ticks = 0;
    bool got = false;
    run_together({[&] {
                      pthread_mutex_lock(&s->m);
                      while (s->items == 0)
                          EXPECT_EQ(pthread_cond_wait(&s->c, &s->m), 0);
                      got = true;
                      timespec soon = after_ms(CLOCK_REALTIME, 3);
                      EXPECT_EQ(pthread_cond_timedwait(&s->c, &s->m, &soon), ETIMEDOUT);
                      pthread_mutex_unlock(&s->m);
                  },
                  [&] {
                      while (!got && ++ticks < 10000)
                          usleep(1000);
                  }});
    EXPECT_TRUE(got);
    EXPECT_GT(ticks, 3);
    waitpid(child, nullptr, 0);
    munmap(s, sizeof(shared));
}

// A bounded queue between every kind of producer and consumer: all that goes in comes out.
TEST(PthreadCond, HammeredByCoroutinesAndThreads) {
    constexpr int each = 3000, producers = 6, room = 4;
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t filled = PTHREAD_COND_INITIALIZER, emptied = PTHREAD_COND_INITIALIZER;
    int held = 0;
    long taken = 0, sum = 0;
    auto produce = [&] {
        for (int i = 0; i < each; ++i) {
            pthread_mutex_lock(&m);
            while (held == room)
                pthread_cond_wait(&emptied, &m);
            ++held;
            pthread_mutex_unlock(&m);
            pthread_cond_signal(&filled);
        }
    };
    auto consume = [&] {
        for (;;) {
            pthread_mutex_lock(&m);
            while (held == 0 && taken < long{each} * producers)
                pthread_cond_wait(&filled, &m);
            if (held == 0) {
                pthread_mutex_unlock(&m);
                return;
            }
            --held;
            ++taken;
            ++sum;
            bool last = taken == long{each} * producers;
            pthread_cond_signal(&emptied);
            pthread_mutex_unlock(&m);
            if (last)
                pthread_cond_broadcast(&filled);
        }
    };
    std::vector<std::thread> threads;
    threads.push_back(loop_thread({produce, consume, produce, consume}));
    threads.push_back(loop_thread({consume, produce, produce}));
    threads.emplace_back(produce);
    threads.emplace_back(produce);
    threads.emplace_back(consume);
    for (std::thread &t : threads)
        t.join();
    EXPECT_EQ(sum, long{each} * producers);
    EXPECT_EQ(held, 0);
}

} // namespace
