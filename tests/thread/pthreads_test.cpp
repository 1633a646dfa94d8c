// SPDX-License-Identifier: Apache-2.0
// Pthread's locks between coroutines of several threads and plain threads: by counts, also under
// ThreadSanitizer, which must see one lock on both sides.
#include "co_routine.h"

#include <functional>
#include <memory>
#include <pthread.h>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace {

using body = std::function<void()>;

void *call(void *f) {
    std::unique_ptr<body> owned(static_cast<body *>(f));
    co_enable_hook_sys();
    (*owned)();
    return nullptr;
}

void run_loop(const std::vector<body> &bodies) {
    for (const body &f : bodies) // nobody joins them: they are freed when they end
        if (co_go(nullptr, nullptr, call, new body(f)) != 0)
            abort();
    co_run();
}

// Two threads with loops of three coroutines each, and two plain ones, all doing the same.
void eight_ways(const body &f) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&f] { run_loop({f, f, f}); });
        threads.emplace_back(f);
    }
    for (std::thread &t : threads)
        t.join();
}

TEST(PthreadsAcrossThreads, AMutexGuardsACounter) {
    for (int type : {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE}) {
        pthread_mutexattr_t a;
        pthread_mutexattr_init(&a);
        pthread_mutexattr_settype(&a, type);
        pthread_mutex_t m;
        pthread_mutex_init(&m, &a);
        long counter = 0;
        constexpr int rounds = 1000;
        eight_ways([&] {
            for (int i = 0; i < rounds; ++i) {
                pthread_mutex_lock(&m);
                ++counter;
                if (i % 16 == 0)
                    co_yield_now();
                pthread_mutex_unlock(&m);
            }
        });
        EXPECT_EQ(counter, 8L * rounds);
        EXPECT_EQ(pthread_mutex_destroy(&m), 0);
    }
}

TEST(PthreadsAcrossThreads, ACountGoesRoundByAConditionAndNoneIsLost) {
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
    int next = 0, tickets = 0;
    constexpr int rounds = 300;
    eight_ways([&] { // each waits for its turn: one lost wake-up, and all stand still
        pthread_mutex_lock(&m);
        int mine = tickets++;
        for (int i = 0; i < rounds; ++i) {
            while (next % 8 != mine)
                pthread_cond_wait(&moved, &m);
            ++next;
            pthread_cond_broadcast(&moved);
        }
        pthread_mutex_unlock(&m);
    });
    EXPECT_EQ(next, 8 * rounds);
}

TEST(PthreadsAcrossThreads, ASignalForEachItemIsEnough) {
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t filled = PTHREAD_COND_INITIALIZER, emptied = PTHREAD_COND_INITIALIZER;
    int held = 0, starters = 0;
    long taken = 0;
    constexpr int each = 1000;
    eight_ways([&] { // the first four to come produce, the others consume
        pthread_mutex_lock(&m);
        bool produces = starters++ % 2 == 0;
        for (int i = 0; i < each; ++i) {
            if (produces) {
                while (held == 3)
                    pthread_cond_wait(&emptied, &m);
                ++held;
                pthread_cond_signal(&filled);
            } else {
                while (held == 0)
                    pthread_cond_wait(&filled, &m);
                --held;
                ++taken;
                pthread_cond_signal(&emptied);
            }
        }
        pthread_mutex_unlock(&m);
    });
    EXPECT_EQ(held, 0);
    EXPECT_EQ(taken, 4L * each);
}

TEST(PthreadsAcrossThreads, AReadWriteLockGuardsTwoCounters) {
    pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
    long first = 0, second = 0;
    constexpr int rounds = 600;
    eight_ways([&] {
        for (int i = 0; i < rounds; ++i) {
            if (i % 3 == 0) {
                pthread_rwlock_wrlock(&rw);
                ++first;
                if (i % 12 == 0)
                    co_yield_now();
                ++second;
            } else {
                pthread_rwlock_rdlock(&rw);
                EXPECT_EQ(first, second);
            }
            pthread_rwlock_unlock(&rw);
        }
    });
    EXPECT_EQ(first, 8L * rounds / 3);
}

} // namespace
