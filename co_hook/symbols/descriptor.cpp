// SPDX-License-Identifier: Apache-2.0
// Descriptors. accept and connect wait; the others are libc's own with our bookkeeping around them,
// in coroutines and out of them, because what is known of a descriptor is known to the process.
#include "co_hook/calls/lock.h"
#include "co_hook/symbols/hook.h"

#include "co_hook/calls/fd_state.h"
#include "co_hook/symbols/stdio_open.h"

#include <cstdarg>
#include <cstdio>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

extern "C" int _IO_fclose(FILE *); // libc's fclose by the name that nobody interposes

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_DESCRIPTORS;

// dup2 onto a number closes what was there.
template <class Dup> int dup_onto(int from, int to, Dup native) {
    if (from != to) {
        if (hooks_are_on(family))
            if (int e = calls::outwait_turns(to))
                return to_libc<int>(e);
        if (int e = calls::before_dup_onto(from, to))
            return plain_result<int>(e);
    }
    int r = native();
    if (r >= 0 && from != to)
        calls::note_duplicate(from, to, true);
    return r;
}

int close_everywhere(int fd, int (*native)(int)) {
    if (hooks_are_on(family))
        return to_libc<int>(calls::close(fd));
    if (int e = calls::before_close(fd))
        return plain_result<int>(e);
    int r = native(fd);
    calls::after_close(fd);
    return r;
}

word close_rest(unsigned first, unsigned last) {
    return sys::call(SYS_close_range, first, last, 0);
}

// closefrom's promise also holds where there is no close_range.
word close_one_by_one(unsigned first, unsigned last) {
    word r = close_rest(first, last);
    if (r != -ENOSYS)
        return r;
    constexpr unsigned most = 1 << 20;
    for (unsigned fd = first; fd <= last && fd < most; ++fd)
        sys::close(static_cast<int>(fd));
    return 0;
}

// libc's own fcntl makes the attempts: on i386 it converts the lock.
word wait_for_range(int (*native)(int, int, ...), int fd, int command, long argument) {
    static constexpr wait_kind kind{"fcntl: lock", true, calls::abandon_lock_wait};
    struct call {
        int (*native)(int, int, ...);
        int fd, command;
        long argument;
    } c{native, fd, calls::command_without_wait(command), argument};
    word r = calls::wait_for_lock(
        kind, fd,
        [](void *context) -> word {
            const call *with = static_cast<const call *>(context);
            return with->native(with->fd, with->command, with->argument) == 0 ? 0 : -errno;
        },
        &c);
    calls::after_fcntl(fd, command, argument, r);
    return r;
}

} // namespace

CORUN_NATIVE(int, accept, (int fd, sockaddr *address, socklen_t *length),
             plain_result<int>(sys::call(SYS_accept4, fd, address, length, 0)));
int hook_accept(int fd, sockaddr *address, socklen_t *length) {
    if (hooks_are_on(family))
        return to_libc<int>(calls::accept4(fd, address, length, 0));
    int r = native_accept(fd, address, length);
    if (r >= 0)
        calls::note_accepted(r, fd, 0);
    return r;
}
CORUN_NATIVE(int, accept4, (int fd, sockaddr *address, socklen_t *length, int flags),
             plain_result<int>(sys::call(SYS_accept4, fd, address, length, flags)));
int hook_accept4(int fd, sockaddr *address, socklen_t *length, int flags) {
    if (hooks_are_on(family))
        return to_libc<int>(calls::accept4(fd, address, length, flags));
    int r = native_accept4(fd, address, length, flags);
    if (r >= 0)
        calls::note_accepted(r, fd, flags);
    return r;
}
CORUN_HOOK(int, connect, (int fd, const sockaddr *address, socklen_t length), (fd, address, length),
           sys::call(SYS_connect, fd, address, length), calls::connect(fd, address, length))
CORUN_HOOK_ALIAS(int, __connect, connect, (int, const sockaddr *, socklen_t));

CORUN_NATIVE(int, close, (int fd), plain_result<int>(sys::close(fd)));
int hook_close(int fd) { return close_everywhere(fd, native_close); }
CORUN_HOOK_ALIAS(int, __close, close, (int));

CORUN_NATIVE(int, close_range, (unsigned first, unsigned last, int flags),
             plain_result<int>(sys::call(SYS_close_range, first, last, flags)));
int hook_close_range(unsigned first, unsigned last, int flags) {
    if (flags == CLOSE_RANGE_UNSHARE && first <= last) { // two steps in the kernel too
        if (word e = calls::unshare_descriptors())
            return plain_result<int>(e);
    } else if (flags != 0) {
        return native_close_range(first, last, flags);
    }
    calls::before_close_range(first, last);
    word r = calls::close_around_reserved(first, last, close_rest);
    calls::after_close_range(first, last);
    return plain_result<int>(r);
}

