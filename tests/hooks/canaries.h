// SPDX-License-Identifier: Apache-2.0
// Contract 37: two coroutines on one shared stack. While one is parked, the other's bytes stand where
// its buffers were; a write there on its behalf spoils a canary.
#pragma once

#include "tests/hooks/both.h"

// A frame full of a pattern, above the buffers that the body uses. The other coroutine's canaries lie
// at the same addresses.
template <class Body> __attribute__((noinline)) bool with_canaries(unsigned seed, Body body) {
    volatile unsigned canary[2048];
    for (unsigned i = 0; i < 2048; ++i)
        canary[i] = seed * 2654435761U + i;
    body();
    for (unsigned i = 0; i < 2048; ++i)
        if (canary[i] != seed * 2654435761U + i)
            return false;
    return true;
}

// body(k) runs in two coroutines on one stack, a few times over, while a third stirs.
inline void on_one_stack(const std::function<void(int)> &body) {
    stShareStack_t *stack = co_alloc_sharestack(1, 512 * 1024);
    ASSERT_NE(nullptr, stack);
    int intact = 0;
    stCoRoutine_t *two[2];
    for (int k = 0; k < 2; ++k)
        two[k] = go(
            [&, k] {
                for (unsigned i = 0; i < 5; ++i)
                    intact += with_canaries(i * 2 + k, [&] {
                        // different depths, so that buffers of one meet canaries of the other
                        if (k == 0)
                            body(k);
                        else
                            with_canaries(77 + i, [&] { body(k); });
                    });
            },
            stack);
    co_run();
    EXPECT_EQ(10, intact);
    for (stCoRoutine_t *co : two)
        co_release(co);
    EXPECT_EQ(0, co_release_sharestack(stack));
}
