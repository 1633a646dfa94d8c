// SPDX-License-Identifier: Apache-2.0
// Condition variables of pthreads. Threads wait as libc has it; coroutines wait by wait_at on the
// condition's address. libc's object has no room for a counter of signals, so that stands in a table
// of ours, by address: a coroutine reads it before it gives the mutex up, and a signal counts before
// it wakes, so none falls between the two. (Conditions that meet in the table cost each other a
// wake-up for nothing, which the standard allows.)
//
// A signal wakes a coroutine if one waits, else a thread; while both wait, every other one wakes a
// thread as well. A plain signal with no coroutine waiting is libc's and one load.
//
// A process-shared condition is signalled from where we see nothing: there a coroutine's wait is a short
// sleep without the mutex, and returns for nothing.
#include "co_hook/symbols/threads.h"
#include "co_hook/symbols/time_types.h"

#include <climits>

namespace corun::symbols {

CORUN_PTHREAD_NATIVE(int, pthread_cond_signal, (pthread_cond_t * cond), (cond), ENOSYS);
CORUN_PTHREAD_NATIVE(int, pthread_cond_broadcast, (pthread_cond_t * cond), (cond), ENOSYS);

namespace {

constexpr unsigned family = CO_HOOK_THREADS;

struct alignas(16) seat {
    unsigned waiters; // atomic: coroutines that wait here, or are about to
    unsigned signals; // atomic
    unsigned turn;    // atomic: whose, while both kinds wait
};
constexpr unsigned seat_bits = 8;
seat seats[1U << seat_bits];

seat *seat_of(const void *cond) {
    constexpr uint32_t golden_ratio = 0x9E3779B1;
    uint64_t word = reinterpret_cast<uintptr_t>(cond) >> 3;
    return &seats[static_cast<uint32_t>(word ^ word >> 32) * golden_ratio >> (32 - seat_bits)];
}

unsigned signals_of(const void *cond) {
    return __atomic_load_n(&seat_of(cond)->signals, __ATOMIC_SEQ_CST);
}
bool was_signalled(const void *cond, uintptr_t before) { return signals_of(cond) != before; }

void leave_seat(const void *cond) {
    __atomic_sub_fetch(&seat_of(cond)->waiters, 1U, __ATOMIC_RELAXED);
}
void abandon(coroutine *co) {
    leave_seat(co->subject.object);
    calls::abandon_address_wait(co);
}
constexpr wait_kind cond_kind{"pthread_cond_wait", false, abandon, nullptr, ended_by::program};
constexpr wait_kind shared_kind{"pthread_cond_wait", false, nullptr};

// libc's __wrefs: bit 0 process-shared, bit 1 CLOCK_MONOTONIC, from bit 3 on the threads that wait.
unsigned flags_of(const pthread_cond_t *cond) {
    return __atomic_load_n(&cond->__data.__wrefs, __ATOMIC_RELAXED);
}
bool is_shared(const pthread_cond_t *cond) { return (flags_of(cond) & 1) != 0; }
int clock_of(const pthread_cond_t *cond) {
    return flags_of(cond) & 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

int wait_for_signal(pthread_cond_t *cond, unsigned before, const clock_limit &limit) {
    for (;;) {
        int r = calls::wait_at(cond_kind, cond, was_signalled, before, limit.at);
        if (was_signalled(cond, before)) {
            // A cancelled one does not keep a signal that others wait for.
            if (r == -ECANCELED)
                hook_pthread_cond_signal(cond);
            return r == -ECANCELED ? ECANCELED : 0;
        }
        if (r != 0 && r != -EAGAIN)
            return -r;
    }
}

constexpr int64_t shared_pause_ns = 5 * ns_per_ms;

int wait_shared(pthread_cond_t *cond, const clock_limit &limit) {
    int r = park(shared_kind, {.object = cond}, limit.at.within(shared_pause_ns));
    if (r != 0 && r != -ETIMEDOUT)
        return -r;
    return limit.is_over() ? ETIMEDOUT : 0;
}

} // namespace

int wait_on_cond(coroutine *co, pthread_cond_t *cond, pthread_mutex_t *m,
                 const clock_limit &limit) {
    bool shared = is_shared(cond);
    seat *s = seat_of(cond);
    if (!shared)
        __atomic_add_fetch(&s->waiters, 1U, __ATOMIC_SEQ_CST);
    unsigned before = signals_of(cond);
    int r = unlock_mutex(co, m);
    if (r != 0) {
        if (!shared)
            leave_seat(cond);
        return r;
    }
    r = shared ? wait_shared(cond, limit) : wait_for_signal(cond, before, limit);
    // It may be destroyed from here on, by one who knows that all its waiters were woken.
    if (!shared)
        leave_seat(cond);
    int locked = lock_mutex(co, m, nullptr);
    return locked != 0 ? locked : r;
}

// The waiters that are woken may destroy it, so what libc is to do comes first, and then its address
// alone is used; unless nobody was woken.
int wake_cond(pthread_cond_t *cond, int n, int (*native)(pthread_cond_t *)) {
    seat *s = seat_of(cond);
    if (CO_LIKELY(__atomic_load_n(&s->waiters, __ATOMIC_SEQ_CST) == 0) || is_shared(cond))
        return native(cond);
    __atomic_add_fetch(&s->signals, 1U, __ATOMIC_SEQ_CST);
    bool threads_wait = flags_of(cond) >> 3 != 0;
    if (n > 1 || (threads_wait && __atomic_fetch_add(&s->turn, 1U, __ATOMIC_RELAXED) % 2 == 1)) {
        int r = native(cond);
        calls::wake_at(cond, n);
        return r;
    }
    return calls::wake_at(cond, 1) > 0 ? 0 : native(cond);
}

int hook_pthread_cond_signal(pthread_cond_t *cond) {
    return wake_cond(cond, 1, native_pthread_cond_signal);
}

int hook_pthread_cond_broadcast(pthread_cond_t *cond) {
    return wake_cond(cond, INT_MAX, native_pthread_cond_broadcast);
}

CORUN_PTHREAD_NATIVE(int, pthread_cond_wait, (pthread_cond_t * cond, pthread_mutex_t *m), (cond, m),
                     ENOSYS);
int hook_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *m) {
    if (hooks_are_on(family))
        return leave_wait(wait_on_cond(running_coroutine(), cond, m, {}));
    after_native_unlock(m); // libc unlocks it without us
    return native_pthread_cond_wait(cond, m);
}

#define CORUN_TIMEDWAIT(name, T)                                                                   \
    CORUN_PTHREAD_NATIVE(int, name, (pthread_cond_t * cond, pthread_mutex_t * m, const T *at),     \
                         (cond, m, at), ENOSYS);                                                   \
    CORUN_WEAK_HOOK(name);                                                                         \
    int hook_##name(pthread_cond_t *cond, pthread_mutex_t *m, const T *at) {                       \
        if (!hooks_are_on(family)) {                                                               \
            after_native_unlock(m);                                                                \
            return native_##name(cond, m, at);                                                     \
        }                                                                                          \
        clock_limit limit = limit_of(clock_of(cond), at);                                          \
        if (!limit.valid)                                                                          \
            return EINVAL;                                                                         \
        return leave_wait(wait_on_cond(running_coroutine(), cond, m, limit));                      \
    }
