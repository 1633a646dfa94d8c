// SPDX-License-Identifier: Apache-2.0
// C11's mutexes and conditions. libc's are its pthread objects under other names, so a coroutine
// treats them as those; libc's own functions behind these names would not come through our hooks.
// (thrd_join: join.cpp. thrd_sleep: sleep.cpp. call_once, thrd_yield: with pthread_once, sched_yield.)
#include "co_hook/symbols/threads.h"
#include "co_hook/symbols/time_types.h"

#include <climits>
#include <threads.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_THREADS;

static_assert(sizeof(mtx_t) <= sizeof(pthread_mutex_t));
static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t));
pthread_mutex_t *of(mtx_t *m) { return reinterpret_cast<pthread_mutex_t *>(m); }
pthread_cond_t *of(cnd_t *c) { return reinterpret_cast<pthread_cond_t *>(c); }

int c11_result(int error) {
    switch (error) {
    case 0:
        return thrd_success;
    case EBUSY:
        return thrd_busy;
    case ENOMEM:
        return thrd_nomem;
    case ETIMEDOUT:
        return thrd_timedout;
    default:
        return thrd_error;
    }
}

} // namespace

CORUN_PTHREAD_NATIVE(int, mtx_lock, (mtx_t * m), (m), c11_result(hooked_mutex.lock(of(m))));
int hook_mtx_lock(mtx_t *m) {
    if (coroutine *co = mutex_user(of(m)))
        return c11_result(lock_mutex(co, of(m), __builtin_return_address(0)));
    return native_mtx_lock(m);
}

CORUN_PTHREAD_NATIVE(int, mtx_trylock, (mtx_t * m), (m), c11_result(hooked_mutex.trylock(of(m))));
int hook_mtx_trylock(mtx_t *m) {
    if (coroutine *co = mutex_user(of(m)))
        return c11_result(try_mutex(co, of(m)));
    return native_mtx_trylock(m);
}

CORUN_PTHREAD_NATIVE(int, mtx_unlock, (mtx_t * m), (m), c11_result(hooked_mutex.unlock(of(m))));
int hook_mtx_unlock(mtx_t *m) {
    if (coroutine *co = mutex_user(of(m)))
        return c11_result(unlock_mutex(co, of(m)));
    int r = native_mtx_unlock(m);
    after_native_unlock(of(m));
    return r;
}

CORUN_PTHREAD_NATIVE(int, cnd_signal, (cnd_t * c), (c), c11_result(hooked_cond.signal(of(c))));
CORUN_PTHREAD_NATIVE(int, cnd_broadcast, (cnd_t * c), (c),
                     c11_result(hooked_cond.broadcast(of(c))));

namespace {
int signal_natively(pthread_cond_t *c) { return native_cnd_signal(reinterpret_cast<cnd_t *>(c)); }
int broadcast_natively(pthread_cond_t *c) {
    return native_cnd_broadcast(reinterpret_cast<cnd_t *>(c));
}
} // namespace

int hook_cnd_signal(cnd_t *c) { return wake_cond(of(c), 1, signal_natively); }
int hook_cnd_broadcast(cnd_t *c) { return wake_cond(of(c), INT_MAX, broadcast_natively); }

CORUN_PTHREAD_NATIVE(int, cnd_wait, (cnd_t * c, mtx_t *m), (c, m),
                     c11_result(hooked_cond.wait(of(c), of(m))));
int hook_cnd_wait(cnd_t *c, mtx_t *m) {
    if (hooks_are_on(family))
        return c11_result(leave_wait(wait_on_cond(running_coroutine(), of(c), of(m), {})));
    after_native_unlock(of(m));
    return native_cnd_wait(c, m);
}

namespace {
// Without libc's. (__mtx_timedlock64 and __cnd_timedwait64 of libc.a take the place of ours.)
int timedlock(pthread_mutex_t *m, const timespec *at) {
    return c11_result(hooked_mutex.timedlock(m, at));
}
int timedwait(pthread_cond_t *c, pthread_mutex_t *m, const timespec *at) {
    return c11_result(hooked_cond.timedwait(c, m, at));
}
#if defined(__i386__)
int timedlock(pthread_mutex_t *, const timespec64 *) { return thrd_error; }
int timedwait(pthread_cond_t *, pthread_mutex_t *, const timespec64 *) { return thrd_error; }
#endif
} // namespace

#define CORUN_MTX_TIMEDLOCK(name, T)                                                               \
    CORUN_PTHREAD_NATIVE(int, name, (mtx_t * m, const T *at), (m, at), timedlock(of(m), at));      \
    CORUN_WEAK_HOOK(name);                                                                         \
    int hook_##name(mtx_t *m, const T *at) {                                                       \
        coroutine *co = mutex_user(of(m));                                                         \
        if (!co)                                                                                   \
            return native_##name(m, at);                                                           \
        return c11_result(                                                                         \
            lock_mutex_until(co, of(m), CLOCK_REALTIME, at, __builtin_return_address(0)));         \
    }
#define CORUN_CND_TIMEDWAIT(name, T)                                                               \
    CORUN_PTHREAD_NATIVE(int, name, (cnd_t * c, mtx_t * m, const T *at), (c, m, at),               \
                         timedwait(of(c), of(m), at));                                             \
    CORUN_WEAK_HOOK(name);                                                                         \
    int hook_##name(cnd_t *c, mtx_t *m, const T *at) {                                             \
        if (!hooks_are_on(family)) {                                                               \
            after_native_unlock(of(m));                                                            \
            return native_##name(c, m, at);                                                        \
        }                                                                                          \
        clock_limit limit = limit_of(CLOCK_REALTIME, at);                                          \
        if (!limit.valid)                                                                          \
            return thrd_error;                                                                     \
        return c11_result(leave_wait(wait_on_cond(running_coroutine(), of(c), of(m), limit)));     \
    }
CORUN_MTX_TIMEDLOCK(mtx_timedlock, timespec)
CORUN_CND_TIMEDWAIT(cnd_timedwait, timespec)
#if defined(__i386__)
CORUN_MTX_TIMEDLOCK(__mtx_timedlock64, timespec64)
CORUN_CND_TIMEDWAIT(__cnd_timedwait64, timespec64)
#endif

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(mtx_lock, P),
    CORUN_ENTRY(mtx_trylock, P),
    CORUN_ENTRY(mtx_unlock, P),
    CORUN_WEAK_ENTRY(mtx_timedlock, P),
    CORUN_ENTRY(cnd_signal, P),
    CORUN_ENTRY(cnd_broadcast, P),
    CORUN_ENTRY(cnd_wait, P),
    CORUN_WEAK_ENTRY(cnd_timedwait, P),
#if defined(__i386__)
    CORUN_WEAK_ENTRY(__mtx_timedlock64, P),
    CORUN_WEAK_ENTRY(__cnd_timedwait64, P),
#endif
};

} // namespace

CORUN_TABLE(c11_table, entries);

} // namespace corun::symbols
