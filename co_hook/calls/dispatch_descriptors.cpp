// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/dispatch_parts.h"

#include "co_hook/calls/fd_state.h"

#include <cerrno>
#include <fcntl.h>
#include <linux/close_range.h>

namespace corun::calls {
namespace {

word close_outside(int fd) {
    if (int e = before_close(fd))
        return e;
    word r = sys::close(fd);
    after_close(fd);
    return r;
}

word dup_onto(long nr, const word (&a)[6], bool in_coroutine) {
    int from = as<int>(a[0]), to = as<int>(a[1]);
    bool moves = from != to && !(nr == SYS_dup3 && (a[2] & ~word{O_CLOEXEC}));
    if (moves && in_coroutine)
        if (int e = outwait_turns(to))
            return e;
    if (moves)
        if (int e = before_dup_onto(from, to))
            return e;
    word r = sys::call(nr, from, to, a[2]);
    if (moves && !sys::failed(r))
        note_duplicate(from, to, true);
    return r;
}

word close_part(unsigned first, unsigned last) {
    return sys::call(SYS_close_range, first, last, 0);
}

// What makes descriptors, and what a socket's time limits are changed by: noted, as the hooked
// functions do, so that nothing needs to be asked before a wait.
bool creation(long nr, const word (&a)[6], word *result) {
    switch (nr) {
    case SYS_socket:
    case SYS_socketpair:
    case SYS_setsockopt:
    case SYS_pipe:
    case SYS_pipe2:
    case SYS_eventfd2:
    case SYS_timerfd_create:
        break;
    default:
        return false;
    }
    word r = *result = sys::call(nr, a[0], a[1], a[2], a[3], a[4]);
    if (sys::failed(r))
        return true;
    int first = as<int>(a[0]), second = as<int>(a[1]), third = as<int>(a[2]);
    switch (nr) {
    case SYS_socket:
        note_socket(as<int>(r), first, second, third);
        break;
    case SYS_socketpair:
        for (int i = 0; i < 2; ++i)
            note_socket(as<const int *>(a[3])[i], first, second, third);
        break;
    case SYS_setsockopt:
        note_socket_option(first, second, third);
        break;
    case SYS_pipe:
    case SYS_pipe2:
        note_pipe(as<const int *>(a[0]), nr == SYS_pipe2 ? second : 0);
        break;
    default: // eventfd2, timerfd_create: O_NONBLOCK by whatever name
        note_anonymous(as<int>(r), second & O_NONBLOCK);
    }
    return true;
}

} // namespace

// What changes the numbers, in coroutines and outside.
bool dispatch_descriptor_call(long nr, const word (&a)[6], bool in_coroutine, word *result) {
    int fd = as<int>(a[0]);
    if (creation(nr, a, result))
        return true;
    switch (nr) {
    case SYS_close:
        return *result = in_coroutine ? calls::close(fd) : close_outside(fd), true;
    case SYS_dup:
        *result = sys::call(SYS_dup, fd);
        if (!sys::failed(*result))
            note_duplicate(fd, as<int>(*result), false);
        return true;
    case SYS_dup2:
    case SYS_dup3:
        return *result = dup_onto(nr, a, in_coroutine), true;
    case SYS_close_range:
        if (a[2] == CLOSE_RANGE_UNSHARE && as<unsigned>(a[0]) <= as<unsigned>(a[1])) {
            if (word e = unshare_descriptors())
                return *result = e, true;
        } else if (a[2] != 0) {
            return false;
        }
        before_close_range(as<unsigned>(a[0]), as<unsigned>(a[1]));
        *result = close_around_reserved(as<unsigned>(a[0]), as<unsigned>(a[1]), close_part);
        after_close_range(as<unsigned>(a[0]), as<unsigned>(a[1]));
        return true;
    case SYS_fcntl:
#if defined(__i386__)
    case SYS_fcntl64:
#endif
        *result = sys::call(nr, fd, a[1], a[2]);
        after_fcntl(fd, as<int>(a[1]), a[2], *result);
        return true;
    case SYS_ioctl:
        *result = sys::call(SYS_ioctl, fd, a[1], a[2]);
        after_ioctl(fd, as<unsigned long>(a[1]), a[2], *result);
        return true;
    default:
        return false;
    }
}

} // namespace corun::calls
