// SPDX-License-Identifier: Apache-2.0
// Letting others go first, where nothing says when to go on.
#pragma once

#include "co_hook/calls/calls.h"

namespace corun::calls {

// sched_yield: the thread's other coroutines and its loop have a turn; if none was ready, the other
// threads too. No cancellation point: sched_yield and std::this_thread::yield are noexcept.
void yield_turn();

// What a coroutine that spins does instead, again and again: turns first, then pauses that grow to
// 1 ms, because the holder may wait for a timer or run on another thread. No cancellation point.
class spin_pauses {
  public:
    void next();

  private:
    unsigned tries_ = 0;
};

} // namespace corun::calls
