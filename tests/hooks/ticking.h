// SPDX-License-Identifier: Apache-2.0
// Contract 26: while one coroutine waits in a call, 100 others keep ticking.
#pragma once

#include "tests/hooks/both.h"

#include <chrono>
#include <unistd.h>

// One that is released while it waits is not unwound: f's argument is the caller's to keep.
inline stCoRoutine_t *go_plain(void (*f)(void *), void *argument) {
    struct plain_call {
        void (*f)(void *);
        void *argument;
    };
    static std::deque<plain_call> calls;
    calls.push_back({f, argument});
    stCoRoutine_t *co = nullptr;
    auto enter = [](void *c) -> void * {
        co_enable_hook_sys();
        auto *call = static_cast<plain_call *>(c);
        call->f(call->argument);
        return nullptr;
    };
    if (co_go(&co, nullptr, enter, &calls.back()) != 0)
        abort();
    return co;
}

// Runs wait in a coroutine beside 100 that tick each millisecond until it has ended. What is counted:
// each has ticked at least so often. In plain builds the largest gap between two ticks of anybody is
// looked at too, best of three.
inline void expect_others_tick(std::function<void()> wait, int at_least = 20) {
    using clock = std::chrono::steady_clock;
    double best = 1e9;
    for (int round = 0; round < 3 && best > 0.02; ++round) {
        bool ended = false;
        double gap = 0;
        std::vector<int> ticks(100);
        auto last = clock::now();
        for (int &mine : ticks)
            go([&] {
                while (!ended) {
                    usleep(1000);
                    ++mine;
                    auto now = clock::now();
                    gap = std::max(gap, std::chrono::duration<double>(now - last).count());
                    last = now;
                }
            });
        go([&] {
            wait();
            ended = true;
        });
        co_run();
        for (int n : ticks)
            EXPECT_GE(n, at_least);
        best = std::min(best, gap);
    }
#if !defined(CO_CHECK_LEVEL) || CO_CHECK_LEVEL < 2 // a plain build
    EXPECT_LE(best, 0.02);
#endif
}
