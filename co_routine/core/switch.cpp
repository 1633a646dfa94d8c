// SPDX-License-Identifier: Apache-2.0
#include "co_routine/core/switch.h"

#include "co_routine/base/check.h"
#include "co_routine/core/own_range.h"
#include "co_routine/core/watched.h"

#include <new>

namespace corun {
namespace {

constexpr size_t courier_stack_bytes = 32 * 1024;

void note_high_water(coroutine *co) {
    if (co->saved_high_water < co->tenancy.saved_bytes)
        co->saved_high_water = co->tenancy.saved_bytes;
}

// With CO_DEBUG_STACKS a tenant has a range of its own: it is shut and opened instead of copied.
bool has_own_range(const coroutine *co) { return co->pool != nullptr; }

void take_out(co_env *env, coroutine *co, copy_counts *counts,
              decltype(save_live_bytes) *save = save_live_bytes) {
    bool saved = save(&co->tenancy, &co->loose_saves, static_cast<char *>(coctx_sp(co->regs)),
                      co->tenancy.home->high, &env->slab, counts);
    CO_CHECK(saved, "no memory to save the stack of %s", description(co).text);
    note_high_water(co);
}

void bring_in_watched(co_env *env, coroutine *to) {
    shared_stack *home = to->tenancy.home;
    copy_counts counts;
    if (coroutine *out = home->occupant) {
        if (has_own_range(out))
            shut(out->tenancy.range);
        else
            take_out(env, out, &counts, save_watched_bytes);
    }
    if (has_own_range(to))
        open(to->tenancy.range);
    else
        restore_watched_bytes(&to->tenancy, home->low, home->high, &counts);
    env->copies.add(counts);
    home->occupant = to;
    home->admitted = has_fibers() ? nullptr : to;
}

// Called on a stack that is not to's home.
void bring_in(co_env *env, coroutine *to) {
    shared_stack *home = to->tenancy.home;
    copy_counts counts; // in registers; env's are written once
    if (home->occupant)
        take_out(env, home->occupant, &counts);
    restore_live_bytes(&to->tenancy, home->high, &counts);
    env->copies.add(counts);
    home->occupant = home->admitted = to;
}

// The courier's whole life: it is gone to when somebody must be brought in whose home is the stack
// the leaver stands on, and goes on to that one.
void *courier_main(void *env_argument, void *) {
    co_env *env = static_cast<co_env *>(env_argument);
    for (;;) {
        if (CO_UNLIKELY(env->courier_to->tenancy.home->watched)) {
            arrive_watched(env->courier);
            bring_in_watched(env, env->courier_to);
            leave_watched(env->courier, env->courier_to);
        } else {
            bring_in(env, env->courier_to);
        }
        coctx_swap_regs(env->courier->regs, env->courier_to->regs);
    }
}

coroutine *courier_of(co_env *env) {
    if (env->courier)
        return env->courier;
    coroutine *co = place_on_private_stack(env, courier_stack_bytes, page_size);
    CO_CHECK(co, "no memory for the stack that copies shared stacks");
    coctx_make_regs(co->regs, co->stack_low, static_cast<size_t>(co->high_end() - co->stack_low),
                    courier_main, env, nullptr);
    if (has_fibers()) {
        co->extra = new (co->stack_low)
            co_extra; // it stays as long as the thread: not among the slab's blocks
        watch(co);
    }
    env->courier = co;
    return co;
}

void switch_watched(co_env *env, void **leaver_regs, coroutine *from, shared_stack *standing_on,
                    coroutine *to) {
    shared_stack *home = to->shared_home();
    if (home && home->occupant != to) {
        if (standing_on != home) {
            bring_in_watched(env, to);
        } else {
            env->courier_to = to;
            to = courier_of(env);
        }
    }
    leave_watched(from, to);
    coctx_swap_regs(leaver_regs, to->regs);
    arrive_watched(from);
}

} // namespace

void switch_to_absent(co_env *env, void **leaver_regs, coroutine *from, shared_stack *standing_on,
                      coroutine *to) {
    shared_stack *home = to->tenancy.home;
    if (CO_UNLIKELY(home->watched))
        return switch_watched(env, leaver_regs, from, standing_on, to);
    if (standing_on != home) {
        bring_in(env, to);
    } else {
        env->courier_to = to;
        to = courier_of(env);
    }
    coctx_swap_regs(leaver_regs, to->regs);
}

void switch_for_good(co_env *env, shared_stack *standing_on, coroutine *to) {
    mark_running(to);
    env->running = to;
    ++env->counts.switches;
    *env->errno_at = to->saved_errno;
    if (env->eh) {
        env->eh->caught_exceptions = to->caught_exceptions;
        env->eh->uncaught_exceptions = to->uncaught_exceptions;
    }
    shared_stack *home = to->tenancy.home;
    if (!home || home->admitted == to)
        coctx_swap_regs(env->discarded_regs, to->regs);
    else
        switch_to_absent(env, env->discarded_regs, nullptr, standing_on, to);
    __builtin_unreachable();
}

} // namespace corun
