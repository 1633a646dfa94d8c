// SPDX-License-Identifier: Apache-2.0
// Mutexes of special kinds, the C++ library's, and all of them hammered.
#include "tests/hooks/threads_fixture.h"

#include <mutex>
#include <sys/mman.h>
#include <sys/wait.h>

namespace {

TEST(PthreadMutex, SpecialKindsAreTriedAgainAndAgain) {
    struct {
        int shared, robust, protocol;
    } kinds[] = {{PTHREAD_PROCESS_SHARED, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE},
                 {PTHREAD_PROCESS_PRIVATE, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE},
                 {PTHREAD_PROCESS_PRIVATE, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_INHERIT}};
    for (auto &k : kinds) {
        typed_mutex t(PTHREAD_MUTEX_NORMAL, k.shared, k.robust, k.protocol);
        std::string order;
        run_together({[&] {
                          EXPECT_EQ(pthread_mutex_lock(&t.m), 0);
                          order += 'a';
                          usleep(3000);
                          order += 'b';
                          EXPECT_EQ(pthread_mutex_unlock(&t.m), 0);
                      },
                      [&] {
                          timespec soon = after_ms(CLOCK_REALTIME, 1);
                          EXPECT_EQ(pthread_mutex_timedlock(&t.m, &soon), ETIMEDOUT);
                          EXPECT_EQ(pthread_mutex_lock(&t.m), 0);
                          order += 'c';
                          EXPECT_EQ(pthread_mutex_unlock(&t.m), 0);
                      }});
        EXPECT_EQ(order, "abc");
    }
}

TEST(PthreadMutex, ARobustOneTellsOfItsDeadOwner) {
    expect_same([](side &s) {
        typed_mutex t(PTHREAD_MUTEX_NORMAL, PTHREAD_PROCESS_PRIVATE, PTHREAD_MUTEX_ROBUST);
        std::thread([&t] { pthread_mutex_lock(&t.m); }).join();
        s.says("lock", pthread_mutex_lock(&t.m));
        s.says("consistent", pthread_mutex_consistent(&t.m));
        s.says("unlock", pthread_mutex_unlock(&t.m));
        s.says("lock", pthread_mutex_lock(&t.m));
        s.says("unlock", pthread_mutex_unlock(&t.m));
    });
}

TEST(PthreadMutex, AnotherProcessHoldsIt) {
    void *page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    auto *t = new (page) typed_mutex(PTHREAD_MUTEX_NORMAL, PTHREAD_PROCESS_SHARED);
    pthread_mutex_lock(&t->m);
    pid_t child = fork();
    if (child == 0) { // a fork holds what its parent held, as far as this type knows
        usleep(20000);
        pthread_mutex_unlock(&t->m);
        _exit(0);
    }
    int ticks = 0;
    bool got = false;
    run_together({[&] {
                      pthread_mutex_lock(&t->m);
                      got = true;
                      pthread_mutex_unlock(&t->m);
                  },
                  [&] {
                      while (!got && ++ticks < 10000)
                          usleep(1000);
                  }});
    EXPECT_TRUE(got);
    EXPECT_GT(ticks, 3);
    waitpid(child, nullptr, 0);
    t->~typed_mutex();
    munmap(page, 4096);
}

TEST(StdMutex, EveryKindInCoroutines) {
    std::mutex plain;
    std::timed_mutex timed;
    std::recursive_mutex recursive;
    std::recursive_timed_mutex both;
    int total = 0;
    std::vector<std::function<void()>> bodies;
    int overlap[4] = {};
    auto use = [&](int which) {
        EXPECT_EQ(overlap[which]++, 0);
        pass();
        --overlap[which];
        ++total;
    };
    for (int i = 0; i < 4; ++i)
        bodies.push_back([&] {
            for (int k = 0; k < 25; ++k) {
                {
                    std::lock_guard g(plain);
                    use(0);
                }
                {
                    std::lock_guard g(timed);
                    use(1);
                }
                {
                    std::lock_guard g(recursive);
                    std::lock_guard h(recursive);
                    use(2);
                }
                {
                    std::lock_guard g(both);
                    std::lock_guard h(both);
                    use(3);
                }
            }
        });
    run_together(bodies);
    EXPECT_EQ(total, 4 * 25 * 4);
    run_together({[&] {
                      timed.lock();
                      usleep(20000);
                      timed.unlock();
                  },
                  [&] {
                      EXPECT_FALSE(timed.try_lock_for(std::chrono::milliseconds(2)));
                      EXPECT_FALSE(timed.try_lock_until(std::chrono::system_clock::now() +
                                                        std::chrono::milliseconds(2)));
                      EXPECT_TRUE(timed.try_lock_for(std::chrono::seconds(60)));
                      timed.unlock();
                  }});
}

// Two threads with loops, two plain ones.
void hammer(int type, int rounds) {
    typed_mutex t(type);
    long counter = 0;
    auto work = [&, rounds] {
        for (int i = 0; i < rounds; ++i) {
            pthread_mutex_lock(&t.m);
            if (type == PTHREAD_MUTEX_RECURSIVE && i % 3 == 0) {
                pthread_mutex_lock(&t.m);
                pthread_mutex_unlock(&t.m);
            }
            long was = counter;
            if (i % 64 == 0)
                sched_yield();
            if (i % 16 == 0)
                pass();
            counter = was + 1;
            pthread_mutex_unlock(&t.m);
        }
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.push_back(loop_thread({work, work, work}));
        threads.emplace_back(work);
    }
    for (std::thread &thread : threads)
        thread.join();
    EXPECT_EQ(counter, 8L * rounds);
}
TEST(PthreadMutex, HammeredByCoroutinesAndThreads) {
    for (int type : {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK,
                     PTHREAD_MUTEX_ADAPTIVE_NP})
        hammer(type, 3000);
}

} // namespace
