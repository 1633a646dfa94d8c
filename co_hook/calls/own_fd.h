// SPDX-License-Identifier: Apache-2.0
// Waiting for what is no descriptor of the program's by one of the runtime's own that becomes readable
// (signalfd, pidfd). Where the kernel has none: back_off.h.
//
//     int fd = pidfd_open(pid);
//     int r = wait_for_own_fd(kind, fd, deadline_ns);   // it is closed when this returns
//
// Rules
//  - The kind's abandon is abandon_own_fd, or calls it.
//  - It may return for nothing: look at the condition again.
#pragma once

#include "co_hook/calls/calls.h"

#include "co_routine/loop/park.h"

namespace corun::calls {

// 0, -ETIMEDOUT, -ECANCELED, -ENOMEM. fd is out of the way of the program's numbers meanwhile.
int wait_for_own_fd(const wait_kind &kind, int fd, int64_t deadline_ns);
void abandon_own_fd(coroutine *co);

} // namespace corun::calls