CORUN_EXPORTED void hook_closefrom(int first) __asm__("closefrom");
void hook_closefrom(int first) {
    unsigned from = first > 0 ? static_cast<unsigned>(first) : 0U;
    calls::before_close_range(from, ~0U);
    calls::close_around_reserved(from, ~0U, close_one_by_one);
    calls::after_close_range(from, ~0U);
}

CORUN_NATIVE(int, fclose, (FILE * stream), _IO_fclose(stream));
int hook_fclose(FILE *stream) {
    int fd = fileno_unlocked(stream);
    int unwritten = flush_before_close(stream);
    if (fd >= 0 && hooks_are_on(family))
        if (int e = calls::outwait_turns(fd))
            return to_libc<int>(e);
    if (fd >= 0)
        if (int e = calls::before_close(fd)) // the runtime's own now: a stream has no part in it
            return plain_result<int>(e);
    int r = native_fclose(stream);
    calls::after_close(fd);
    return unwritten == 0 ? r : plain_result<int>(-unwritten);
}

CORUN_NATIVE(int, dup, (int fd), plain_result<int>(sys::call(SYS_dup, fd)));
int hook_dup(int fd) {
    int r = native_dup(fd);
    if (r >= 0)
        calls::note_duplicate(fd, r, false);
    return r;
}
CORUN_NATIVE(int, dup2, (int from, int to), plain_result<int>(sys::call(SYS_dup2, from, to)));
int hook_dup2(int from, int to) {
    return dup_onto(from, to, [=] { return native_dup2(from, to); });
}
CORUN_HOOK_ALIAS(int, __dup2, dup2, (int, int));
CORUN_NATIVE(int, dup3, (int from, int to, int flags),
             plain_result<int>(sys::call(SYS_dup3, from, to, flags)));
int hook_dup3(int from, int to, int flags) {
    if (flags & ~O_CLOEXEC)
        return native_dup3(from, to, flags); // EINVAL, and nothing is closed
    return dup_onto(from, to, [=] { return native_dup3(from, to, flags); });
}

// The third argument is passed on as a word, whatever it is: libc and the kernel do the same.
#define CORUN_FCNTL(name)                                                                          \
    static int fallback_##name(int fd, int command, ...) {                                         \
        va_list list;                                                                              \
        va_start(list, command);                                                                   \
        long argument = va_arg(list, long);                                                        \
        va_end(list);                                                                              \
        return plain_result<int>(sys::fcntl(fd, command, argument));                               \
    }                                                                                              \
    static int (*native_##name)(int, int, ...) = fallback_##name;                                  \
    CORUN_EXPORTED int hook_##name(int fd, int command, ...) __asm__(#name);                       \
    int hook_##name(int fd, int command, ...) {                                                    \
        va_list list;                                                                              \
        va_start(list, command);                                                                   \
        long argument = va_arg(list, long);                                                        \
        va_end(list);                                                                              \
        if (CO_UNLIKELY(calls::is_lock_wait(command)) && hooks_are_on(CO_HOOK_LOCKS))              \
            return to_libc<int>(wait_for_range(native_##name, fd, command, argument));             \
        int r = native_##name(fd, command, argument);                                              \
        calls::after_fcntl(fd, command, argument, r);                                              \
        return r;                                                                                  \
    }
#define CORUN_IOCTL(name)                                                                          \
    static int fallback_##name(int fd, unsigned long request, ...) {                               \
        va_list list;                                                                              \
        va_start(list, request);                                                                   \
        long argument = va_arg(list, long);                                                        \
        va_end(list);                                                                              \
        return plain_result<int>(sys::call(SYS_ioctl, fd, request, argument));                     \
    }                                                                                              \
    static int (*native_##name)(int, unsigned long, ...) = fallback_##name;                        \
    CORUN_EXPORTED int hook_##name(int fd, unsigned long request, ...) __asm__(#name);             \
    int hook_##name(int fd, unsigned long request, ...) {                                          \
        va_list list;                                                                              \
        va_start(list, request);                                                                   \
        long argument = va_arg(list, long);                                                        \
        va_end(list);                                                                              \
        int r = native_##name(fd, request, argument);                                              \
        calls::after_ioctl(fd, request, argument, r);                                              \
        return r;                                                                                  \
    }
CORUN_FCNTL(fcntl)
CORUN_IOCTL(ioctl)

CORUN_NATIVE(int, socket, (int domain, int type, int protocol),
             plain_result<int>(sys::call(SYS_socket, domain, type, protocol)));
int hook_socket(int domain, int type, int protocol) {
    int r = native_socket(domain, type, protocol);
    if (r >= 0)
        calls::note_socket(r, domain, type, protocol);
    return r;
}
CORUN_NATIVE(int, socketpair, (int domain, int type, int protocol, int *fds),
             plain_result<int>(sys::call(SYS_socketpair, domain, type, protocol, fds)));
int hook_socketpair(int domain, int type, int protocol, int *fds) {
    int r = native_socketpair(domain, type, protocol, fds);
    for (int i = 0; r == 0 && i < 2; ++i)
        calls::note_socket(fds[i], domain, type, protocol);
    return r;
}
CORUN_NATIVE(int, pipe, (int *fds), plain_result<int>(sys::call(SYS_pipe2, fds, 0)));
int hook_pipe(int *fds) {
    int r = native_pipe(fds);
    if (r == 0)
        calls::note_pipe(fds, 0);
    return r;
}
CORUN_HOOK_ALIAS(int, __pipe, pipe, (int *));
CORUN_NATIVE(int, pipe2, (int *fds, int flags),
             plain_result<int>(sys::call(SYS_pipe2, fds, flags)));
int hook_pipe2(int *fds, int flags) {
    int r = native_pipe2(fds, flags);
    if (r == 0)
        calls::note_pipe(fds, flags);
    return r;
}
CORUN_NATIVE(int, eventfd, (unsigned initial, int flags),
             plain_result<int>(sys::eventfd(initial, flags)));
int hook_eventfd(unsigned initial, int flags) {
    int r = native_eventfd(initial, flags);
    if (r >= 0)
        calls::note_anonymous(r, flags & EFD_NONBLOCK);
    return r;
}
CORUN_NATIVE(int, timerfd_create, (int clock, int flags),
             plain_result<int>(sys::call(SYS_timerfd_create, clock, flags)));
int hook_timerfd_create(int clock, int flags) {
    int r = native_timerfd_create(clock, flags);
    if (r >= 0)
        calls::note_anonymous(r, flags & TFD_NONBLOCK);
    return r;
}
#define CORUN_SETSOCKOPT(name)                                                                     \
    CORUN_NATIVE(int, name, (int fd, int level, int option, const void *value, socklen_t length),  \
                 plain_result<int>(sys::call(SYS_setsockopt, fd, level, option, value, length)));  \
    int hook_##name(int fd, int level, int option, const void *value, socklen_t length) {          \
        int r = native_##name(fd, level, option, value, length);                                   \
        if (r == 0)                                                                                \
            calls::note_socket_option(fd, level, option);                                          \
        return r;                                                                                  \
    }
