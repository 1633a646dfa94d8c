// SPDX-License-Identifier: Apache-2.0
// In libcorun.a alone, for programs linked with -static -Wl,-u,co_static: strong references to what
// libc.a has of its functions under internal names, see static_names.h and threads.h.
#include "co_hook/symbols/static_names.h"

#define CORUN_STATIC_THREADS(X)                                                                    \
    X(___pthread_mutex_lock)                                                                       \
    X(___pthread_mutex_trylock)                                                                    \
    X(___pthread_mutex_unlock)                                                                     \
    X(___pthread_mutex_timedlock)                                                                  \
    X(___pthread_mutex_clocklock)                                                                  \
    X(___pthread_cond_signal)                                                                      \
    X(___pthread_cond_broadcast)                                                                   \
    X(___pthread_cond_wait)                                                                        \
    X(___pthread_cond_timedwait)                                                                   \
    X(___pthread_cond_clockwait)                                                                   \
    X(___pthread_rwlock_rdlock)                                                                    \
    X(___pthread_rwlock_wrlock)                                                                    \
    X(___pthread_rwlock_unlock)                                                                    \
    X(___pthread_rwlock_tryrdlock)                                                                 \
    X(___pthread_rwlock_trywrlock)                                                                 \
    X(___pthread_rwlock_timedrdlock)                                                               \
    X(___pthread_rwlock_timedwrlock)                                                               \
    X(___pthread_rwlock_clockrdlock)                                                               \
    X(___pthread_rwlock_clockwrlock)                                                               \
    X(___pthread_join)                                                                             \
    X(___pthread_clockjoin_np)                                                                     \
    X(___pthread_timedjoin_np)                                                                     \
    X(__pthread_tryjoin_np)                                                                        \
    X(___pthread_key_create)                                                                       \
    X(___pthread_key_delete)                                                                       \
    X(___pthread_getspecific)                                                                      \
    X(___pthread_setspecific)

#define DECLARE(internal) extern "C" void internal();
#define DECLARE_PAIR(name, internal) extern "C" void internal();
CORUN_STATIC_THREADS(DECLARE)
CORUN_STATIC_NAMES(DECLARE_PAIR)
// Whose hooks are weak: libc's own take their place.
extern "C" void freeaddrinfo(), setlogmask();

#define ADDRESS(internal) internal,
#define ADDRESS_PAIR(name, internal) internal,
extern "C" {
extern __attribute__((visibility("default"))) void (*const co_static[])();
void (*const co_static[])() = {
    CORUN_STATIC_THREADS(ADDRESS) CORUN_STATIC_NAMES(ADDRESS_PAIR) freeaddrinfo, setlogmask};
}
