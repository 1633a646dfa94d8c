// SPDX-License-Identifier: Apache-2.0
// co_get_stats: the thread's counters, and a walk over its coroutines for what is true now.
#include "co_routine/core/env.h"
#include "co_routine/loop/loop.h"

#include <cerrno>

using namespace corun;

namespace {

void count_state(co_stats *out, const coroutine *co) {
    switch (co->state) {
    case co_state::fresh:
        ++out->now_fresh;
        break;
    case co_state::ready:
        ++out->now_ready;
        break;
    case co_state::running:
    case co_state::resuming:
        ++out->now_running;
        break;
    case co_state::yielded:
        ++out->now_yielded;
        break;
    case co_state::parked:
        ++out->now_parked;
        break;
    case co_state::ended:
        if (!co->has(flag_doomed)) // released already; its memory waits for a queue
            ++out->now_ended;
        break;
    }
}

// Shared stacks, the tenants' own ranges of CO_DEBUG_STACKS and the courier's stack come from the
// same pools as private stacks: they are taken out of the count.
void count_stacks(co_stats *out, const co_env *env) {
    uint64_t not_private = env->courier ? 1 : 0;
    for (size_t i = 0; i < env->pools.size(); ++i) {
        const stack_counts &c = env->pools[i]->counts();
        out->stacks += c.mapped;
        out->stacks_in_use += c.in_use;
        out->stacks_unguarded += c.unguarded;
        out->bytes_mapped += c.bytes_mapped;
    }
    for (size_t i = 0; i < env->shared.size(); ++i) {
        const stShareStack_t *group = env->shared[i];
        not_private += static_cast<uint64_t>(group->count);
        if (group->range_pool)
            not_private += group->tenants;
    }
    out->stacks -= not_private;
    out->stacks_in_use -= not_private;
}

} // namespace

int co_get_stats(co_stats *out) {
    if (!out)
        return EINVAL;
    *out = co_stats{};
    const co_env *env = env_or_null();
    if (!env)
        return 0;
    out->created = env->counts.created;
    out->ended = env->counts.ended;
    out->cancelled = env->counts.cancelled;
    out->unwind_stopped = env->counts.unwind_stopped;
    out->switches = env->counts.switches;
    for (size_t i = 0; i < env->all.size(); ++i) {
        count_state(out, env->all[i]);
        out->save_buffer_bytes += env->all[i]->tenancy.saved_capacity;
    }
    count_stacks(out, env);
    out->bytes_saved = env->copies.bytes_saved;
    out->copies = env->copies.copies;
    out->bytes_copied = env->copies.bytes_copied;
    if (const loop *l = env->event_loop) {
        out->wakeups = l->counts.wakeups;
        out->epoll_calls = l->counts.epoll_calls;
        out->cross_wakes = l->counts.cross_wakes;
        out->offloads = l->counts.offloads;
    }
    return 0;
}
