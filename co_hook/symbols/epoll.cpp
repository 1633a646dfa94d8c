// SPDX-License-Identifier: Apache-2.0
// epoll_wait and its kin, and the calls that make descriptors of events.
#include "co_hook/calls/epoll.h"
#include "co_hook/calls/fd_state.h"
#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/time_types.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_READINESS;

word raw_wait(int fd, epoll_event *events, int most, int ms, const void *mask) {
    return sys::call(SYS_epoll_pwait, fd, events, most, ms, mask, sys::sigset_bytes);
}

template <class T>
word raw_wait2(int fd, epoll_event *events, int most, const T *timeout, const void *mask) {
    sys::kernel_timespec t{};
    if (timeout)
        t = {timeout->tv_sec, timeout->tv_nsec};
    return sys::call(SYS_epoll_pwait2, fd, events, most, timeout ? &t : nullptr, mask,
                     sys::sigset_bytes);
}

template <class T>
word wait2(int fd, epoll_event *events, int most, const T *timeout, const void *mask) {
    int64_t ns = -1;
    if (timeout && !to_ns(timeout, &ns))
        return -EINVAL;
    return calls::epoll_wait(fd, events, most, ns, mask);
}

int noted(int fd, bool nonblocking) {
    if (fd >= 0)
        calls::note_anonymous(fd, nonblocking);
    return fd;
}

} // namespace

CORUN_HOOK(int, epoll_wait, (int fd, epoll_event *events, int most, int ms), (fd, events, most, ms),
           raw_wait(fd, events, most, ms, nullptr),
           calls::epoll_wait(fd, events, most, ms_to_ns(ms), nullptr))
CORUN_HOOK(int, epoll_pwait, (int fd, epoll_event *events, int most, int ms, const sigset_t *mask),
           (fd, events, most, ms, mask), raw_wait(fd, events, most, ms, mask),
           calls::epoll_wait(fd, events, most, ms_to_ns(ms), mask))
CORUN_HOOK(int, epoll_pwait2,
           (int fd, epoll_event *events, int most, const timespec *timeout, const sigset_t *mask),
           (fd, events, most, timeout, mask), raw_wait2(fd, events, most, timeout, mask),
           wait2(fd, events, most, timeout, mask))
#if defined(__i386__)
CORUN_HOOK(int, __epoll_pwait2_time64,
           (int fd, epoll_event *events, int most, const timespec64 *timeout, const sigset_t *mask),
           (fd, events, most, timeout, mask), raw_wait2(fd, events, most, timeout, mask),
           wait2(fd, events, most, timeout, mask))
#endif

CORUN_NATIVE(int, epoll_create, (int size),
             plain_result<int>(size > 0 ? sys::epoll_create(0) : word{-EINVAL}));
int hook_epoll_create(int size) { return noted(native_epoll_create(size), false); }
CORUN_NATIVE(int, epoll_create1, (int flags), plain_result<int>(sys::epoll_create(flags)));
int hook_epoll_create1(int flags) { return noted(native_epoll_create1(flags), false); }
CORUN_NATIVE(int, inotify_init, (), plain_result<int>(sys::call(SYS_inotify_init1, 0)));
int hook_inotify_init() { return noted(native_inotify_init(), false); }
CORUN_NATIVE(int, inotify_init1, (int flags),
             plain_result<int>(sys::call(SYS_inotify_init1, flags)));
int hook_inotify_init1(int flags) {
    return noted(native_inotify_init1(flags), flags & IN_NONBLOCK);
}
CORUN_NATIVE(int, fanotify_init, (unsigned flags, unsigned event_flags),
             plain_result<int>(sys::call(SYS_fanotify_init, flags, event_flags)));
int hook_fanotify_init(unsigned flags, unsigned event_flags) {
    constexpr unsigned nonblocking = 2; // FAN_NONBLOCK
    return noted(native_fanotify_init(flags, event_flags), flags & nonblocking);
}
CORUN_NATIVE(int, signalfd, (int fd, const sigset_t *mask, int flags),
             plain_result<int>(sys::call(SYS_signalfd4, fd, mask, sys::sigset_bytes, flags)));
int hook_signalfd(int fd, const sigset_t *mask, int flags) {
    int r = native_signalfd(fd, mask, flags);
    return fd == -1 ? noted(r, flags & SFD_NONBLOCK) : r;
}
CORUN_NATIVE(int, memfd_create, (const char *name, unsigned flags),
             plain_result<int>(sys::call(SYS_memfd_create, name, flags)));
int hook_memfd_create(const char *name, unsigned flags) {
    int fd = native_memfd_create(name, flags);
    if (fd >= 0)
        calls::note_foreign(fd); // a file: its kind is learnt at first use
    return fd;
}
CORUN_NATIVE(int, pidfd_open, (pid_t pid, unsigned flags),
             plain_result<int>(sys::call(SYS_pidfd_open, pid, flags)));
int hook_pidfd_open(pid_t pid, unsigned flags) {
    return noted(native_pidfd_open(pid, flags), flags & O_NONBLOCK);
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(epoll_wait, E),
    CORUN_ENTRY(epoll_pwait, E),
    CORUN_ENTRY(epoll_pwait2, E),
    CORUN_ENTRY(epoll_create, B),
    CORUN_ENTRY(epoll_create1, B),
    CORUN_ENTRY(inotify_init, B),
    CORUN_ENTRY(inotify_init1, B),
    CORUN_ENTRY(fanotify_init, B),
    CORUN_ENTRY(signalfd, B),
    CORUN_ENTRY(memfd_create, B),
    CORUN_ENTRY(pidfd_open, B),
#if defined(__i386__)
    CORUN_ENTRY(__epoll_pwait2_time64, E),
#endif
};

} // namespace

CORUN_TABLE(epoll_table, entries);

} // namespace corun::symbols
