// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/dispatch.h"

#include "co_hook/calls/credentials.h"
#include "co_hook/calls/dispatch_parts.h"
#include "co_hook/calls/fd_state.h"
#include "co_hook/calls/futex.h"
#include "co_hook/calls/ipc.h"
#include "co_hook/calls/kernel_time.h"
#include "co_hook/calls/lock.h"
#include "co_hook/calls/yield.h"

#include <cerrno>
#include <sched.h>

namespace corun::calls {
namespace {

constexpr int64_t us_per_s = 1000000;

// A file offset is two arguments: on x86_64 the second is not looked at, but for the vectored calls,
// where it is shifted out.
int64_t offset_of(word low, word high) {
    if constexpr (words_are_long)
        return low;
    else
        return static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(high)) << 32 |
                                    static_cast<uint32_t>(low));
}

// Limits of poll and select: -1 is for ever.
int64_t limit_of(int64_t ns) { return ns == no_deadline ? -1 : ns; }

// The call with a time limit at a[index], which receives what is left of it, as the kernel does it.
template <class F> word with_limit(word time, bool time64, int64_t parts_per_s, F call) {
    auto *at = as<void *>(time);
    int64_t ns;
    if (int e = read_kernel_time(at, time64, &ns, parts_per_s))
        return e;
    int64_t begin = at ? now_ns() : 0;
    word r = call(limit_of(ns));
    if (at && ns != no_deadline) {
        int64_t left = ns - (now_ns() - begin);
        write_kernel_time(at, time64, left > 0 && ns != 0 ? left : 0, parts_per_s);
    }
    return r;
}

word raw_ppoll(const word (&a)[6], bool time64) {
    if (a[3] && as<size_t>(a[4]) != sys::sigset_bytes)
        return -EINVAL;
    return with_limit(a[2], time64, ns_per_s, [&](int64_t ns) {
        return calls::poll(as<pollfd *>(a[0]), as<unsigned>(a[1]), ns, as<const void *>(a[3]));
    });
}

word raw_select(const word (&a)[6], bool time64, int64_t parts_per_s, const void *mask) {
    return with_limit(a[4], time64, parts_per_s, [&](int64_t ns) {
        return calls::select(as<int>(a[0]), as<fd_set *>(a[1]), as<fd_set *>(a[2]),
                             as<fd_set *>(a[3]), ns, mask);
    });
}

word raw_pselect(const word (&a)[6], bool time64) {
    struct {
        const void *mask;
        size_t bytes;
    } m{};
    if (a[5] && !user_read(as<const void *>(a[5]), &m))
        return -EFAULT;
    if (m.mask && m.bytes != sys::sigset_bytes)
        return -EINVAL;
    return raw_select(a, time64, ns_per_s, m.mask);
}

word raw_sleep(int clock, int flags, word wanted, word left, bool time64) {
    constexpr int timer_abstime = 1;
    int64_t ns, left_ns = 0;
    if (wanted == 0)
        return -EFAULT;
    if (int e = read_kernel_time(as<const void *>(wanted), time64, &ns))
        return e;
    bool absolute = (flags & timer_abstime) != 0;
    word r = clock_sleep(clock, absolute, ns / ns_per_s, ns % ns_per_s, &left_ns);
    if (r == -ECANCELED && left && !absolute)
        if (!write_kernel_time(as<void *>(left), time64, left_ns))
            return -EFAULT;
    return r;
}

// The read and write sides.
bool transfer_call(long nr, const word (&a)[6], word *result) {
    int fd = as<int>(a[0]), count = as<int>(a[2]);
    auto *buffer = as<void *>(a[1]);
    auto *parts = as<const iovec *>(a[1]);
    auto n = as<size_t>(a[2]);
    int64_t offset = offset_of(a[3], a[4]);
    switch (nr) {
    case SYS_read:
        return *result = calls::read(fd, buffer, n), true;
    case SYS_readv:
        return *result = calls::readv(fd, parts, count), true;
    case SYS_pread64:
        return *result = calls::pread(fd, buffer, n, offset), true;
    case SYS_preadv:
        return *result = offset < 0 ? -EINVAL : calls::preadv2(fd, parts, count, offset, 0), true;
    case SYS_preadv2:
        return *result = calls::preadv2(fd, parts, count, offset, as<int>(a[5])), true;
    case SYS_write:
        return *result = calls::write(fd, buffer, n), true;
    case SYS_writev:
        return *result = calls::writev(fd, parts, count), true;
    case SYS_pwrite64:
        return *result = calls::pwrite(fd, buffer, n, offset), true;
    case SYS_pwritev:
        return *result = offset < 0 ? -EINVAL : calls::pwritev2(fd, parts, count, offset, 0), true;
    case SYS_pwritev2:
        return *result = calls::pwritev2(fd, parts, count, offset, as<int>(a[5])), true;
    default:
        return false;
    }
}

