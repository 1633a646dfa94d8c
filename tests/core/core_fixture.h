// SPDX-License-Identifier: Apache-2.0
// What the tests of core/ share: coroutines from lambdas on a private or on one shared stack.
//
//     TEST_F(CoreTest, ...) {
//         stCoRoutine_t *co = make([&] { ... });        // as co_create: resume it by hand
//         stCoRoutine_t *go = start([&] { ... });       // as co_go, kept: co_run() runs it
//         release(co);                                  // or let TearDown do it
//     }
//     TEST_P(EachStack, ...)                            // the same on both kinds of stack
//
// TearDown proves that nothing leaked: no coroutine, no stack, no saved byte, no slab block.
#pragma once

#include "co_routine/base/sanitizer.h"
#include "co_routine/co_routine.h"
#include "co_routine/core/env.h"
#include "tests/support/rounds.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <deque>
#include <functional>
#include <string>
#include <vector>

enum class Stack { private_one, shared_one };

inline co_stats stats() {
    co_stats s;
    EXPECT_EQ(co_get_stats(&s), 0);
    return s;
}

inline uint64_t coroutines_now(const co_stats &s) {
    return s.now_fresh + s.now_ready + s.now_running + s.now_yielded + s.now_parked + s.now_ended;
}

// Slab bytes in use, but for the stack pools that the thread keeps.
inline size_t slab_bytes_in_use() {
    const corun::co_env *env = corun::env_or_null();
    size_t pools = env->pools.size() * corun::slab_pool::rounded(sizeof(corun::stack_pool));
    return env->slab.held_bytes() - pools;
}

// Counts its destruction: proof that frames were unwound.
struct Unwound {
    int *count;
    ~Unwound() { ++*count; }
};

class CoreTest : public testing::Test {
  protected:
    void SetUp() override {
        corun::current_env();
        slab_bytes_before_ = slab_bytes_in_use();
    }

    void TearDown() override {
        for (stCoRoutine_t *co : kept_)
            co_release(co);
        co_sleep_ms(0); // what was released in the ready queue or the inbox leaves it
        if (stacks_) {
            EXPECT_EQ(co_release_sharestack(stacks_), 0);
        }
        co_stats s = stats();
        EXPECT_EQ(coroutines_now(s), 0U);
        EXPECT_EQ(s.stacks_in_use, 0U);
        EXPECT_EQ(s.bytes_saved, 0U);
        EXPECT_EQ(s.save_buffer_bytes, 0U);
        EXPECT_EQ(corun::env_or_null()->all.size(), 0U);
        EXPECT_EQ(corun::env_or_null()->live, 0U);
        EXPECT_EQ(slab_bytes_in_use(), slab_bytes_before_);
    }

    stCoRoutine_t *make(std::function<void()> body, Stack kind = Stack::private_one) {
        stCoRoutineAttr_t attr = attr_for(kind);
        return make_with(attr, std::move(body));
    }
    stCoRoutine_t *make_with(const stCoRoutineAttr_t &attr, std::function<void()> body) {
        stCoRoutine_t *co = nullptr;
        EXPECT_EQ(co_create(&co, &attr, run, keep_body(std::move(body))), 0);
        kept_.push_back(co);
        return co;
    }
    stCoRoutine_t *start(std::function<void()> body, Stack kind = Stack::private_one) {
        stCoRoutineAttr_t attr = attr_for(kind);
        stCoRoutine_t *co = nullptr;
        EXPECT_EQ(co_go(&co, &attr, run, keep_body(std::move(body))), 0);
        kept_.push_back(co);
        return co;
    }
    // Freed when it ends: nobody holds it.
    void start_detached(std::function<void()> body, Stack kind = Stack::private_one) {
        stCoRoutineAttr_t attr = attr_for(kind);
        EXPECT_EQ(co_go(nullptr, &attr, run, keep_body(std::move(body))), 0);
    }
    void release(stCoRoutine_t *co) {
        std::erase(kept_, co);
        co_release(co);
    }
    stShareStack_t *stacks() {
        if (!stacks_)
            stacks_ = co_alloc_sharestack(1, 128 * 1024);
        return stacks_;
    }
    stCoRoutineAttr_t attr_for(Stack kind) {
        stCoRoutineAttr_t attr;
        attr.share_stack = kind == Stack::shared_one ? stacks() : nullptr;
        return attr;
    }

  private:
    // Bodies live here and not on the coroutines' stacks: one that is released runs no destructor.
    void *keep_body(std::function<void()> body) {
        bodies_.push_back(std::move(body));
        return &bodies_.back();
    }
    static void *run(void *body) {
        (*static_cast<std::function<void()> *>(body))();
        return body; // what co_join gives for one that was not cancelled
    }

    std::deque<std::function<void()>> bodies_;
    std::vector<stCoRoutine_t *> kept_;
    stShareStack_t *stacks_ = nullptr;
    size_t slab_bytes_before_ = 0;
};

// The same on a private stack and on a shared one.
class EachStack : public CoreTest, public testing::WithParamInterface<Stack> {
  protected:
    stCoRoutine_t *make(std::function<void()> body) {
        return CoreTest::make(std::move(body), GetParam());
    }
    stCoRoutine_t *start(std::function<void()> body) {
        return CoreTest::start(std::move(body), GetParam());
    }
    void start_detached(std::function<void()> body) {
        CoreTest::start_detached(std::move(body), GetParam());
    }
};

inline std::string stack_name(const testing::TestParamInfo<Stack> &info) {
    return info.param == Stack::private_one ? "Private" : "Shared";
}

#define ON_EACH_STACK(suite)                                                                       \
    INSTANTIATE_TEST_SUITE_P(Stack, suite, testing::Values(Stack::private_one, Stack::shared_one), \
                             stack_name)
