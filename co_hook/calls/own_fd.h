// SPDX-License-Identifier: Apache-2.0
// Waiting for what is no descriptor of the program's: by a descriptor of the runtime's own that
// becomes readable (signalfd, pidfd), or, where the kernel has none, by looking again.
//
//     int fd = pidfd_open(pid);
//     int r = wait_for_own_fd(kind, fd, deadline_ns);   // it is closed when this returns
//
//     back_off pause;
//     while ((r = ...the call, non-blocking...) == -EAGAIN)
//         if (int e = pause.wait(kind, deadline_ns)) return e;
//
// Rules
//  - The kind's abandon is abandon_own_fd, or calls it. back_off needs none.
//  - Both may return for nothing: look at the condition again.
#pragma once

#include "co_hook/calls/calls.h"

#include "co_routine/loop/park.h"

namespace corun::calls {

// 0, -ETIMEDOUT, -ECANCELED, -ENOMEM. fd is out of the way of the program's numbers meanwhile.
int wait_for_own_fd(const wait_kind &kind, int fd, int64_t deadline_ns);
void abandon_own_fd(coroutine *co);

// 1 ms, growing to 20: for what neither epoll nor a helper can wait for.
class back_off {
  public:
    int wait(const wait_kind &kind, int64_t deadline_ns);

  private:
    int64_t ns_ = ns_per_ms / 2;
};

} // namespace corun::calls
