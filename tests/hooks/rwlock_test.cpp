// SPDX-License-Identifier: Apache-2.0
// Read-write locks: among coroutines, and with plain threads and code without hooks on the other side.
#include "tests/hooks/threads_fixture.h"
#include "tests/hooks/ticking.h"

#include <atomic>
#include <shared_mutex>
#include <sys/mman.h>
#include <sys/wait.h>

namespace {

TEST(PthreadRwlock, ReadersShareWritersDoNot) {
    expect_same([](side &s) {
        pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
        s.says("read", pthread_rwlock_rdlock(&rw));
        s.says("read again", pthread_rwlock_rdlock(&rw));
        s.partner([&](side &p) {
            p.says("try to write", pthread_rwlock_trywrlock(&rw));
            p.says("try to read", pthread_rwlock_tryrdlock(&rw));
            p.says("unlock", pthread_rwlock_unlock(&rw));
        });
        s.join();
        s.says("unlock", pthread_rwlock_unlock(&rw));
        s.says("unlock", pthread_rwlock_unlock(&rw));
        s.says("write", pthread_rwlock_wrlock(&rw));
        s.says("read what I write", pthread_rwlock_rdlock(&rw));
        s.says("write again", pthread_rwlock_wrlock(&rw));
        s.says("try to write", pthread_rwlock_trywrlock(&rw));
        s.partner([&](side &p) {
            timespec bad{0, 2000000000}, past{-1, 0}, soon = after_ms(CLOCK_MONOTONIC, 5);
            p.says("try to read", pthread_rwlock_tryrdlock(&rw));
            p.says("bad time", pthread_rwlock_timedrdlock(&rw, &bad));
            p.says("bad clock", pthread_rwlock_clockwrlock(&rw, CLOCK_BOOTTIME, &soon));
            p.says("past", pthread_rwlock_timedwrlock(&rw, &past));
            p.says("soon", pthread_rwlock_clockrdlock(&rw, CLOCK_MONOTONIC, &soon));
            soon = after_ms(CLOCK_REALTIME, 5);
            p.says("soon", pthread_rwlock_clockwrlock(&rw, CLOCK_REALTIME, &soon));
        });
        s.join();
        s.says("unlock", pthread_rwlock_unlock(&rw));
        timespec bad{0, 2000000000};
        s.says("free, bad time", pthread_rwlock_timedrdlock(&rw, &bad));
        s.says("destroy", pthread_rwlock_destroy(&rw));
    });
}

TEST(PthreadRwlock, WaitersGetItInTheEnd) {
    expect_same([](side &s) {
        pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
        int value = 0;
        s.says("write", pthread_rwlock_wrlock(&rw));
        for (int i = 0; i < 2; ++i) {
            s.partner([&](side &p) {
                p.says("read", pthread_rwlock_rdlock(&rw));
                p.says("written", value > 0);
                p.says("unlock", pthread_rwlock_unlock(&rw));
            });
            s.partner([&](side &p) {
                p.says("write", pthread_rwlock_wrlock(&rw));
                ++value;
                p.says("unlock", pthread_rwlock_unlock(&rw));
            });
        }
        usleep(3000);
        ++value;
        s.says("unlock", pthread_rwlock_unlock(&rw));
        s.join();
        s.says("value", value);
    });
}

TEST(PthreadRwlock, AWriterThatLocksAgainAtOnceLetsTheOthersIn) {
    pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
    int readers = 0, rounds = 0;
    auto reader = [&] {
        pthread_rwlock_rdlock(&rw);
        ++readers;
        pthread_rwlock_unlock(&rw);
    };
    run_together({[&] {
                      for (; readers < 2 && rounds < 1000; ++rounds) {
                          pthread_rwlock_wrlock(&rw);
                          pass();
                          pthread_rwlock_unlock(&rw);
                      }
                  },
                  reader, reader});
    EXPECT_LT(rounds, 10);
}

TEST(PthreadRwlock, AWriterOfTheWriterFirstKindIsNotStarved) {
    pthread_rwlockattr_t a;
    pthread_rwlockattr_init(&a);
    pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_t rw;
    pthread_rwlock_init(&rw, &a);
    bool written = false;
    int reads = 0;
    auto reader = [&] { // two of them hold it in turns, so that it is never free
        while (!written && reads < 1000) {
            pthread_rwlock_rdlock(&rw);
            ++reads;
            pass();
            pass();
            pthread_rwlock_unlock(&rw);
        }
    };
    run_together({reader,
                  [&] {
                      pass();
                      reader();
                  },
                  [&] {
                      pass();
                      pass();
                      pthread_rwlock_wrlock(&rw);
                      written = true;
                      pthread_rwlock_unlock(&rw);
                  }});
    EXPECT_LT(reads, 20);
    pthread_rwlock_destroy(&rw);
}

TEST(PthreadRwlock, HooksOffOnOneSideAndOnOnTheOther) {
    in_coroutine([] {
        pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
        for (int i = 0; i < 2; ++i) {
            co_disable_hook_sys();
            EXPECT_EQ(pthread_rwlock_wrlock(&rw), 0);
            co_enable_hook_sys();
            EXPECT_EQ(pthread_rwlock_unlock(&rw), 0);
            EXPECT_EQ(pthread_rwlock_wrlock(&rw), 0);
            co_disable_hook_sys();
            EXPECT_EQ(pthread_rwlock_rdlock(&rw), EDEADLK);
            EXPECT_EQ(pthread_rwlock_unlock(&rw), 0);
            co_enable_hook_sys();
            EXPECT_EQ(pthread_rwlock_trywrlock(&rw), 0);
            EXPECT_EQ(pthread_rwlock_unlock(&rw), 0);
        }
        EXPECT_EQ(pthread_rwlock_destroy(&rw), 0);
    });
}

TEST(PthreadRwlock, PlainThreadsOnTheOtherSide) {
    for (bool writes : {false, true}) {
        pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
        std::atomic<bool> locked{false}, release{false};
        std::thread plain([&] {
            writes ? pthread_rwlock_wrlock(&rw) : pthread_rwlock_rdlock(&rw);
            locked = true;
            while (!release)
                usleep(100);
            pthread_rwlock_unlock(&rw);
            pthread_rwlock_wrlock(&rw); // waits for the coroutine
            pthread_rwlock_unlock(&rw);
        });
        while (!locked)
            usleep(100);
        bool got = false;
        int ticks = 0;
        run_together({[&] {
                          pthread_rwlock_wrlock(&rw);
                          got = true;
                          usleep(1000);
                          pthread_rwlock_unlock(&rw);
                      },
                      [&] {
                          for (; ticks < 10; ++ticks)
                              usleep(300);
                          EXPECT_FALSE(got);
                          release = true;
                      }});
        plain.join();
        EXPECT_TRUE(got);
        EXPECT_EQ(pthread_rwlock_destroy(&rw), 0);
    }
}

TEST(PthreadRwlock, ACancelledOrReleasedWaiterStandsInNobodysWay) {
    pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
    int got = 0;
    stCoRoutine_t *cancelled = nullptr, *released = nullptr;
    run_together(
        {[&] {
             pthread_rwlock_wrlock(&rw);
             released = go_plain(
                 [](void *at) { pthread_rwlock_wrlock(static_cast<pthread_rwlock_t *>(at)); }, &rw);
             cancelled = go([&] {
                 pthread_rwlock_wrlock(&rw);
                 ++got; // no place to be cancelled at
                 pthread_rwlock_unlock(&rw);
             });
             pass();
             pass();
             co_cancel(cancelled);
             co_release(released);
             pass();
             EXPECT_EQ(got, 0);
             pthread_rwlock_unlock(&rw);
         },
         [&] {
             pass();
             pthread_rwlock_rdlock(&rw);
             ++got;
             pthread_rwlock_unlock(&rw);
         }});
    co_release(cancelled);
    EXPECT_EQ(got, 2);
}

TEST(PthreadRwlock, AnotherProcessHoldsIt) {
    auto *rw = static_cast<pthread_rwlock_t *>(
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    pthread_rwlockattr_t a;
    pthread_rwlockattr_init(&a);
    pthread_rwlockattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    pthread_rwlock_init(rw, &a);
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        pthread_rwlock_wrlock(rw);
        if (write(ready[1], "x", 1) == 1)
            usleep(20000);
        pthread_rwlock_unlock(rw);
        _exit(0);
    }
    char x;
    ASSERT_EQ(read(ready[0], &x, 1), 1);
    int ticks = 0;
    bool got = false;
    run_together({[&] {
                      timespec soon = after_ms(CLOCK_REALTIME, 2);
                      EXPECT_EQ(pthread_rwlock_timedwrlock(rw, &soon), ETIMEDOUT);
                      EXPECT_EQ(pthread_rwlock_rdlock(rw), 0);
                      got = true;
                      EXPECT_EQ(pthread_rwlock_unlock(rw), 0);
                  },
                  [&] {
                      while (!got && ++ticks < 10000)
                          usleep(1000);
                  }});
    EXPECT_GT(ticks, 3);
    waitpid(child, nullptr, 0);
    close(ready[0]);
    close(ready[1]);
    munmap(rw, 4096);
}

TEST(StdSharedTimedMutex, InCoroutines) {
    using namespace std::chrono;
    std::shared_timed_mutex m;
    std::string order;
    run_together({[&] {
                      std::unique_lock lock(m);
                      usleep(10000);
                      order += 'w';
                  },
                  [&] {
                      EXPECT_FALSE(m.try_lock_shared_for(milliseconds(1)));
                      EXPECT_FALSE(m.try_lock_until(system_clock::now() + milliseconds(1)));
                      std::shared_lock lock(m, seconds(60));
                      EXPECT_TRUE(lock.owns_lock());
                      order += 'r';
                      usleep(3000);
                  },
                  [&] {
                      std::shared_lock lock(m);
                      order += 'r';
                      usleep(3000);
                  }});
    EXPECT_EQ(order, "wrr");
}

TEST(PthreadRwlock, HammeredByCoroutinesAndThreads) {
    for (int kind : {PTHREAD_RWLOCK_PREFER_READER_NP, PTHREAD_RWLOCK_PREFER_WRITER_NP,
                     PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP}) {
        pthread_rwlockattr_t a;
        pthread_rwlockattr_init(&a);
        pthread_rwlockattr_setkind_np(&a, kind);
        pthread_rwlock_t rw;
        pthread_rwlock_init(&rw, &a);
        long first = 0, second = 0;
        std::atomic<int> torn{0};
        constexpr int rounds = 1500;
        auto work = [&] {
            for (int i = 0; i < rounds; ++i) {
                if (i % 3 == 0) {
                    pthread_rwlock_wrlock(&rw);
                    ++first;
                    if (i % 12 == 0)
                        pass();
                    ++second;
                } else {
                    timespec later = after_ms(CLOCK_REALTIME, 60000);
                    i % 3 == 1 ? pthread_rwlock_rdlock(&rw)
                               : pthread_rwlock_timedrdlock(&rw, &later);
                    torn += first != second;
                    if (i % 12 == 1)
                        pass();
                }
                pthread_rwlock_unlock(&rw);
            }
        };
        std::vector<std::thread> threads;
        for (int i = 0; i < 2; ++i) {
            threads.push_back(loop_thread({work, work}));
            threads.emplace_back(work);
        }
        for (std::thread &t : threads)
            t.join();
        EXPECT_EQ(first, 6 * rounds / 3);
        EXPECT_EQ(second, first);
        EXPECT_EQ(torn, 0);
        pthread_rwlock_destroy(&rw);
    }
}

} // namespace
