// SPDX-License-Identifier: Apache-2.0
// Signal masks of ppoll and pselect. A thread has one mask and many coroutines, so the mask of a
// parked one cannot be in force. What holds:
//  - Each look (a call with no time to wait) is made under the given mask: a signal that the mask
//    lets in is delivered there, and the call ends with EINTR, as in the kernel.
//  - If the mask lets in what the thread blocks, the wait looks again every 10 ms.
//  - A handler that runs while the coroutine is parked does not end its wait.
#pragma once

#include "co_routine/base/clock.h"
#include "co_routine/base/user_memory.h"

#include <csignal>

namespace corun::calls {

inline bool mask_lets_more_in(const void *mask) {
    if (!mask)
        return false;
    uint64_t blocked = 0, given;
    if (!user_read(mask, &given))
        return false;
    sys::call(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &blocked, sys::sigset_bytes);
    return (blocked & ~given) != 0;
}

inline constexpr int64_t mask_beat_ns = 10 * ns_per_ms;

} // namespace corun::calls
