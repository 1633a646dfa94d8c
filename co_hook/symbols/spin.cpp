// SPDX-License-Identifier: Apache-2.0
// Giving way: spin locks, whose holder may be a coroutine of this thread, and the yielding functions.
// pthread_spin_trylock and unlock are libc's own: who finds the lock taken comes back by itself.
#include "co_hook/calls/yield.h"
#include "co_hook/symbols/hook.h"

#include <pthread.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_THREADS;

int spin_natively(pthread_spinlock_t *lock) {
    while (pthread_spin_trylock(lock) != 0)
        __builtin_ia32_pause();
    return 0;
}

int yield_in_turns() {
    calls::yield_turn();
    return 0;
}

int spin_in_turns(pthread_spinlock_t *lock) {
    calls::spin_pauses pauses;
    while (pthread_spin_trylock(lock) != 0)
        pauses.next();
    return 0;
}

} // namespace

CORUN_NATIVE(int, pthread_spin_lock, (pthread_spinlock_t * lock), spin_natively(lock));
int hook_pthread_spin_lock(pthread_spinlock_t *lock) {
    return hooks_are_on(family) ? spin_in_turns(lock) : native_pthread_spin_lock(lock);
}

CORUN_HOOK_IF(hooks_are_on_for_program, int, sched_yield, (), (), sys::call(SYS_sched_yield),
              yield_in_turns())
CORUN_HOOK_ALIAS(int, __sched_yield, sched_yield, ());
CORUN_HOOK_ALIAS(int, pthread_yield, sched_yield, ());

CORUN_NATIVE(void, thrd_yield, (), (void)sys::call(SYS_sched_yield));
void hook_thrd_yield() {
    if (!hooks_are_on(family))
        return native_thrd_yield();
    calls::yield_turn();
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(pthread_spin_lock, P),   CORUN_ENTRY(sched_yield, P),
    CORUN_ALIAS_ENTRY(__sched_yield, P), CORUN_ALIAS_ENTRY(pthread_yield, P),
    CORUN_ENTRY(thrd_yield, P),
};

} // namespace

CORUN_TABLE(spin_table, entries);

} // namespace corun::symbols
