// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/calls.h"
#include "co_hook/calls/signal_mask.h"

#include "co_routine/loop/fd_events.h"

#include <cerrno>
#include <poll.h>

namespace corun::calls {
namespace {

constexpr wait_kind poll_kind{"poll", false, abandon_poll_wait};

word poll_under_mask(pollfd *fds, unsigned long count, int64_t deadline_ns, const void *mask) {
    int64_t beat_ns = mask_lets_more_in(mask) ? mask_beat_ns : 0;
    for (;;) {
        word r = sys::ppoll(fds, count, &sys::at_once, mask);
        if (r != 0)
            return r;
        int64_t now = now_ns(), until = deadline_ns;
        if (now >= deadline_ns)
            return 0;
        if (beat_ns != 0 && now + beat_ns < deadline_ns)
            until = now + beat_ns;
        r = wait_for_poll(poll_kind, fds, count, until);
        if (r < 0)
            return r;
    }
}

} // namespace

word poll(pollfd *fds, unsigned long count, int64_t timeout_ns, const void *mask) {
    if (timeout_ns == 0)
        return sys::ppoll(fds, count, &sys::at_once, mask);
    int64_t deadline_ns = timeout_ns < 0 ? no_deadline : deadline_in(timeout_ns);
    if (mask)
        return poll_under_mask(fds, count, deadline_ns, mask);
    return wait_for_poll(poll_kind, fds, count, deadline_ns);
}

} // namespace corun::calls