CORUN_SETSOCKOPT(setsockopt)

#if defined(__i386__)
CORUN_FCNTL(fcntl64)
CORUN_FCNTL(__fcntl_time64)
CORUN_IOCTL(__ioctl_time64)
// In a -static program libc brings this one along with an internal name that it needs itself.
extern int hook___ioctl_time64(int fd, unsigned long request, ...) __attribute__((weak));
CORUN_SETSOCKOPT(__setsockopt64)
#else
CORUN_HOOK_ALIAS(int, fcntl64, fcntl, (int, int, ...));
#endif
CORUN_HOOK_ALIAS(int, __fcntl, fcntl, (int, int, ...));

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(accept, E),         CORUN_ENTRY(accept4, E),
    CORUN_ENTRY(connect, E),        CORUN_ALIAS_ENTRY(__connect, E),
    CORUN_ENTRY(close, B),          CORUN_ALIAS_ENTRY(__close, B),
    CORUN_ENTRY(close_range, B),    CORUN_ALIAS_ENTRY(closefrom, B),
    CORUN_ENTRY(fclose, B),         CORUN_ENTRY(dup, B),
    CORUN_ENTRY(dup2, B),           CORUN_ALIAS_ENTRY(__dup2, B),
    CORUN_ENTRY(dup3, B),           CORUN_ENTRY(fcntl, B),
    CORUN_ALIAS_ENTRY(__fcntl, B),  CORUN_ENTRY(ioctl, B),
    CORUN_ENTRY(socket, B),         CORUN_ENTRY(socketpair, B),
    CORUN_ENTRY(pipe, B),           CORUN_ALIAS_ENTRY(__pipe, B),
    CORUN_ENTRY(pipe2, B),          CORUN_ENTRY(eventfd, B),
    CORUN_ENTRY(timerfd_create, B), CORUN_ENTRY(setsockopt, B),
#if defined(__i386__)
    CORUN_ENTRY(fcntl64, B),        CORUN_ENTRY(__fcntl_time64, B),
    CORUN_ENTRY(__ioctl_time64, B), CORUN_ENTRY(__setsockopt64, B),
#else
    CORUN_ALIAS_ENTRY(fcntl64, B),
#endif
};

} // namespace

CORUN_TABLE(descriptor_table, entries);

} // namespace corun::symbols
