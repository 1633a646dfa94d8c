// SPDX-License-Identifier: Apache-2.0
// Looking again: for what neither epoll nor a helper can wait for, and what another process, or a
// thread inside libc, may change without our hearing of it. Pauses of 1 ms that grow to 20.
//
//     back_off pauses;
//     while ((r = ...the call, non-blocking...) == -EAGAIN)
//         if (int e = pauses.wait(kind, subject, deadline_ns)) return e;
//
//     wait_at(..., deadline.within(pauses.next_ns()));    // woken by some, looked for by others
#pragma once

#include "co_routine/loop/park.h"

#include <cerrno>

namespace corun::calls {

class back_off {
  public:
    explicit back_off(int64_t first_ns = ns_per_ms) : ns_(first_ns) {}

    // How long the next pause is; the one after it is twice as long.
    int64_t next_ns() {
        constexpr int64_t longest_ns = 20 * ns_per_ms;
        int64_t ns = ns_;
        ns_ = ns < longest_ns / 2 ? 2 * ns : longest_ns;
        return ns;
    }
    // 0: look again; -ETIMEDOUT: the deadline is over; -ECANCELED, -ENOMEM.
    int wait(const wait_kind &kind, wait_subject subject, int64_t deadline_ns) {
        coroutine *co = self_for_waiting();
        if (!co)
            return -ENOMEM;
        co->wait_slot = nullptr; // else the kind's abandon would find an earlier wait there
        int64_t until = deadline_in(next_ns());
        bool last = deadline_ns <= until;
        int r = park(kind, subject, last ? deadline_ns : until);
        return r == -ETIMEDOUT && !last ? 0 : r;
    }

  private:
    int64_t ns_;
};

} // namespace corun::calls
