// SPDX-License-Identifier: Apache-2.0
// Coroutines from lambdas, and a loop that is run until something has happened: for tests that look
// at what stands between park and unpark.
#pragma once

#include "co_routine/loop/loop.h"

#include <deque>
#include <functional>
#include <gtest/gtest.h>

// A coroutine that runs f in the loop; detached, or kept in *out. f lives as long as the thread, so
// that nothing leaks where a coroutine is dropped before its end.
inline void go(std::function<void()> f, stCoRoutine_t **out = nullptr,
               stShareStack_t *shared = nullptr) {
    static thread_local std::deque<std::function<void()>> functions;
    functions.push_back(std::move(f));
    stCoRoutineAttr_t attr;
    attr.share_stack = shared;
    auto run = [](void *p) -> void * {
        (*static_cast<std::function<void()> *>(p))();
        return nullptr;
    };
    ASSERT_EQ(co_go(out, &attr, run, &functions.back()), 0);
}

// Runs the loop until condition() holds; false when it did not within 10 s.
template <class F> bool run_until(F condition) {
    int64_t until = corun::now_ns() + 10 * corun::ns_per_s;
    corun::co_env *env = corun::current_env();
    corun::loop_of(env);
    while (!condition()) {
        if (corun::now_ns() > until)
            return false;
        corun::loop_turn(env, corun::now_ns() + corun::ns_per_ms);
    }
    return true;
}
