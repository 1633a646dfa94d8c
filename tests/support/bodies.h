// SPDX-License-Identifier: Apache-2.0
// Coroutines from lambdas, for fixtures.
#pragma once

#include "co_routine/co_routine.h"

#include <functional>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

// Bodies live here and not on the coroutines' stacks, for one that is dropped runs no destructor.
class coroutine_bodies {
  public:
    stCoRoutine_t *go(std::function<void()> body, stShareStack_t *stacks, bool keep) {
        bodies_.push_back(std::make_unique<std::function<void()>>(std::move(body)));
        stCoRoutineAttr_t attr;
        attr.share_stack = stacks;
        stCoRoutine_t *co = nullptr;
        EXPECT_EQ(co_go(keep ? &co : nullptr, &attr, run, bodies_.back().get()), 0);
        return co;
    }

  private:
    static void *run(void *body) {
        (*static_cast<std::function<void()> *>(body))();
        return nullptr;
    }
    std::vector<std::unique_ptr<std::function<void()>>> bodies_;
};
