// SPDX-License-Identifier: Apache-2.0
// How much of its stack a coroutine has used. Nothing is recorded while it runs: a private stack
// starts as zero pages, so its lowest byte that is not zero tells. Two cases make the answer too
// small: the deepest frames held nothing but zeros, or their pages were swapped out to disk.
//
// Allocates nothing and makes only raw system calls: usable in a fault handler.
#pragma once

#include "co_routine/core/env.h"

namespace corun {

// Bytes from the lowest one that is not zero to high; 0 when all are zero. [low, high) is mapped and
// readable, low is the start of a page.
size_t bytes_ever_used(const char *low, const char *high);

// Bytes between the stack pointer and the top, now. 0: nothing on it.
size_t bytes_live(const coroutine *co);

// The range of its own that co has with CO_DEBUG_STACKS, readable and writable while this lives.
class open_range {
  public:
    explicit open_range(const coroutine *co);
    ~open_range();
    open_range(const open_range &) = delete;
    open_range &operator=(const open_range &) = delete;

  private:
    const coroutine *co_;
    bool shut_;
};

// What co_stack_high_water returns.
size_t high_water_of(const coroutine *co);

} // namespace corun
