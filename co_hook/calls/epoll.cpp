// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/epoll.h"

#include "co_hook/calls/back_off.h"
#include "co_hook/calls/signal_mask.h"

#include "co_routine/loop/fd_events.h"

#include <cerrno>

namespace corun::calls {
namespace {

constexpr wait_kind epoll_kind{"epoll_wait", true, abandon_fd_wait};
constexpr wait_kind nested_kind{"epoll_wait", false, nullptr};

// The kernel delivers what the mask lets in when there are no events; with no time to wait it would
// not, so that is asked apart.
word look(int fd, epoll_event *events, int most, const void *mask) {
    word r = sys::call(SYS_epoll_pwait, fd, events, most, 0, nullptr, sys::sigset_bytes);
    if (r == 0 && mask)
        r = sys::ppoll(nullptr, 0, &sys::at_once, mask);
    return r;
}

} // namespace

word epoll_wait(int fd, epoll_event *events, int most, int64_t timeout_ns, const void *mask) {
    if (timeout_ns == 0)
        return sys::call(SYS_epoll_pwait, fd, events, most, 0, mask, sys::sigset_bytes);
    int64_t deadline_ns = timeout_ns < 0 ? no_deadline : deadline_in(timeout_ns);
    int64_t beat_ns = mask_lets_more_in(mask) ? mask_beat_ns : 0;
    back_off pauses;
    for (;;) {
        word r = look(fd, events, most, mask);
        if (r != 0) {
            if (r > 0)
                fd_done(fd, fd_read); // what is left may be for the next who waits
            return r;
        }
        fd_saw_eagain(fd, fd_read);
        int64_t now = now_ns(), until = deadline_ns;
        if (now >= deadline_ns)
            return 0;
        if (beat_ns != 0 && deadline_ns - beat_ns > now)
            until = now + beat_ns;
        int e = fd_wait(epoll_kind, fd, fd_read, until);
        if (e == -ELOOP || e == -EINVAL) // as deep as epolls may be nested: ours is one too many
            e = pauses.wait(nested_kind, {}, deadline_ns);
        if (e != 0 && e != -ETIMEDOUT)
            return e;
    }
}

} // namespace corun::calls
