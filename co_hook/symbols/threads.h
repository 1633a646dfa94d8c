// SPDX-License-Identifier: Apache-2.0
// What the files of the family CO_HOOK_THREADS share: mutexes as a coroutine takes them (a condition
// gives one up and takes it again, C11's are the same objects), and libc's functions behind them.
//
// These calls are no system calls, so they are written here and not in calls/.
//
//   - libc's layouts stay, and a plain thread runs libc's own function on them, so that it, or code
//     with hooks off, may be on the other side of any object. After whatever releases something it
//     calls wake_at for the coroutines, which the kernel does not know.
//   - In a coroutine the owner is the coroutine (calls/owner.h).
//   - Locking is no cancellation point, as in POSIX: the headers declare it as not throwing, so it
//     could not be unwound, and destructors lock. A cancel that comes meanwhile acts at the next wait.
#pragma once

#include "co_hook/calls/address_wait.h"
#include "co_hook/calls/back_off.h"
#include "co_hook/calls/clock_limit.h"
#include "co_hook/calls/owner.h"
#include "co_hook/symbols/hook.h"

#include <dlfcn.h>
#include <pthread.h>

namespace corun::symbols {

using calls::back_off;
using calls::clock_limit;
using calls::limit_of;

// Nothing that the running coroutine waits for in this scope is left because of a cancel.
class cancel_shield {
  public:
    explicit cancel_shield(coroutine *co)
        : co_(co), unwinding_(co->has(flag_unwinding)), by_errno_(co->has(flag_cancel_errno)) {
        co->set(flag_unwinding);
        co->clear(flag_cancel_errno);
    }
    ~cancel_shield() {
        if (!unwinding_)
            co_->clear(flag_unwinding);
        if (by_errno_)
            co_->set(flag_cancel_errno);
    }
    cancel_shield(const cancel_shield &) = delete;
    cancel_shield &operator=(const cancel_shield &) = delete;

  private:
    coroutine *co_;
    bool unwinding_, by_errno_;
};

// Whoever unlocks may lock again before the one that it has woken runs, for ever if nothing else lets
// that one run. So the thread remembers on whose account somebody was woken, and its next locker of
// the same object goes to the back of the ready queue first.
extern constinit thread_local const void *tls_turn_at __attribute__((visibility("hidden")));
void let_others_run(coroutine *co); // cold
inline void keep_turn(coroutine *co, const void *object) {
    if (CO_UNLIKELY(tls_turn_at == object))
        let_others_run(co);
}
inline void note_turn(const void *object) { tls_turn_at = object; }
inline void end_turn_at(const void *object) {
    if (tls_turn_at == object)
        tls_turn_at = nullptr;
}

// mutex.cpp. In a coroutine; 0 or an errno value. caller: the return address, see is_allocator.
int lock_mutex(coroutine *co, pthread_mutex_t *m, const void *caller);
inline constexpr int must_wait = -1;
int lock_at_once(coroutine *co, pthread_mutex_t *m); // or must_wait
int wait_for_mutex(coroutine *co, pthread_mutex_t *m, const clock_limit &limit, const void *caller);
// The time is read only where it is waited for, as libc does it.
template <class T>
int lock_mutex_until(coroutine *co, pthread_mutex_t *m, int clock, const T *at,
                     const void *caller) {
    int r = lock_at_once(co, m);
    return r == must_wait ? wait_for_mutex(co, m, limit_of(clock, at), caller) : r;
}
int try_mutex(coroutine *co, pthread_mutex_t *m);
int unlock_mutex(coroutine *co, pthread_mutex_t *m);
// The running coroutine, if m is to be treated as a coroutine's; nullptr: libc's function it is.
coroutine *mutex_user(const pthread_mutex_t *m);

// allocator.cpp. Does this code belong to the object that malloc comes from, if that is neither libc nor the program?
bool is_allocator(const void *code);

extern unsigned mutex_waiters __attribute__((visibility("hidden"))); // atomic: coroutines
void wake_mutex_waiter(const pthread_mutex_t *m);
// After libc has unlocked it, or before libc is going to, inside pthread_cond_wait.
inline void after_native_unlock(const pthread_mutex_t *m) {
    if (CO_UNLIKELY(__atomic_load_n(&mutex_waiters, __ATOMIC_SEQ_CST) != 0))
        wake_mutex_waiter(m);
}

// cond.cpp
int wait_on_cond(coroutine *co, pthread_cond_t *cond, pthread_mutex_t *m, const clock_limit &limit);
// Wakes n of all that wait; native is libc's function for that.
int wake_cond(pthread_cond_t *cond, int n, int (*native)(pthread_cond_t *));

// Our functions by pointers, for C11's where libc's cannot be found (-static).
struct mutex_functions {
    int (*lock)(pthread_mutex_t *), (*trylock)(pthread_mutex_t *), (*unlock)(pthread_mutex_t *);
    int (*timedlock)(pthread_mutex_t *, const timespec *);
};
struct cond_functions {
    int (*signal)(pthread_cond_t *), (*broadcast)(pthread_cond_t *);
    int (*wait)(pthread_cond_t *, pthread_mutex_t *);
    int (*timedwait)(pthread_cond_t *, pthread_mutex_t *, const timespec *);
};
extern const mutex_functions hooked_mutex;
extern const cond_functions hooked_cond;

// join.cpp: the result, as libc's function gives it
int join_thread(pthread_t thread, void **result, const clock_limit &limit);

// libc's function before the constructor has found it: other objects start earlier, and so do
// allocators, which dlsym calls. The names that those need libc has a second time, with two
// underscores. With two or three a -static program has them, where its own name is ours (if it is
// linked at all: -Wl,-u,___pthread_cond_wait).
template <class F> [[gnu::always_inline]] inline F *find_next(const char *name) {
    return reinterpret_cast<F *>(dlsym(RTLD_NEXT, name));
}

} // namespace corun::symbols

#define CORUN_PTHREAD_NATIVE(result, name, parameters, arguments, otherwise)                       \
    extern "C" __attribute__((weak)) result __##name parameters;                                   \
    extern "C" __attribute__((weak)) result ___##name parameters;                                  \
    CO_NO_SANITIZE static result find_##name parameters {                                          \
        if (&__##name)                                                                             \
            return __##name arguments;                                                             \
        auto *found = &___##name ? &___##name : find_next<result parameters>(#name);               \
        return found ? found arguments : otherwise;                                                \
    }                                                                                              \
    static result(*native_##name) parameters = find_##name;                                        \
    CORUN_EXPORTED result hook_##name parameters __asm__(#name)