#define CORUN_CLOCKWAIT(name, T)                                                                   \
    CORUN_PTHREAD_NATIVE(int, name,                                                                \
                         (pthread_cond_t * cond, pthread_mutex_t * m, int clock, const T *at),     \
                         (cond, m, clock, at), ENOSYS);                                            \
    CORUN_WEAK_HOOK(name);                                                                         \
    int hook_##name(pthread_cond_t *cond, pthread_mutex_t *m, int clock, const T *at) {            \
        if (!hooks_are_on(family)) {                                                               \
            after_native_unlock(m);                                                                \
            return native_##name(cond, m, clock, at);                                              \
        }                                                                                          \
        clock_limit limit = limit_of(clock, at);                                                   \
        if (!limit.valid)                                                                          \
            return EINVAL;                                                                         \
        return leave_wait(wait_on_cond(running_coroutine(), cond, m, limit));                      \
    }
CORUN_TIMEDWAIT(pthread_cond_timedwait, timespec)
CORUN_CLOCKWAIT(pthread_cond_clockwait, timespec)
const cond_functions hooked_cond{hook_pthread_cond_signal, hook_pthread_cond_broadcast,
                                 hook_pthread_cond_wait, hook_pthread_cond_timedwait};
#if defined(__i386__)
CORUN_TIMEDWAIT(__pthread_cond_timedwait64, timespec64)
CORUN_CLOCKWAIT(__pthread_cond_clockwait64, timespec64)
#endif

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(pthread_cond_signal, P),
    CORUN_ENTRY(pthread_cond_broadcast, P),
    CORUN_ENTRY(pthread_cond_wait, P),
    CORUN_WEAK_ENTRY(pthread_cond_timedwait, P),
    CORUN_WEAK_ENTRY(pthread_cond_clockwait, P),
#if defined(__i386__)
    CORUN_WEAK_ENTRY(__pthread_cond_timedwait64, P),
    CORUN_WEAK_ENTRY(__pthread_cond_clockwait64, P),
#endif
};

} // namespace

CORUN_TABLE(cond_table, entries);

} // namespace corun::symbols
