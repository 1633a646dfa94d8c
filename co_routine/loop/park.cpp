// SPDX-License-Identifier: Apache-2.0
#include "co_routine/loop/park.h"

#include "co_routine/core/cancel.h"
#include "co_routine/core/switch.h"
#include "co_routine/loop/inbox.h"
#include "co_routine/loop/loop.h"

#include <cerrno>

namespace corun {
namespace {

// The running coroutine has parked: on to the next that is ready, if the loop would go there now, else
// to whoever resumed it. Half the switches; and the next one has mostly parked in the same call, so the
// processor guesses right where it returns to (80 ns of a hand-over from one futex to another).
void give_way(co_env *env, loop *l) {
    coroutine *self = env->running, *next = env->ready_first;
    bool is_loops = self->caller == &env->root && l->turn_left > 0;
    bool is_next = is_loops && next && next->state == co_state::ready;
    // Who wants the stack we stand on is brought in by the loop, without a courier.
    if (is_next && (!next->shared_home() || next->tenancy.home != self->tenancy.home)) {
        --l->turn_left;
        env->pop_ready();
        begin_turn_of(env, next);
        self->caller = nullptr;
        switch_to(env, self, next, coctx_swap_alike_regs);
    } else {
        yield_to_caller(env);
    }
}

} // namespace

int park(const wait_kind &kind, wait_subject subject, int64_t deadline_ns) {
    co_env *env = tls_env;
    coroutine *co = env->running;
    if (must_leave_waits(co))
        return -ECANCELED;
    loop *l = loop_of(env);
    if (CO_UNLIKELY(!l))
        return -ENOMEM;
    if (deadline_ns != no_deadline && !l->timers.add(co, deadline_ns))
        return -ENOMEM;
    co->waiting = &kind;
    co->subject = subject;
    co->deadline_ns = deadline_ns;
    co->state = co_state::parked;
    if (CO_LIKELY(!co->has(flag_queued))) // else ready_next is in use
        co->parked_at_cycles = l->turn_at_cycles;
    if (CO_LIKELY(co != &env->root)) {
        give_way(env, l);
    } else {
        while (co->state == co_state::parked)
            loop_turn(env, no_deadline);
        co->state = co_state::running;
    }
    co->waiting = nullptr;
    if (co->timer_index != no_timer)
        l->timers.remove(co);
    bool timed_out = co->take(flag_timed_out);
    if (must_leave_waits(co)) // also when the time was over just before: nothing more is tried
        return -ECANCELED;
    return timed_out ? -ETIMEDOUT : 0;
}

void unpark(coroutine *co) {
    if (co->env != tls_env)
        inbox_post(co, pending_unpark);
    else if (co->state == co_state::parked)
        co->env->make_ready(co);
}

} // namespace corun
