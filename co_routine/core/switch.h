// SPDX-License-Identifier: Apache-2.0
// From one coroutine to another: the only caller of coctx_swap.
//
// What travels with a coroutine: registers and control words (co_ctx), errno, the C++ exception
// state, and on a shared stack its bytes (and what a sanitizer knows: watched.h). Who copies those:
//
//     leaver stands on          newcomer's home occupied by      copied by
//     another stack             a third                          the leaver, before it swaps
//     the newcomer's home       (the leaver itself)              the courier, on a stack of its own
//     anything                  the newcomer (never left)        nobody
#pragma once

#include "co_routine/core/env.h"

namespace corun {

// Brings the newcomer's bytes in and goes there. Out of line: only where its home does not admit it.
// from: nullptr when the leaver has ended; standing_on: the shared stack it stands on, if any.
void switch_to_absent(co_env *env, void **leaver_regs, coroutine *from, shared_stack *standing_on,
                      coroutine *to);

inline void exchange_thread_state(co_env *env, coroutine *from, coroutine *to) {
    from->saved_errno = *env->errno_at;
    *env->errno_at = to->saved_errno;
    if (eh_globals *eh = env->eh) {
        from->caught_exceptions = eh->caught_exceptions;
        from->uncaught_exceptions = eh->uncaught_exceptions;
        eh->caught_exceptions = to->caught_exceptions;
        eh->uncaught_exceptions = to->uncaught_exceptions;
    }
}

// Suspends from, the running coroutine, and goes to to. Returns when somebody switches back.
//
// Nothing is left to do after the swap, so it is a tail call here and in the functions that end with
// this one: the processor predicts a ret to go back where the last call came from, which after a
// swap is another coroutine, and each wrong guess costs more than the whole switch (11.5 ns against
// 2.6, measured). What must be done on return is done by the one who switches back, beforehand.
//
// swap: coctx_swap_alike_regs where to has most probably stopped in the same call as from.
inline void switch_to(co_env *env, coroutine *from, coroutine *to,
                      void (*swap)(void **from, void **to) = coctx_swap_regs) {
    env->running = to;
    ++env->counts.switches;
    exchange_thread_state(env, from, to);
    shared_stack *home = to->tenancy.home;
    if (CO_UNLIKELY(home && home->admitted != to))
        return switch_to_absent(env, from->regs, from, from->tenancy.home, to);
    swap(from->regs, to->regs);
}

// The same for one that has ended: its memory may be free already, so nothing of it is touched.
[[noreturn]] void switch_for_good(co_env *env, shared_stack *standing_on, coroutine *to);

// The one whose turn it is again. The root keeps its own state while its loop runs the others.
inline void mark_running(coroutine *co) {
    if (CO_LIKELY(co->state == co_state::resuming))
        co->state = co_state::running;
}

// Runs co, which is fresh, ready, yielded or parked, until it yields, parks or ends.
inline void resume(co_env *env, coroutine *co) {
    coroutine *self = env->running;
    co->caller = self;
    co->state = co_state::running;
    self->state = co_state::resuming;
    switch_to(env, self, co);
}

// Back to the one that resumed the running coroutine, which has its new state already.
inline void yield_to_caller(co_env *env) {
    coroutine *self = env->running, *to = self->caller;
    self->caller = nullptr;
    mark_running(to);
    switch_to(env, self, to);
}

} // namespace corun
