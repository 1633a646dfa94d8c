// SPDX-License-Identifier: Apache-2.0
// What the tests of sync/ share: coroutines from lambdas, and threads that run a loop each.
//
//     TEST_F(Mutex, ...) {               // using Mutex = SyncTest;
//         go([&] { ... });               // ready; runs in the order of the go calls
//         stCoRoutine_t *co = keep([&] { ... });   // the same, to be cancelled or released
//         co_run();
//     }
//
// TearDown proves that every coroutine has ended and that no slab block of this thread was leaked.
#pragma once

#include "co_routine/base/clock.h"
#include "co_routine/co_routine.h"
#include "co_routine/core/env.h"
#include "tests/support/bodies.h"
#include "tests/support/rounds.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

class SyncTest : public ::testing::Test {
  protected:
    void SetUp() override {
        warm_up();
        held_bytes_ = corun::env_or_null()->slab.held_bytes();
    }

    void TearDown() override {
        for (stCoRoutine_t *co : kept_)
            co_release(co);
        if (stacks_) {
            EXPECT_EQ(co_release_sharestack(stacks_), 0);
        }
        settle();
        EXPECT_EQ(corun::env_or_null()->live, 0U);
        EXPECT_EQ(corun::env_or_null()->slab.held_bytes(), held_bytes_);
    }

    void go(std::function<void()> body) { bodies_.go(std::move(body), nullptr, false); }

    stCoRoutine_t *keep(std::function<void()> body, stShareStack_t *stacks = nullptr) {
        stCoRoutine_t *co = bodies_.go(std::move(body), stacks, true);
        kept_.push_back(co);
        return co;
    }

    // Releases a kept coroutine before the test's end.
    void release(stCoRoutine_t *co) {
        std::erase(kept_, co);
        co_release(co);
    }

    // On the one shared stack of this test, together with every other one made by this.
    stCoRoutine_t *keep_shared(std::function<void()> body) {
        if (!stacks_)
            stacks_ = co_alloc_sharestack(1, 64 * 1024);
        return keep(std::move(body), stacks_);
    }

    // Everyone who is ready, and those they make ready, have had their turn.
    static void settle() {
        for (int i = 0; i < 20; ++i)
            co_yield_now();
    }

  private:
    // The loop and the pools of both kinds of stack are made once and kept: before we count.
    void warm_up() {
        keep([] {});
        keep_shared([] {});
        co_run();
        for (stCoRoutine_t *co : kept_)
            co_release(co);
        kept_.clear();
        EXPECT_EQ(co_release_sharestack(stacks_), 0);
        stacks_ = nullptr;
    }

    coroutine_bodies bodies_;
    std::vector<stCoRoutine_t *> kept_;
    stShareStack_t *stacks_ = nullptr;
    size_t held_bytes_ = 0;
};

// Runs per_thread coroutines with this body on each of so many threads, and joins the threads.
inline void run_threads(int threads, int per_thread,
                        const std::function<void(int thread, int index)> &body) {
    std::vector<std::thread> all;
    for (int t = 0; t < threads; ++t)
        all.emplace_back([&body, t, per_thread] {
            coroutine_bodies bodies;
            for (int i = 0; i < per_thread; ++i)
                bodies.go([&body, t, i] { body(t, i); }, nullptr, false);
            co_run();
        });
    for (std::thread &t : all)
        t.join();
}

// Counts its destruction: proof that a cancelled coroutine was unwound.
struct Unwound {
    int *count;
    ~Unwound() { ++*count; }
};