bool timed_call(long nr, const word (&a)[6], word *result) {
    switch (nr) {
    case SYS_poll:
        *result =
            calls::poll(as<pollfd *>(a[0]), as<unsigned>(a[1]), ms_to_ns(as<int>(a[2])), nullptr);
        return true;
    case SYS_ppoll:
        return *result = raw_ppoll(a, words_are_long), true;
    case SYS_pselect6:
        return *result = raw_pselect(a, words_are_long), true;
    case SYS_nanosleep: // on the wall clock, but a relative time does not care
        return *result = raw_sleep(CLOCK_MONOTONIC, 0, a[0], a[1], words_are_long), true;
    case SYS_clock_nanosleep:
        return *result = raw_sleep(as<int>(a[0]), as<int>(a[1]), a[2], a[3], words_are_long), true;
#if defined(__i386__)
    case SYS__newselect:
        return *result = raw_select(a, false, us_per_s, nullptr), true;
    case SYS_ppoll_time64:
        return *result = raw_ppoll(a, true), true;
    case SYS_pselect6_time64:
        return *result = raw_pselect(a, true), true;
    case SYS_clock_nanosleep_time64:
        return *result = raw_sleep(as<int>(a[0]), as<int>(a[1]), a[2], a[3], true), true;
#else
    case SYS_select:
        return *result = raw_select(a, true, us_per_s, nullptr), true;
#endif
    case SYS_sched_yield:
        return yield_turn(), *result = 0, true;
    default:
        return false;
    }
}

bool all_in_one([[maybe_unused]] long nr) {
#if defined(__i386__)
    return nr == SYS_ipc;
#else
    return false;
#endif
}

// What plain threads change and coroutines may wait for.
bool change_outside(long nr, const word (&a)[6], word *result) {
    switch (nr) {
    case SYS_flock:
        *result = sys::call(nr, a[0], a[1]);
        locks_changed();
        return true;
    case SYS_msgrcv:
    case SYS_msgsnd:
#if defined(__i386__)
    case SYS_ipc:
    case SYS_semtimedop_time64:
#else
    case SYS_semop:
    case SYS_semtimedop:
#endif
        *result = sys::call(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
        if (!sys::failed(*result))
            ipc_changed(as<int>(a[all_in_one(nr) ? 1 : 0]));
        return true;
    default:
        return false;
    }
}

} // namespace

bool dispatch(long nr, const word (&a)[6], bool in_coroutine, word *result) {
#if defined(__i386__)
    if (nr == SYS_socketcall) {
        word words[6];
        if (word e = unpack_socketcall(a, &nr, words))
            return *result = e, true;
        if (nr != SYS_socketcall)
            return dispatch(nr, words, in_coroutine, result);
    }
#endif
    switch (nr) {
    case SYS_futex:
        return *result = futex(a, words_are_long, in_coroutine), true;
#if defined(__i386__)
    case SYS_futex_time64:
        return *result = futex(a, true, in_coroutine), true;
#endif
    default:
        break;
    }
    if (CO_UNLIKELY(changes_credentials(nr, a[0])))
        if (int e = before_credentials_change(true))
            return *result = e, true;
    if (in_coroutine && (transfer_call(nr, a, result) || dispatch_socket_call(nr, a, result) ||
                         timed_call(nr, a, result) || dispatch_wait(nr, a, result) ||
                         dispatch_file_call(nr, a, result)))
        return true;
    if (!in_coroutine && change_outside(nr, a, result))
        return true;
    return dispatch_descriptor_call(nr, a, in_coroutine, result);
}

} // namespace corun::calls
