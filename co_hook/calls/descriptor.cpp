// SPDX-License-Identifier: Apache-2.0
// Making, copying and closing descriptors: the call, and what is to be remembered or forgotten.
#include "co_hook/calls/transfer.h"

#include <cerrno>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

namespace corun::calls {

int before_close(int fd) {
    if (fd < 0)
        return -EBADF;
    if (fd_is_reserved(fd))
        return -EBADF; // the program never opened it
    fd_forget(fd);
    note_closing(fd);
    return 0;
}

int before_dup_onto(int from, int to) {
    sys::word r = sys::fcntl(from, F_GETFD, 0);
    if (sys::failed(r))
        return static_cast<int>(r); // nothing will be closed
    if (to < 0)
        return -EBADF;
    if (!fd_vacate(to))
        return -EBUSY;
    fd_forget(to);
    return 0;
}

namespace {
unsigned last_descriptor() {
    uint64_t limits[2] = {};
    sys::call(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, limits);
    constexpr uint64_t most = 1 << 20;
    return static_cast<unsigned>(limits[0] < most ? limits[0] : most);
}
} // namespace

void before_close_range(unsigned first, unsigned last) {
    unsigned end = last_descriptor();
    for (unsigned fd = first; fd <= last && fd < end; ++fd)
        before_close(static_cast<int>(fd));
}

word close_around_reserved(unsigned first, unsigned last, word (*close_part)(unsigned, unsigned)) {
    unsigned end = last_descriptor(), start = first;
    if (first > last)
        return -EINVAL;
    for (unsigned fd = first; fd <= last && fd < end; ++fd) {
        if (!fd_is_reserved(static_cast<int>(fd)))
            continue;
        if (start < fd)
            if (word r = close_part(start, fd - 1))
                return r;
        start = fd + 1;
    }
    return start <= last && start >= first ? close_part(start, last) : 0;
}

word close(int fd) {
    if (turn_is_taken(fd)) { // a helper reads from it by this number
        if (int e = take_turn(fd))
            return e;
        end_turn(fd);
    }
    int refused = before_close(fd);
    return refused ? refused : sys::close(fd);
}

word close_range(unsigned first, unsigned last, unsigned flags) {
    if (flags != 0)
        return sys::call(SYS_close_range, first, last, flags);
    before_close_range(first, last);
    return close_around_reserved(
        first, last, [](unsigned a, unsigned b) { return sys::call(SYS_close_range, a, b, 0); });
}

word dup(int fd) {
    word r = sys::call(SYS_dup, fd);
    if (!sys::failed(r))
        note_duplicate(fd, static_cast<int>(r));
    return r;
}

word dup2(int from, int to) {
    if (from == to)
        return sys::call(SYS_dup2, from, to);
    if (int e = before_dup_onto(from, to))
        return e;
    word r = sys::call(SYS_dup2, from, to);
    if (!sys::failed(r))
        note_duplicate(from, to);
    return r;
}

word dup3(int from, int to, int flags) {
    if (from == to || (flags & ~O_CLOEXEC))
        return sys::call(SYS_dup3, from, to, flags); // EINVAL
    if (int e = before_dup_onto(from, to))
        return e;
    word r = sys::call(SYS_dup3, from, to, flags);
    if (!sys::failed(r))
        note_duplicate(from, to);
    return r;
}

void after_fcntl(int fd, int command, word argument, word result) {
    if (sys::failed(result))
        return;
    if (command == F_SETFL)
        note_status_flags(fd, argument & O_NONBLOCK);
    else if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
        note_duplicate(fd, static_cast<int>(result));
}

word fcntl(int fd, int command, word argument) {
    word r = sys::fcntl(fd, command, argument);
    after_fcntl(fd, command, argument, r);
    return r;
}

void after_ioctl(int fd, unsigned long request, word argument, word result) {
    if (request == FIONBIO && !sys::failed(result))
        note_status_flags(fd, *reinterpret_cast<const int *>(argument) != 0);
}

word ioctl(int fd, unsigned long request, word argument) {
    word r = sys::call(SYS_ioctl, fd, request, argument);
    after_ioctl(fd, request, argument, r);
    return r;
}

word socket(int domain, int type, int protocol) {
    word r = sys::call(SYS_socket, domain, type, protocol);
    if (!sys::failed(r))
        note_socket(static_cast<int>(r), domain, type, protocol);
    return r;
}

word socketpair(int domain, int type, int protocol, int fds[2]) {
    word r = sys::call(SYS_socketpair, domain, type, protocol, fds);
    if (!sys::failed(r)) {
        note_socket(fds[0], domain, type, protocol);
        note_socket(fds[1], domain, type, protocol);
    }
    return r;
}

word pipe2(int fds[2], int flags) {
    word r = sys::call(SYS_pipe2, fds, flags);
    if (!sys::failed(r))
        note_pipe(fds, flags);
    return r;
}

word eventfd2(unsigned initial, int flags) {
    word r = sys::eventfd(initial, flags);
    if (!sys::failed(r))
        note_anonymous(static_cast<int>(r), flags & EFD_NONBLOCK);
    return r;
}

word timerfd_create(int clock, int flags) {
    word r = sys::call(SYS_timerfd_create, clock, flags);
    if (!sys::failed(r))
        note_anonymous(static_cast<int>(r), flags & TFD_NONBLOCK);
    return r;
}

word setsockopt(int fd, int level, int option, const void *value, socklen_t length) {
    word r = sys::call(SYS_setsockopt, fd, level, option, value, length);
    if (!sys::failed(r))
        note_socket_option(fd, level, option);
    return r;
}

} // namespace corun::calls
