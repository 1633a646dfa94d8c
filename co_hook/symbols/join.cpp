// SPDX-License-Identifier: Apache-2.0
// pthread_join and its kin. A coroutine must not leave the thread half joined when it is cancelled, so
// nobody joins on its behalf: it waits for the thread's end by a pidfd of the thread, and then joins
// by a call that cannot block. The thread's kernel id is in its CPU clock's number. Where the kernel
// has no pidfd of threads (before Linux 6.9), it looks again after growing pauses.
//
// Two coroutines that join one thread are the user's mistake, as POSIX has it. (libc tells the second
// one EINVAL; here the thread may be gone when it looks.)
#include "co_hook/calls/own_fd.h"
#include "co_hook/symbols/threads.h"
#include "co_hook/symbols/time_types.h"

#include <fcntl.h>
#include <threads.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_THREADS;

} // namespace

CORUN_PTHREAD_NATIVE(int, pthread_join, (pthread_t thread, void **result), (thread, result),
                     ENOSYS);
CORUN_PTHREAD_NATIVE(int, pthread_clockjoin_np,
                     (pthread_t thread, void **result, int clock, const timespec *at),
                     (thread, result, clock, at), ENOSYS);

namespace {

constexpr wait_kind join_kind{"pthread_join", false, calls::abandon_own_fd};
constexpr wait_kind pause_kind{"pthread_join", false, nullptr};

// 0 and the thread is joined; ETIMEDOUT: it still runs; or why it cannot be joined.
int try_join(pthread_t thread, void **result) {
    static constexpr timespec long_ago{0, 0};
    return native_pthread_clockjoin_np(thread, result, CLOCK_MONOTONIC, &long_ago);
}

// A descriptor of the thread, or negative. It may have ended, and another one have its id: whoever
// finds after this that it has not ended knows that the descriptor is right.
int open_thread(pthread_t thread) {
    constexpr long pidfd_thread = O_EXCL;
    clockid_t clock;
    if (pthread_getcpuclockid(thread, &clock) != 0)
        return -1;
    int id = ~(static_cast<int>(clock) >> 3); // as the kernel encodes it
    return static_cast<int>(sys::call(SYS_pidfd_open, id, pidfd_thread));
}

// Until it seems to have ended or some time is up: 0; -ECANCELED, -ENOMEM. Closes fd, also when the
// coroutine is released meanwhile.
word wait_once(int fd, const clock_limit &limit, back_off *pauses) {
    if (fd >= 0) {
        int64_t left = limit.at.left_ns();
        if (limit.at.clock != CLOCK_MONOTONIC && left != no_deadline && left > ns_per_s)
            left = ns_per_s; // somebody may set it
        int e = calls::wait_for_own_fd(join_kind, fd,
                                       left == no_deadline ? no_deadline : deadline_in(left));
        if (e != 0)
            return e == -ETIMEDOUT ? 0 : e;
    }
    // Without a descriptor; or the kernel has said so a moment before libc can see it.
    word r = park(pause_kind, {}, limit.at.within(pauses->next_ns()));
    return r == -ETIMEDOUT ? 0 : r;
}

int wait_and_join(pthread_t thread, void **result, const clock_limit &limit) {
    back_off pauses(ns_per_ms / 4);
    for (;;) {
        int fd = open_thread(thread), r = try_join(thread, result);
        if (r == ETIMEDOUT && !limit.valid)
            r = EINVAL;
        if (r != ETIMEDOUT || limit.is_over()) {
            if (fd >= 0)
                sys::close(fd);
            return r;
        }
        if (word failed = wait_once(fd, limit, &pauses))
            return static_cast<int>(-failed);
    }
}

} // namespace

int join_thread(pthread_t thread, void **result, const clock_limit &limit) {
    coroutine *co = running_coroutine();
    // Not into *result: it may stand on a shared stack, and libc's function writes when it likes.
    void *value = nullptr;
    if (must_leave_waits(co))
        return leave_wait(ECANCELED);
    int r = try_join(thread, &value);
    if (r == ETIMEDOUT)
        r = wait_and_join(thread, &value, limit);
    if (r == 0 && result)
        *result = value;
    return leave_wait(r);
}

