// SPDX-License-Identifier: Apache-2.0
// poll, select and their kin.
#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/time_types.h"

#include <poll.h>

extern "C" [[noreturn]] void __chk_fail();

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_READINESS;

nfds_t checked(nfds_t count, size_t room) {
    if (room / sizeof(pollfd) < count)
        __chk_fail();
    return count;
}

// The timeout as nanoseconds, -1 for none; false: EINVAL.
template <class T> bool limit_of(const T *timeout, int64_t *ns) {
    *ns = -1;
    return !timeout || to_ns(timeout, ns);
}

template <class T> word ppoll_with(pollfd *fds, nfds_t n, const T *timeout, const void *mask) {
    int64_t ns;
    return limit_of(timeout, &ns) ? calls::poll(fds, n, ns, mask) : -EINVAL;
}

template <class T>
word pselect_with(int n, fd_set *r, fd_set *w, fd_set *e, const T *timeout, const void *mask) {
    int64_t ns;
    return limit_of(timeout, &ns) ? calls::select(n, r, w, e, ns, mask) : -EINVAL;
}

// select tells how much time is left, as Linux does.
template <class T> word select_with(int n, fd_set *r, fd_set *w, fd_set *e, T *timeout) {
    int64_t ns = -1;
    if (timeout && !timeval_to_ns(timeout, &ns))
        return -EINVAL;
    int64_t begin = timeout ? now_ns() : 0;
    word result = calls::select(n, r, w, e, ns, nullptr);
    if (timeout) {
        int64_t left = ns - (now_ns() - begin);
        timeval_from_ns(left > 0 && ns != 0 ? left : 0, timeout);
    }
    return result;
}

// For the raw calls that stand in for libc's: the kernel writes into the timeout that it is given.
struct limit {
    sys::kernel_timespec value;
    bool set;
    explicit limit(int64_t ns) : value{ns / ns_per_s, ns % ns_per_s}, set(ns >= 0) {}
    sys::kernel_timespec *get() { return set ? &value : nullptr; }
};

template <class T> word raw_ppoll(pollfd *fds, nfds_t n, const T *timeout, const void *mask) {
    int64_t ns;
    bool valid = limit_of(timeout, &ns);
    limit l(ns);
    return valid ? sys::ppoll(fds, n, l.get(), mask) : -EINVAL;
}

word raw_pselect_ns(int n, fd_set *r, fd_set *w, fd_set *e, int64_t ns, const void *mask) {
    limit l(ns);
    struct {
        const void *mask;
        size_t bytes;
    } with_size{mask, sys::sigset_bytes};
    return sys::call(sys::nr_pselect6, n, r, w, e, l.get(), mask ? &with_size : nullptr);
}

template <class T>
word raw_pselect(int n, fd_set *r, fd_set *w, fd_set *e, const T *timeout, const void *mask) {
    int64_t ns;
    return limit_of(timeout, &ns) ? raw_pselect_ns(n, r, w, e, ns, mask) : -EINVAL;
}

template <class T> word raw_select(int n, fd_set *r, fd_set *w, fd_set *e, T *timeout) {
    int64_t ns = -1;
    if (timeout && !timeval_to_ns(timeout, &ns))
        return -EINVAL;
    int64_t begin = timeout ? now_ns() : 0;
    word result = raw_pselect_ns(n, r, w, e, ns, nullptr);
    if (timeout) {
        int64_t left = ns - (now_ns() - begin);
        timeval_from_ns(left > 0 && ns != 0 ? left : 0, timeout);
    }
    return result;
}

} // namespace

CORUN_HOOK(int, poll, (pollfd * fds, nfds_t count, int ms), (fds, count, ms),
           sys::call(SYS_poll, fds, count, ms), calls::poll(fds, count, ms_to_ns(ms), nullptr))
CORUN_HOOK(int, __poll_chk, (pollfd * fds, nfds_t count, int ms, size_t room),
           (fds, count, ms, room), sys::call(SYS_poll, fds, checked(count, room), ms),
           calls::poll(fds, checked(count, room), ms_to_ns(ms), nullptr))
CORUN_HOOK_ALIAS(int, __poll, poll, (pollfd *, nfds_t, int));

CORUN_HOOK(int, ppoll, (pollfd * fds, nfds_t n, const timespec *timeout, const sigset_t *mask),
           (fds, n, timeout, mask), raw_ppoll(fds, n, timeout, mask),
           ppoll_with(fds, n, timeout, mask))
CORUN_HOOK(int, __ppoll_chk,
           (pollfd * fds, nfds_t n, const timespec *timeout, const sigset_t *mask, size_t room),
           (fds, n, timeout, mask, room), raw_ppoll(fds, checked(n, room), timeout, mask),
           ppoll_with(fds, checked(n, room), timeout, mask))

CORUN_HOOK(int, select, (int n, fd_set *r, fd_set *w, fd_set *e, timeval *timeout),
           (n, r, w, e, timeout), raw_select(n, r, w, e, timeout), select_with(n, r, w, e, timeout))
CORUN_HOOK_ALIAS(int, __select, select, (int, fd_set *, fd_set *, fd_set *, timeval *));
CORUN_HOOK(int, pselect,
           (int n, fd_set *r, fd_set *w, fd_set *e, const timespec *timeout, const sigset_t *mask),
           (n, r, w, e, timeout, mask), raw_pselect(n, r, w, e, timeout, mask),
           pselect_with(n, r, w, e, timeout, mask))

#if defined(__i386__)
CORUN_HOOK(int, __ppoll64,
           (pollfd * fds, nfds_t n, const timespec64 *timeout, const sigset_t *mask),
           (fds, n, timeout, mask), raw_ppoll(fds, n, timeout, mask),
           ppoll_with(fds, n, timeout, mask))
CORUN_HOOK(int, __select64, (int n, fd_set *r, fd_set *w, fd_set *e, timeval64 *timeout),
           (n, r, w, e, timeout), raw_select(n, r, w, e, timeout), select_with(n, r, w, e, timeout))
CORUN_HOOK(int, __pselect64,
           (int n, fd_set *r, fd_set *w, fd_set *e, const timespec64 *timeout,
            const sigset_t *mask),
           (n, r, w, e, timeout, mask), raw_pselect(n, r, w, e, timeout, mask),
           pselect_with(n, r, w, e, timeout, mask))
#endif

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(poll, E),           CORUN_ENTRY(__poll_chk, E),  CORUN_ALIAS_ENTRY(__poll, E),
    CORUN_ENTRY(ppoll, E),          CORUN_ENTRY(__ppoll_chk, E), CORUN_ENTRY(select, E),
    CORUN_ALIAS_ENTRY(__select, E), CORUN_ENTRY(pselect, E),
#if defined(__i386__)
    CORUN_ENTRY(__ppoll64, E),      CORUN_ENTRY(__select64, E),  CORUN_ENTRY(__pselect64, E),
#endif
};

} // namespace

CORUN_TABLE(poll_table, entries);

} // namespace corun::symbols
