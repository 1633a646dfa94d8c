// SPDX-License-Identifier: Apache-2.0
// When a wait is over, on a clock that somebody may set meanwhile.
#pragma once

#include "co_routine/base/clock.h"

namespace corun::calls {

// An absolute time on a clock. On CLOCK_REALTIME it moves with the clock when somebody sets it, which
// is noticed within a second; the waiter keeps its place meanwhile.
struct wait_deadline {
    int64_t ns;
    int clock;
    constexpr wait_deadline(int64_t at_ns, int of_clock = CLOCK_MONOTONIC)
        : ns(at_ns), clock(of_clock) {}
    int64_t left_ns() const; // 0: it is over; no_deadline
    // When it is to be looked at again: after a pause, or at the end if that comes sooner. On the
    // monotonic clock.
    int64_t within(int64_t pause_ns) const;
    // After a wait for a part of it: is there something new to see, or time left?
    bool goes_on(int waited) const;
};

} // namespace corun::calls
