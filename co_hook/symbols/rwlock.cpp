// SPDX-License-Identifier: Apache-2.0
// Read-write locks of pthreads. The state is libc's and changes by libc's own functions alone: a
// coroutine tries (tryrdlock, trywrlock), waits by wait_at on the lock's address, and tries again;
// whoever unlocks wakes all coroutines that wait there.
//
// libc keeps the writer's thread id in __cur_writer, by which unlock knows a writer from a reader, and
// rdlock and wrlock find out that the caller holds it for writing (EDEADLK). A coroutine that writes
// puts its own number there (calls/owner.h), and libc's back for the moment of unlock.
//
// PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP: reading coroutines wait while a coroutine waits to
// write; with libc's other kinds readers come first, as in libc. A process-shared lock is tried again
// and again; its owner is the thread.
#include "co_hook/symbols/threads.h"
#include "co_hook/symbols/time_types.h"

#include <climits>

namespace corun::symbols {

#define CORUN_RWLOCK_NATIVE(name)                                                                  \
    CORUN_PTHREAD_NATIVE(int, name, (pthread_rwlock_t * rw), (rw), ENOSYS)
CORUN_RWLOCK_NATIVE(pthread_rwlock_rdlock);
CORUN_RWLOCK_NATIVE(pthread_rwlock_wrlock);
CORUN_RWLOCK_NATIVE(pthread_rwlock_tryrdlock);
CORUN_RWLOCK_NATIVE(pthread_rwlock_trywrlock);
CORUN_RWLOCK_NATIVE(pthread_rwlock_unlock);

namespace {

constexpr unsigned family = CO_HOOK_THREADS;

unsigned waiters; // atomic: coroutines that wait for any of these locks

// The thread's id as libc last wrote it into __cur_writer.
constinit thread_local int tls_thread_id;

int writer_of(const pthread_rwlock_t *rw) {
    return __atomic_load_n(&rw->__data.__cur_writer, __ATOMIC_RELAXED);
}
void set_writer(pthread_rwlock_t *rw, int writer) {
    __atomic_store_n(&rw->__data.__cur_writer, writer, __ATOMIC_RELAXED);
}
bool is_shared(const pthread_rwlock_t *rw) { return rw->__data.__shared != 0; }
bool writers_first(const pthread_rwlock_t *rw) {
    return rw->__data.__flags == PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP;
}

// Coroutines that wait to write, by address; where two locks meet, readers wait a little longer.
constexpr unsigned table_bits = 6;
unsigned waiting_writers[1U << table_bits]; // atomic
unsigned *writers_at(const void *rw) {
    return &waiting_writers[(reinterpret_cast<uintptr_t>(rw) >> 4) % (1U << table_bits)];
}

// __readers: bit 0 a phase of writing, bit 1 a writer has it or waits for it first, from bit 3 on the readers.
enum : unsigned { write_phase = 1, write_locked = 2, reader_shift = 3 };
unsigned state_of(const pthread_rwlock_t *rw) {
    return __atomic_load_n(&rw->__data.__readers, __ATOMIC_SEQ_CST);
}

bool must_let_writers_in(const pthread_rwlock_t *rw) {
    return writers_first(rw) && state_of(rw) >> reader_shift != 0 &&
           __atomic_load_n(writers_at(rw), __ATOMIC_SEQ_CST) != 0;
}

int try_read(coroutine *, pthread_rwlock_t *rw) {
    return must_let_writers_in(rw) ? EBUSY : native_pthread_rwlock_tryrdlock(rw);
}

int try_write(coroutine *co, pthread_rwlock_t *rw) {
    int r = native_pthread_rwlock_trywrlock(rw);
    if (r == 0 && !is_shared(rw)) {
        tls_thread_id = writer_of(rw);
        set_writer(rw, calls::owner_id(co));
    }
    return r;
}

// Would the try succeed? As libc's functions decide it.
bool may_read(const void *address, uintptr_t) {
    const pthread_rwlock_t *rw = static_cast<const pthread_rwlock_t *>(address);
    if (must_let_writers_in(rw))
        return false;
    unsigned state = state_of(rw);
    if (state & write_phase)
        return !(state & write_locked);
    return !(state & write_locked) || !writers_first(rw);
}
bool may_write(const void *address, uintptr_t) {
    const pthread_rwlock_t *rw = static_cast<const pthread_rwlock_t *>(address);
    unsigned state = state_of(rw);
    if (state & write_locked)
        return false;
    return state >> reader_shift == 0 ||
           (rw->__data.__flags != PTHREAD_RWLOCK_PREFER_READER_NP && (state & write_phase) != 0);
}

struct way {
    int (*attempt)(coroutine *co, pthread_rwlock_t *rw);
    bool (*may)(const void *address, uintptr_t);
    bool writes;
    wait_kind kind;
};

void enter(const void *rw, bool writes) {
    __atomic_add_fetch(&waiters, 1U, __ATOMIC_SEQ_CST);
    if (writes)
        __atomic_add_fetch(writers_at(rw), 1U, __ATOMIC_SEQ_CST);
}
void leave(const void *rw, bool writes) {
    __atomic_sub_fetch(&waiters, 1U, __ATOMIC_RELAXED);
    if (!writes)
        return;
    __atomic_sub_fetch(writers_at(rw), 1U, __ATOMIC_SEQ_CST);
    calls::wake_at(rw, INT_MAX); // readers that let it go first
}
void abandon_reader(coroutine *co) {
    calls::abandon_address_wait(co);
    leave(co->subject.object, false);
}
void abandon_writer(coroutine *co) {
    calls::abandon_address_wait(co);
    leave(co->subject.object, true);
}
constexpr way reading{try_read,
                      may_read,
                      false,
                      {"pthread_rwlock_rdlock", false, abandon_reader, nullptr, ended_by::program}};
constexpr way writing{try_write,
                      may_write,
                      true,
                      {"pthread_rwlock_wrlock", false, abandon_writer, nullptr, ended_by::program}};
constexpr wait_kind trying_kind{"pthread_rwlock", false, nullptr};

int wait_and_take(coroutine *co, pthread_rwlock_t *rw, const way &how, const clock_limit &limit) {
    while (!limit.is_over()) {
        int waited = calls::wait_at(how.kind, rw, how.may, 0, limit.at);
        int r = how.attempt(co, rw);
        if (r != EBUSY)
            return r;
        if (waited == -ENOMEM)
            return ENOMEM;
    }
    return ETIMEDOUT;
}

int try_on(coroutine *co, pthread_rwlock_t *rw, const way &how, const clock_limit &limit) {
    back_off pauses;
    while (!limit.is_over()) {
        if (park(trying_kind, {.object = rw}, limit.at.within(pauses.next_ns())) == -ENOMEM)
            return ENOMEM;
        int r = how.attempt(co, rw);
        if (r != EBUSY)
            return r;
    }
    return ETIMEDOUT;
}

int lock(coroutine *co, pthread_rwlock_t *rw, const way &how, const clock_limit &limit) {
    if (CO_UNLIKELY(!limit.valid))
        return EINVAL;
    if (writer_of(rw) == calls::owner_id(co))
        return EDEADLK;
    keep_turn(co, rw);
    int r = how.attempt(co, rw);
    if (CO_LIKELY(r != EBUSY))
        return r;
    cancel_shield shield(co);
    if (is_shared(rw))
        return try_on(co, rw, how, limit);
    enter(rw, how.writes);
    r = wait_and_take(co, rw, how, limit);
    leave(rw, how.writes);
    end_turn_at(rw);
    return r;
}

void wake_waiters(const pthread_rwlock_t *rw, bool in_coroutine) {
    if (CO_LIKELY(__atomic_load_n(&waiters, __ATOMIC_SEQ_CST) == 0))
        return;
    if (calls::wake_at(rw, INT_MAX) > 0 && in_coroutine)
        note_turn(rw);
}

// The running coroutine, if the lock is to be treated as a coroutine's.
coroutine *user_of(const pthread_rwlock_t *rw) {
    coroutine *co = running_coroutine();
    if (CO_LIKELY(!co))
        return nullptr;
    return hooks_are_on(family) || writer_of(rw) == calls::owner_id(co) ? co : nullptr;
}

// A writer that gives up lets readers go on whom it kept waiting.
int after_native_timed(const pthread_rwlock_t *rw, int result) {
    if (result != 0)
        wake_waiters(rw, false);
    return result;
}

} // namespace

int hook_pthread_rwlock_rdlock(pthread_rwlock_t *rw) {
    if (coroutine *co = user_of(rw))
        return lock(co, rw, reading, {});
    return native_pthread_rwlock_rdlock(rw);
}

int hook_pthread_rwlock_wrlock(pthread_rwlock_t *rw) {
    if (coroutine *co = user_of(rw))
        return lock(co, rw, writing, {});
    return native_pthread_rwlock_wrlock(rw);
}

int hook_pthread_rwlock_tryrdlock(pthread_rwlock_t *rw) {
    return native_pthread_rwlock_tryrdlock(rw);
}

int hook_pthread_rwlock_trywrlock(pthread_rwlock_t *rw) {
    if (coroutine *co = user_of(rw))
        return try_write(co, rw);
    return native_pthread_rwlock_trywrlock(rw);
}

int hook_pthread_rwlock_unlock(pthread_rwlock_t *rw) {
    coroutine *co = user_of(rw);
    if (co && writer_of(rw) == calls::owner_id(co))
        set_writer(rw, tls_thread_id);
    int r = native_pthread_rwlock_unlock(rw);
    wake_waiters(rw, co != nullptr);
    return r;
}

#define CORUN_TIMED_RWLOCK(name, T, how)                                                           \
    CORUN_PTHREAD_NATIVE(int, name, (pthread_rwlock_t * rw, const T *at), (rw, at), ENOSYS);       \
    CORUN_WEAK_HOOK(name);                                                                         \
    int hook_##name(pthread_rwlock_t *rw, const T *at) {                                           \
        if (coroutine *co = user_of(rw))                                                           \
            return lock(co, rw, how, limit_of(CLOCK_REALTIME, at));                                \
        return after_native_timed(rw, native_##name(rw, at));                                      \
    }
#define CORUN_CLOCK_RWLOCK(name, T, how)                                                           \
    CORUN_PTHREAD_NATIVE(int, name, (pthread_rwlock_t * rw, int clock, const T *at),               \
                         (rw, clock, at), ENOSYS);                                                 \
    CORUN_WEAK_HOOK(name);                                                                         \
    int hook_##name(pthread_rwlock_t *rw, int clock, const T *at) {                                \
        if (coroutine *co = user_of(rw))                                                           \
            return lock(co, rw, how, limit_of(clock, at));                                         \
        return after_native_timed(rw, native_##name(rw, clock, at));                               \
    }
CORUN_TIMED_RWLOCK(pthread_rwlock_timedrdlock, timespec, reading)
CORUN_TIMED_RWLOCK(pthread_rwlock_timedwrlock, timespec, writing)
CORUN_CLOCK_RWLOCK(pthread_rwlock_clockrdlock, timespec, reading)
CORUN_CLOCK_RWLOCK(pthread_rwlock_clockwrlock, timespec, writing)
#if defined(__i386__)
CORUN_TIMED_RWLOCK(__pthread_rwlock_timedrdlock64, timespec64, reading)
CORUN_TIMED_RWLOCK(__pthread_rwlock_timedwrlock64, timespec64, writing)
CORUN_CLOCK_RWLOCK(__pthread_rwlock_clockrdlock64, timespec64, reading)
CORUN_CLOCK_RWLOCK(__pthread_rwlock_clockwrlock64, timespec64, writing)
#endif

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(pthread_rwlock_rdlock, P),
    CORUN_ENTRY(pthread_rwlock_wrlock, P),
    CORUN_ENTRY(pthread_rwlock_tryrdlock, P),
    CORUN_ENTRY(pthread_rwlock_trywrlock, P),
    CORUN_ENTRY(pthread_rwlock_unlock, P),
    CORUN_WEAK_ENTRY(pthread_rwlock_timedrdlock, P),
    CORUN_WEAK_ENTRY(pthread_rwlock_timedwrlock, P),
    CORUN_WEAK_ENTRY(pthread_rwlock_clockrdlock, P),
    CORUN_WEAK_ENTRY(pthread_rwlock_clockwrlock, P),
#if defined(__i386__)
    CORUN_WEAK_ENTRY(__pthread_rwlock_timedrdlock64, P),
    CORUN_WEAK_ENTRY(__pthread_rwlock_timedwrlock64, P),
    CORUN_WEAK_ENTRY(__pthread_rwlock_clockrdlock64, P),
    CORUN_WEAK_ENTRY(__pthread_rwlock_clockwrlock64, P),
#endif
};

} // namespace

CORUN_TABLE(rwlock_table, entries);

} // namespace corun::symbols
