// SPDX-License-Identifier: Apache-2.0
// epoll_wait and its kin on the program's own epoll descriptors. Such a descriptor can be waited for
// like any other: each look is the kernel's own call with no time to wait, so what comes back, and
// what edge-triggered, one-shot and exclusive entries do, is the kernel's.
#pragma once

#include "co_hook/calls/calls.h"

namespace corun::calls {

// timeout_ns < 0: for ever. mask: the kernel's 8-byte signal set, or null; see signal_mask.h.
word epoll_wait(int fd, epoll_event *events, int most, int64_t timeout_ns, const void *mask);

} // namespace corun::calls
