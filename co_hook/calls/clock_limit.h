// SPDX-License-Identifier: Apache-2.0
// The absolute time limits of pthread functions: a time on CLOCK_REALTIME or CLOCK_MONOTONIC, which
// need only be a valid one where the call has to wait.
//
//     clock_limit limit = limit_of(CLOCK_REALTIME, abstime);
//     if (...it is free...) return 0;
//     if (!limit.valid) return EINVAL;
//     while (!limit.is_over())
//         ...wait_at(..., limit.at), or limit.at.within(pause) where it is to look again sooner...
//     return ETIMEDOUT;
#pragma once

#include "co_hook/calls/address_wait.h"

namespace corun::calls {

struct clock_limit {
    wait_deadline at = no_deadline;
    bool valid = true; // false: EINVAL

    bool is_over() const { return at.left_ns() == 0; }
};

// As libc reads it: nanoseconds out of range are EINVAL, a time before 1970 is over, and clocks other
// than the two are EINVAL.
template <class T> inline clock_limit limit_of(int clock, const T *at) {
    bool known = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
    if (!known || at->tv_nsec < 0 || at->tv_nsec >= ns_per_s)
        return {wait_deadline(0), false};
    int64_t ns = at->tv_sec < 0 ? 0 : saturated_ns(at->tv_sec, at->tv_nsec);
    return {wait_deadline(ns, clock), true};
}

} // namespace corun::calls
