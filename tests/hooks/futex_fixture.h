// SPDX-License-Identifier: Apache-2.0
// futex(2) by syscall(), for its tests.
#pragma once

#include "both.h"

#include <atomic>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

using word = std::atomic<int>;

inline long futex(void *at, int operation, long value, const void *timeout = nullptr,
                  void *second = nullptr, unsigned third = 0) {
    return syscall(SYS_futex, at, operation, value, timeout, second, third);
}
inline long wait_private(word *w, int value) { return futex(w, FUTEX_WAIT_PRIVATE, value); }
inline long wake_private(word *w, int n) { return futex(w, FUTEX_WAKE_PRIVATE, n); }

// For as long as it takes until so many are asleep and have been woken.
inline long wake_until(word *w, long wanted, int operation = FUTEX_WAKE_PRIVATE,
                       unsigned bits = ~0U) {
    long woken = 0;
    while (woken < wanted) {
        woken += futex(w, operation, wanted - woken, nullptr, nullptr, bits);
        sched_yield();
    }
    return woken;
}

inline timespec in_ms(int clock, long ms) {
    timespec t{};
    if (clock >= 0)
        clock_gettime(clock, &t);
    int64_t ns = t.tv_nsec + int64_t{ms} * 1000000; // a long is too short for it on i386
    t.tv_sec += static_cast<time_t>(ns / 1000000000);
    t.tv_nsec = static_cast<long>(ns % 1000000000);
    return t;
}

// One that is released while it waits runs no destructor: its body is the caller's.
inline stCoRoutine_t *go_kept(std::function<void()> &body) {
    stCoRoutine_t *co = nullptr;
    auto run = [](void *f) -> void * {
        co_enable_hook_sys();
        (*static_cast<std::function<void()> *>(f))();
        return nullptr;
    };
    EXPECT_EQ(co_go(&co, nullptr, run, &body), 0);
    return co;
}
