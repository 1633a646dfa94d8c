// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/wait_deadline.h"

#include <cerrno>

namespace corun::calls {

int64_t wait_deadline::left_ns() const {
    if (ns == no_deadline)
        return no_deadline;
    timespec t;
    clock_gettime(clock, &t);
    int64_t now = static_cast<int64_t>(t.tv_sec) * ns_per_s + t.tv_nsec;
    return ns > now ? ns - now : 0;
}

int64_t wait_deadline::within(int64_t pause_ns) const {
    int64_t left = left_ns();
    return deadline_in(left < pause_ns ? left : pause_ns);
}

bool wait_deadline::goes_on(int waited) const {
    return waited == 0 || waited == -EAGAIN || (waited == -ETIMEDOUT && left_ns() > 0);
}

} // namespace corun::calls
