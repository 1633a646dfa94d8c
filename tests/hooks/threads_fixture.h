// SPDX-License-Identifier: Apache-2.0
// For the tests of locks: times, and coroutines that are ended together.
#pragma once

#include "co_hook/co_hook.h"
#include "tests/hooks/both.h"

#include <ctime>
#include <pthread.h>

inline timespec after_ms(clockid_t clock, long ms) {
    timespec t;
    clock_gettime(clock, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        ++t.tv_sec;
    }
    return t;
}

// Runs them all on this thread's loop.
inline void run_together(std::vector<std::function<void()>> bodies) {
    std::vector<stCoRoutine_t *> all;
    for (auto &f : bodies)
        all.push_back(go(std::move(f)));
    co_run();
    for (stCoRoutine_t *co : all)
        co_release(co);
}

// A thread with a loop of its own.
inline std::thread loop_thread(std::vector<std::function<void()>> bodies) {
    return std::thread([bodies] { run_together(bodies); });
}

// Lets everybody else of this thread's loop run once.
inline void pass() { co_yield_now(); }

inline uint64_t switches() {
    co_stats s{};
    co_get_stats(&s);
    return s.switches;
}

struct typed_mutex {
    pthread_mutex_t m;
    explicit typed_mutex(int type, int shared = PTHREAD_PROCESS_PRIVATE,
                         int robust = PTHREAD_MUTEX_STALLED, int protocol = PTHREAD_PRIO_NONE) {
        pthread_mutexattr_t a;
        pthread_mutexattr_init(&a);
        pthread_mutexattr_settype(&a, type);
        pthread_mutexattr_setpshared(&a, shared);
        pthread_mutexattr_setrobust(&a, robust);
        pthread_mutexattr_setprotocol(&a, protocol);
        EXPECT_EQ(pthread_mutex_init(&m, &a), 0);
    }
    ~typed_mutex() { EXPECT_EQ(pthread_mutex_destroy(&m), 0); }
};
