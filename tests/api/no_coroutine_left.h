// SPDX-License-Identifier: Apache-2.0
// The fixture of this suite: a test that leaves a coroutine behind, in whatever state, has failed.
#pragma once

#include "co_routine/co_routine.h"

#include <gtest/gtest.h>

class NoCoroutineLeft : public testing::Test {
  protected:
    void TearDown() override {
        co_run(); // what was detached ends by itself
        co_stats s;
        ASSERT_EQ(0, co_get_stats(&s));
        EXPECT_EQ(0u, s.now_fresh + s.now_ready + s.now_yielded + s.now_parked + s.now_ended);
    }
};