int hook_pthread_join(pthread_t thread, void **result) {
    return hooks_are_on(family) ? join_thread(thread, result, {})
                                : native_pthread_join(thread, result);
}

int hook_pthread_clockjoin_np(pthread_t thread, void **result, int clock, const timespec *at) {
    if (!hooks_are_on(family))
        return native_pthread_clockjoin_np(thread, result, clock, at);
    return join_thread(thread, result, at ? limit_of(clock, at) : clock_limit{});
}

CORUN_PTHREAD_NATIVE(int, pthread_timedjoin_np,
                     (pthread_t thread, void **result, const timespec *at), (thread, result, at),
                     ENOSYS);
int hook_pthread_timedjoin_np(pthread_t thread, void **result, const timespec *at) {
    if (!hooks_are_on(family))
        return native_pthread_timedjoin_np(thread, result, at);
    return join_thread(thread, result, at ? limit_of(CLOCK_REALTIME, at) : clock_limit{});
}

// It never waits: libc's own, named for the table's sake.
CORUN_PTHREAD_NATIVE(int, pthread_tryjoin_np, (pthread_t thread, void **result), (thread, result),
                     ENOSYS);
int hook_pthread_tryjoin_np(pthread_t thread, void **result) {
    return native_pthread_tryjoin_np(thread, result);
}

namespace {

int c11_join(int error, void *value, int *result) {
    if (error == 0 && result)
        *result = static_cast<int>(reinterpret_cast<intptr_t>(value));
    return error == 0 ? thrd_success : error == ENOMEM ? thrd_nomem : thrd_error;
}
int join_as_pthread(thrd_t thread, int *result) {
    void *value = nullptr;
    int r = native_pthread_join(thread, &value);
    return c11_join(r, value, result);
}

} // namespace

CORUN_PTHREAD_NATIVE(int, thrd_join, (thrd_t thread, int *result), (thread, result),
                     join_as_pthread(thread, result));
int hook_thrd_join(thrd_t thread, int *result) {
    if (!hooks_are_on(family))
        return native_thrd_join(thread, result);
    void *value = nullptr;
    int r = join_thread(thread, &value, {});
    return c11_join(r, value, result);
}

#if defined(__i386__)
CORUN_PTHREAD_NATIVE(int, __pthread_clockjoin_np64,
                     (pthread_t thread, void **result, int clock, const timespec64 *at),
                     (thread, result, clock, at), ENOSYS);
CORUN_WEAK_HOOK(__pthread_clockjoin_np64);
int hook___pthread_clockjoin_np64(pthread_t thread, void **result, int clock,
                                  const timespec64 *at) {
    if (!hooks_are_on(family))
        return native___pthread_clockjoin_np64(thread, result, clock, at);
    return join_thread(thread, result, at ? limit_of(clock, at) : clock_limit{});
}
CORUN_PTHREAD_NATIVE(int, __pthread_timedjoin_np64,
                     (pthread_t thread, void **result, const timespec64 *at), (thread, result, at),
                     ENOSYS);
CORUN_WEAK_HOOK(__pthread_timedjoin_np64);
int hook___pthread_timedjoin_np64(pthread_t thread, void **result, const timespec64 *at) {
    if (!hooks_are_on(family))
        return native___pthread_timedjoin_np64(thread, result, at);
    return join_thread(thread, result, at ? limit_of(CLOCK_REALTIME, at) : clock_limit{});
}
#endif

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(pthread_join, P),
    CORUN_ENTRY(pthread_clockjoin_np, P),
    CORUN_ENTRY(pthread_timedjoin_np, P),
    CORUN_ENTRY(pthread_tryjoin_np, P),
    CORUN_ENTRY(thrd_join, P),
#if defined(__i386__)
    CORUN_WEAK_ENTRY(__pthread_clockjoin_np64, P),
    CORUN_WEAK_ENTRY(__pthread_timedjoin_np64, P),
#endif
};

} // namespace

CORUN_TABLE(join_table, entries);

} // namespace corun::symbols
