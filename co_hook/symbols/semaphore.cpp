// SPDX-License-Identifier: Apache-2.0
// POSIX semaphores. The count is libc's, in libc's layout, and whoever finds it above zero takes
// one; so coroutines, plain threads and other processes may be on either side. sem_trywait and
// sem_getvalue are libc's own.
//
//     sem_post(s)   libc's, which wakes one thread that waits in the kernel; then one coroutine
//     sem_wait(s)   try, and wait at the semaphore's address, in turns
//
// Rules
//  - sem_post may be called in a signal handler.
//  - A shared or named semaphore may be posted by another process, which wakes no coroutine of ours:
//    there the wait looks again after 1 to 20 ms.
#include "co_hook/calls/back_off.h"
#include "co_hook/calls/clock_limit.h"
#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/time_types.h"

#include <climits>
#include <linux/futex.h>
#include <semaphore.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_THREADS;
constexpr wait_kind sem_kind{"sem_wait", false, calls::abandon_address_wait, nullptr,
                             ended_by::program};

// How libc lays a semaphore out (tests/hooks/semaphore_test.cpp looks whether it still does). x86_64:
// the count, waiters, shared. i386: the count above one bit, shared, waiters.
struct sem_words {
#if defined(__x86_64__)
    static constexpr unsigned one = 1;
    unsigned count, waiters, shared;
#else
    static constexpr unsigned one = 2;
    unsigned count, shared, waiters;
#endif
};
sem_words *words_of(sem_t *s) { return reinterpret_cast<sem_words *>(s); }

bool is_above_zero(const void *s, uintptr_t) {
    int value = 0;
    sem_getvalue(static_cast<sem_t *>(const_cast<void *>(s)), &value);
    return value > 0;
}

// 0, or -errno.
word wait_in_coroutine(sem_t *s, calls::wait_deadline deadline) {
    int errno_before = errno;
    bool shared = words_of(s)->shared != 0;
    calls::back_off pauses; // for posts of other processes
    while (sem_trywait(s) != 0) {
        if (errno != EAGAIN)
            return -errno;
        calls::wait_deadline until = shared ? deadline.within(pauses.next_ns()) : deadline;
        int r = calls::wait_at(sem_kind, s, is_above_zero, 0, until);
        if (!deadline.goes_on(r))
            return r;
    }
    errno = errno_before;
    return 0;
}

// What stands in for libc's where that cannot be found: the thread waits for the count itself, and
// every post looks whether somebody does.
long futex_operation(sem_t *s, long operation) {
    return operation | (words_of(s)->shared ? 0 : FUTEX_PRIVATE_FLAG);
}
word raw_wait(sem_t *s, const sys::kernel_timespec *until, int clock) {
    long operation = futex_operation(s, FUTEX_WAIT_BITSET);
    if (clock == CLOCK_REALTIME)
        operation |= FUTEX_CLOCK_REALTIME;
    while (sem_trywait(s) != 0) {
        word r = sys::call(sys::nr_futex, &words_of(s)->count, operation, 0, until, nullptr,
                           FUTEX_BITSET_MATCH_ANY);
        if (sys::failed(r) && r != -EAGAIN)
            return r;
    }
    return 0;
}
word raw_post(sem_t *s) {
    unsigned *count = &words_of(s)->count, old = __atomic_load_n(count, __ATOMIC_RELAXED);
    do
        if (old / sem_words::one == SEM_VALUE_MAX)
            return -EOVERFLOW;
    while (!__atomic_compare_exchange_n(count, &old, old + sem_words::one, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED));
    sys::call(SYS_futex, count, futex_operation(s, FUTEX_WAKE), 1);
    return 0;
}

template <class T> word wait_until(sem_t *s, int clock, const T *until) {
    calls::clock_limit limit = calls::limit_of(clock, until);
    return limit.valid ? wait_in_coroutine(s, limit.at) : -EINVAL;
}
template <class T> word raw_wait_until(sem_t *s, int clock, const T *until) {
    if (!calls::limit_of(clock, until).valid)
        return -EINVAL;
    sys::kernel_timespec t{until->tv_sec < 0 ? 0 : until->tv_sec, until->tv_nsec};
    return raw_wait(s, &t, clock);
}

} // namespace

CORUN_HOOK(int, sem_wait, (sem_t * s), (s), raw_wait(s, nullptr, CLOCK_MONOTONIC),
           wait_in_coroutine(s, no_deadline))
CORUN_HOOK(int, sem_timedwait, (sem_t * s, const timespec *until), (s, until),
           raw_wait_until(s, CLOCK_REALTIME, until), wait_until(s, CLOCK_REALTIME, until))
CORUN_HOOK(int, sem_clockwait, (sem_t * s, clockid_t clock, const timespec *until),
           (s, clock, until), raw_wait_until(s, clock, until), wait_until(s, clock, until))
#if defined(__i386__)
CORUN_HOOK(int, __sem_timedwait64, (sem_t * s, const timespec64 *until), (s, until),
           raw_wait_until(s, CLOCK_REALTIME, until), wait_until(s, CLOCK_REALTIME, until))
CORUN_HOOK(int, __sem_clockwait64, (sem_t * s, clockid_t clock, const timespec64 *until),
           (s, clock, until), raw_wait_until(s, clock, until), wait_until(s, clock, until))
#endif

CORUN_NATIVE(int, sem_post, (sem_t * s), plain_result<int>(raw_post(s)));
int hook_sem_post(sem_t *s) {
    int r = native_sem_post(s);
    if (CO_LIKELY(r == 0)) // the semaphore may be gone: only its address is used
        calls::wake_at_in_handler(s, 1);
    return r;
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(sem_wait, P),          CORUN_ENTRY(sem_timedwait, P),
    CORUN_ENTRY(sem_clockwait, P),     CORUN_ENTRY(sem_post, P),
#if defined(__i386__)
    CORUN_ENTRY(__sem_timedwait64, P), CORUN_ENTRY(__sem_clockwait64, P),
#endif
};

} // namespace

CORUN_TABLE(semaphore_table, entries);

} // namespace corun::symbols
