// SPDX-License-Identifier: Apache-2.0
// Mutexes of pthreads, in libc's layout: __lock is 0 free, 1 locked, 2 locked and a thread may wait in
// the kernel. A coroutine takes 0 to 1 by compare-and-swap and waits by wait_at; who unlocks gives
// the kernel's waiters a futex wake (2), and the coroutines a wake_at.
//
// A holder that is a plain thread may unlock without us: inside libc's pthread_cond_wait, or in an
// object that does not see our names. One that waits for such a holder looks again by itself, first
// after 0.1 ms, later every 20 ms. All others sleep until they are woken: of all waiters the one that
// was woken last finds out who holds the mutex now, so one of them always keeps watch.
//
// Robust, priority and process-shared mutexes belong to the kernel and to threads: they are tried
// with libc's own trylock, again and again. Their owner is the thread.
#include "co_hook/symbols/threads.h"
#include "co_hook/symbols/time_types.h"

#include "co_routine/core/switch.h"

#include <climits>
#include <linux/futex.h>

namespace corun::symbols {

constinit thread_local const void *tls_turn_at = nullptr;
unsigned mutex_waiters;

CORUN_PTHREAD_NATIVE(int, pthread_mutex_lock, (pthread_mutex_t * m), (m), ENOSYS);
CORUN_PTHREAD_NATIVE(int, pthread_mutex_trylock, (pthread_mutex_t * m), (m), ENOSYS);
CORUN_PTHREAD_NATIVE(int, pthread_mutex_unlock, (pthread_mutex_t * m), (m), ENOSYS);

namespace {

constexpr unsigned family = CO_HOOK_THREADS;

// Bits of __kind.
enum : int {
    type_mask = 3,
    type_recursive = 1,
    type_errorcheck = 2,
    elided = 256, // libc may have it "locked" in a transaction, with __lock 0
    simple_bits = type_mask | elided | 512,
};

int kind_of(const pthread_mutex_t *m) {
    return __atomic_load_n(&m->__data.__kind, __ATOMIC_RELAXED);
}
int owner_of(const pthread_mutex_t *m) {
    return __atomic_load_n(&m->__data.__owner, __ATOMIC_RELAXED);
}
void set_owner(pthread_mutex_t *m, int owner) {
    __atomic_store_n(&m->__data.__owner, owner, __ATOMIC_RELAXED);
}

// To ThreadSanitizer the plain threads' side is libc's, and this the same mutex.
void san_locked(pthread_mutex_t *m) { san_acquire(m); }
void san_unlocking(pthread_mutex_t *m) { san_release(m); }

bool take(coroutine *co, pthread_mutex_t *m) {
    int free = 0;
    if (!__atomic_compare_exchange_n(&m->__data.__lock, &free, 1, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED))
        return false;
    san_locked(m);
    set_owner(m, calls::owner_id(co));
    m->__data.__count = 1; // read where the type is recursive
    ++m->__data.__nusers;
    return true;
}

// For types that know their owner. -1: it is not co's, so it is to be taken.
int lock_again(coroutine *co, pthread_mutex_t *m, int kind, int if_errorcheck) {
    int type = kind & type_mask;
    if ((type != type_recursive && type != type_errorcheck) || owner_of(m) != calls::owner_id(co))
        return -1;
    if (type == type_errorcheck)
        return if_errorcheck;
    if (m->__data.__count == UINT_MAX)
        return EAGAIN;
    ++m->__data.__count;
    return 0;
}

// ---- Waiting

void abandon(coroutine *co) {
    __atomic_sub_fetch(&mutex_waiters, 1U, __ATOMIC_RELAXED);
    calls::abandon_address_wait(co);
}
unsigned describe(char *out, unsigned size, const void *mutex) {
    return calls::describe_owner(out, size, owner_of(static_cast<const pthread_mutex_t *>(mutex)));
}
holder_key holder(const coroutine *co) {
    int owner = owner_of(static_cast<const pthread_mutex_t *>(co->subject.object));
    return calls::is_woken(co) || !calls::is_coroutine(owner) ? 0 : calls::key_of_owner(owner);
}
constexpr wait_kind mutex_kind{"pthread_mutex_lock", false, abandon, describe,
                               ended_by::program,    holder};
constexpr wait_kind trying_kind{"pthread_mutex_lock", false, nullptr};
constexpr wait_kind turn_kind{"turn at a lock", false, nullptr};

// address: of __lock, which the mutex begins with. holder: the coroutine that holds it, 0: a thread.
// __lock is read first: then an owner that is still the same one has yet to unlock it, or is about to
// wake us.
bool may_be_taken(const void *address, uintptr_t holder) {
    const pthread_mutex_t *m = static_cast<const pthread_mutex_t *>(address);
    if (__atomic_load_n(&m->__data.__lock, __ATOMIC_SEQ_CST) == 0)
        return true;
    return holder != 0 && __atomic_load_n(&m->__data.__owner, __ATOMIC_SEQ_CST) !=
                              static_cast<int>(static_cast<uint32_t>(holder));
}

constexpr int64_t first_watch_ns = ns_per_ms / 10;

int wait_and_take(coroutine *co, pthread_mutex_t *m, const clock_limit &limit) {
    back_off pauses(first_watch_ns);
    while (!limit.is_over()) {
        int holder = owner_of(m);
        bool watch = !calls::is_coroutine(holder);
        int r =
            calls::wait_at(mutex_kind, m, may_be_taken, watch ? 0 : static_cast<uint32_t>(holder),
                           watch ? limit.at.within(pauses.next_ns()) : limit.at);
        if (take(co, m))
            return 0;
        if (r == -ENOMEM)
            return ENOMEM;
        if (r == 0)
            pauses = back_off(first_watch_ns);
    }
    return ETIMEDOUT;
}

[[gnu::cold]] int lock_by_trying(coroutine *co, pthread_mutex_t *m, const clock_limit &limit) {
    if (!limit.valid)
        return EINVAL;
    cancel_shield shield(co);
    back_off pauses;
    while (!limit.is_over()) {
        if (park(trying_kind, {.object = m}, limit.at.within(pauses.next_ns())) == -ENOMEM)
            return ENOMEM;
        int r = native_pthread_mutex_trylock(m);
        if (r != EBUSY)
            return r;
    }
    return ETIMEDOUT;
}

[[gnu::noinline]] int lock_contended(coroutine *co, pthread_mutex_t *m, const clock_limit &limit,
                                     const void *caller) {
    if (is_allocator(caller))
        return native_pthread_mutex_lock(m);
    if (!limit.valid)
        return EINVAL;
    cancel_shield shield(co);
    __atomic_add_fetch(&mutex_waiters, 1U, __ATOMIC_SEQ_CST);
    int r = wait_and_take(co, m, limit);
    __atomic_sub_fetch(&mutex_waiters, 1U, __ATOMIC_RELAXED);
    end_turn_at(m);
    if (r != 0)
        calls::wake_at(m, 1); // it may have been the one that was woken last
    return r;
}

bool is_simple(int kind) { return (kind & ~simple_bits) == 0; }

} // namespace

[[gnu::cold]] void let_others_run(coroutine *co) {
    co_env *env = co->env;
    tls_turn_at = nullptr;
    cancel_shield shield(co);
    co->waiting = &turn_kind;
    env->make_ready(co);
    yield_to_caller(env);
    co->waiting = nullptr;
}

int lock_at_once(coroutine *co, pthread_mutex_t *m) {
    int kind = kind_of(m);
    if (CO_UNLIKELY(!is_simple(kind))) {
        int r = native_pthread_mutex_trylock(m);
        return r == EBUSY ? must_wait : r;
    }
    int again = (kind & type_mask) != 0 ? lock_again(co, m, kind, EDEADLK) : -1;
    if (again >= 0)
        return again;
    keep_turn(co, m);
    return CO_LIKELY(take(co, m)) ? 0 : must_wait;
}

int wait_for_mutex(coroutine *co, pthread_mutex_t *m, const clock_limit &limit,
                   const void *caller) {
    return is_simple(kind_of(m)) ? lock_contended(co, m, limit, caller)
                                 : lock_by_trying(co, m, limit);
}

int lock_mutex(coroutine *co, pthread_mutex_t *m, const void *caller) {
    int r = lock_at_once(co, m);
    return CO_LIKELY(r != must_wait) ? r : wait_for_mutex(co, m, {}, caller);
}

int try_mutex(coroutine *co, pthread_mutex_t *m) {
    int kind = kind_of(m);
    if (CO_UNLIKELY(!is_simple(kind)))
        return native_pthread_mutex_trylock(m);
    int again = lock_again(co, m, kind, EBUSY);
    if (again >= 0)
        return again;
    return take(co, m) ? 0 : EBUSY;
}

int unlock_mutex(coroutine *co, pthread_mutex_t *m) {
    int kind = kind_of(m), type = kind & type_mask;
    bool owned = type == type_recursive || type == type_errorcheck;
    // libc's, too: what was locked with hooks off by this type's other owner, the thread.
    if (CO_UNLIKELY(
            !is_simple(kind) || (owned && owner_of(m) != calls::owner_id(co)) ||
            ((kind & elided) && __atomic_load_n(&m->__data.__lock, __ATOMIC_RELAXED) == 0))) {
        int r = native_pthread_mutex_unlock(m);
        after_native_unlock(m);
        return r;
    }
    if (type == type_recursive && --m->__data.__count != 0)
        return 0;
    set_owner(m, 0);
    --m->__data.__nusers;
    san_unlocking(m);
    // From here on it may be gone: whoever gets it may destroy it.
    int was = __atomic_exchange_n(&m->__data.__lock, 0, __ATOMIC_SEQ_CST);
    if (CO_UNLIKELY(was > 1))
        sys::call(SYS_futex, m, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
    if (CO_UNLIKELY(__atomic_load_n(&mutex_waiters, __ATOMIC_SEQ_CST) != 0))
        if (calls::wake_at(m, 1) > 0)
            note_turn(m);
    return 0;
}

void wake_mutex_waiter(const pthread_mutex_t *m) { calls::wake_at(m, 1); }

coroutine *mutex_user(const pthread_mutex_t *m) {
    coroutine *co = running_coroutine();
    if (CO_LIKELY(!co))
        return nullptr;
    return hooks_are_on(family) || owner_of(m) == calls::owner_id(co) ? co : nullptr;
}

int hook_pthread_mutex_lock(pthread_mutex_t *m) {
    if (coroutine *co = mutex_user(m))
        return lock_mutex(co, m, __builtin_return_address(0));
    return native_pthread_mutex_lock(m);
}

int hook_pthread_mutex_trylock(pthread_mutex_t *m) {
    if (coroutine *co = mutex_user(m))
        return try_mutex(co, m);
    return native_pthread_mutex_trylock(m);
}

int hook_pthread_mutex_unlock(pthread_mutex_t *m) {
    if (coroutine *co = mutex_user(m))
        return unlock_mutex(co, m);
    int r = native_pthread_mutex_unlock(m);
    after_native_unlock(m);
    return r;
}

#define CORUN_TIMEDLOCK(name, T)                                                                   \
    CORUN_PTHREAD_NATIVE(int, name, (pthread_mutex_t * m, const T *at), (m, at), ENOSYS);          \
    CORUN_WEAK_HOOK(name);                                                                         \
    int hook_##name(pthread_mutex_t *m, const T *at) {                                             \
        if (coroutine *co = mutex_user(m))                                                         \
            return lock_mutex_until(co, m, CLOCK_REALTIME, at, __builtin_return_address(0));       \
        return native_##name(m, at);                                                               \
    }
#define CORUN_CLOCKLOCK(name, T)                                                                   \
    CORUN_PTHREAD_NATIVE(int, name, (pthread_mutex_t * m, int clock, const T *at), (m, clock, at), \
                         ENOSYS);                                                                  \
    CORUN_WEAK_HOOK(name);                                                                         \
    int hook_##name(pthread_mutex_t *m, int clock, const T *at) {                                  \
        coroutine *co = mutex_user(m);                                                             \
        if (!co)                                                                                   \
            return native_##name(m, clock, at);                                                    \
        if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC)                                   \
            return EINVAL;                                                                         \
        return lock_mutex_until(co, m, clock, at, __builtin_return_address(0));                    \
    }
CORUN_TIMEDLOCK(pthread_mutex_timedlock, timespec)
CORUN_CLOCKLOCK(pthread_mutex_clocklock, timespec)
const mutex_functions hooked_mutex{hook_pthread_mutex_lock, hook_pthread_mutex_trylock,
                                   hook_pthread_mutex_unlock, hook_pthread_mutex_timedlock};
#if defined(__i386__)
CORUN_TIMEDLOCK(__pthread_mutex_timedlock64, timespec64)
CORUN_CLOCKLOCK(__pthread_mutex_clocklock64, timespec64)
#endif

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(pthread_mutex_lock, P),
    CORUN_ENTRY(pthread_mutex_trylock, P),
    CORUN_ENTRY(pthread_mutex_unlock, P),
    CORUN_WEAK_ENTRY(pthread_mutex_timedlock, P),
    CORUN_WEAK_ENTRY(pthread_mutex_clocklock, P),
#if defined(__i386__)
    CORUN_WEAK_ENTRY(__pthread_mutex_timedlock64, P),
    CORUN_WEAK_ENTRY(__pthread_mutex_clocklock64, P),
#endif
};

} // namespace

CORUN_TABLE(mutex_table, entries);

} // namespace corun::symbols
