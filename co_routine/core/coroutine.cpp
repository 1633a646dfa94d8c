// SPDX-License-Identifier: Apache-2.0
#include "co_routine/core/coroutine.h"

#include "co_routine/base/check.h"
#include "co_routine/core/cancel.h"
#include "co_routine/core/env.h"
#include "co_routine/core/locals.h"
#include "co_routine/core/own_range.h"
#include "co_routine/core/switch.h"
#include "co_routine/core/watched.h"

#include <cerrno>
#include <climits>
#include <new>

namespace corun {
namespace {

constexpr int largest_stack_bytes = 1 << 30;
constexpr size_t smallest_stack_bytes = 4 * page_size; // less does not hold a printf

size_t whole_pages(int bytes) {
    return (static_cast<size_t>(bytes) + page_size - 1) / page_size * page_size;
}

// Equal stacks a power of two apart would put every control block and every stack top into the same
// few cache sets: each starts up to 2 KiB lower than its neighbours, by its address.
size_t colour_of(const char *low) {
    uint32_t page = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(low) / page_size);
    return (page * 2654435769U >> 27) * 64;
}

// Unique in the process, because locks know their owner by it; a thread takes some at a time.
uint32_t new_id(co_env *env) {
    constexpr uint32_t ids_at_once = 1024;
    static uint32_t next = 1;
    if (env->next_id == env->ids_end) {
        env->next_id = __atomic_fetch_add(&next, ids_at_once, __ATOMIC_RELAXED);
        env->ids_end = env->next_id + ids_at_once;
    }
    return env->next_id++;
}

bool enlist(co_env *env, coroutine *co) {
    co->index = static_cast<uint32_t>(env->all.size());
    if (!env->all.push_back(co))
        return false;
    co->env = env;
    co->id = new_id(env);
    return true;
}

void delist(co_env *env, coroutine *co) {
    coroutine *last = env->all.back();
    env->all[co->index] = last;
    last->index = co->index;
    env->all.pop_back();
}

void *watched_entry(void *self, void *unused) {
    arrive_watched(static_cast<coroutine *>(self));
    return coroutine_entry(self, unused);
}

void prepare_entry(coroutine *co, coctx_pfn_t entry = coroutine_entry) {
    char *low = co->low_end();
    coctx_make_regs(co->regs, low, static_cast<size_t>(co->high_end() - low), entry, co, nullptr);
}

void prepare_life(coroutine *co, void (*tell_sanitizer)(coroutine *co)) {
    if (CO_UNLIKELY(has_fibers())) {
        tell_sanitizer(co);
        prepare_entry(co, watched_entry);
    } else {
        prepare_entry(co);
    }
}

bool take_range(coroutine *co, stack_pool *pool) {
    stack_range range;
    if (!pool->acquire(&range))
        return false;
    co->tenancy.range = take_own_range(co, range);
    if (!co->tenancy.range) {
        pool->release(range.low);
        return false;
    }
    co->stack_low = range.low;
    co->pool = pool;
    return true;
}

void choose_ranges(stShareStack_t *group) {
    stack_pool *chosen = debug_flags() & CO_DEBUG_STACKS ? group->stack_source : nullptr;
    if (chosen == group->range_pool)
        return;
    group->range_pool = chosen;
    for (int i = 0; i < group->count; ++i)
        group->stacks[i].watched = chosen || bytes_are_watched();
}

int create_shared(co_env *env, stShareStack_t *group, coroutine **out) {
    if (group->tenants == 0) // co_set_debug may have come after co_alloc_sharestack
        choose_ranges(group);
    void *block = env->slab.allocate(sizeof(coroutine));
    if (!block)
        return ENOMEM;
    coroutine *co = new (block) coroutine;
    if (group->range_pool && !take_range(co, group->range_pool)) {
        env->slab.release(co, sizeof(coroutine));
        return ENOMEM;
    }
    co->tenancy.home = least_crowded(group);
    enter_shared_stack(co->tenancy.home);
    *out = co;
    return 0;
}

void give_up_tenancy(co_env *env, coroutine *co) {
    leave_shared_stack(co->tenancy.home, co);
    co->tenancy.home = nullptr;
    if (!co->pool) {
        drop_saved_bytes(&co->tenancy, &env->slab, &env->copies);
        return;
    }
    give_back_own_range(co->tenancy.range);
    co->tenancy.range = nullptr;
    co->pool->release(co->stack_low);
    co->pool = nullptr;
    co->stack_low = nullptr;
}

// Of calls whose frames are dropped with it.
void drop_kept_blocks(coroutine *co) {
    while (list_node *n = co->extra ? co->extra->blocks.pop_front() : nullptr) {
        kept_block *block = CO_CONTAINER(n, kept_block, link);
        co->env->slab.release(block, block->bytes);
    }
}

// Stack and block. The caller may stand on both: stack pools and slabs do not touch what they take
// back, and nothing else runs on this thread before the switch.
void free_memory(co_env *env, coroutine *co) {
    if (co->shared_home())
        give_up_tenancy(env, co);
    if (co->pool)
        co->pool->release(co->stack_low); // the block goes with it
    else
        env->slab.release(co, sizeof(coroutine));
}

} // namespace

const char *state_name(co_state s) {
    static const char *const names[] = {"fresh",   "ready",  "running", "resuming",
                                        "yielded", "parked", "ended"};
    return names[static_cast<int>(s)];
}

co_extra *extra_of(coroutine *co) {
    if (!co->extra)
        if (void *block = co->env->slab.allocate(sizeof(co_extra)))
            co->extra = new (block) co_extra;
    return co->extra;
}

coroutine *place_on_private_stack(co_env *env, size_t stack_bytes, size_t guard_bytes) {
    stack_pool *pool = env->pool_for(stack_bytes, guard_bytes);
    stack_range stack;
    if (!pool || !pool->acquire(&stack))
        return nullptr;
    char *at = stack.high - sizeof(coroutine) - colour_of(stack.low);
    coroutine *co = new (at) coroutine;
    co->env = env;
    co->stack_low = stack.low;
    co->pool = pool;
    return co;
}

int create_coroutine(coroutine **out, const stCoRoutineAttr_t *attr, pfn_co_routine_t entry,
                     void *arg) {
    int stack = attr ? attr->stack_size : 0, guard = attr ? attr->guard_size : 0;
    stShareStack_t *group = attr ? attr->share_stack : nullptr;
    if (!entry || stack > largest_stack_bytes || guard > largest_stack_bytes)
        return EINVAL;
    co_env *env = current_env();
    if (!env)
        return ENOMEM;
    if (CO_UNLIKELY(!__atomic_load_n(&env->debugging_prepared, __ATOMIC_RELAXED)))
        prepare_debugging(env);
    if (group && group->owner != env)
        return EINVAL;
    coroutine *co = nullptr;
    if (group && !(debug_flags() & CO_DEBUG_PRIVATE && is_caught(entry))) {
        if (int error = create_shared(env, group, &co))
            return error;
    } else {
        size_t bytes = group
                           ? group->stack_bytes + page_size // for the block, which stands there too
                           : whole_pages(stack > 0 ? stack : CO_STACK_SIZE_DEFAULT);
        size_t below = guard < 0 ? 0 : whole_pages(guard ? guard : CO_GUARD_SIZE_DEFAULT);
        co = place_on_private_stack(
            env, bytes < smallest_stack_bytes ? smallest_stack_bytes : bytes, below);
        if (!co)
            return ENOMEM;
    }
    co->entry = entry;
    co->arg = arg;
    if (!enlist(env, co)) {
        free_memory(env, co);
        return ENOMEM;
    }
    prepare_life(co, watch);
    ++env->counts.created;
    *out = co;
    return 0;
}

coroutine *create_elsewhere(co_env *env, char *low, char *high, pfn_co_routine_t entry, void *arg) {
    void *block = env->slab.allocate(sizeof(coroutine));
    if (!block)
        return nullptr;
    coroutine *co = new (block) coroutine;
    co->set(flag_elsewhere);
    co->set(flag_detached);
    co->stack_low = low;
    co->stack_high = high;
    co->entry = entry;
    co->arg = arg;
    if (!enlist(env, co)) {
        env->slab.release(co, sizeof(coroutine));
        return nullptr;
    }
    ++env->counts.created;
    if (entry) {
        prepare_entry(co);
    } else {
        co->set(flag_ran);
        co->state = co_state::running;
        co->caller = &env->root;
    }
    return co;
}

unsigned describe(char *out, unsigned size, const coroutine *co) {
    if (co->has(flag_root))
        return format_line(out, size, "the thread's own stack");
    const char *what = co->has(flag_elsewhere) ? "thread" : "coroutine"; // a thread of the program
    if (!co->extra || !co->extra->name[0])
        return format_line(out, size, "%s #%u", what, co->id);
    unsigned length = format_line(out, size, "%s '%s' (#%u)", what, co->extra->name, co->id);
    make_printable(out, length);
    return length;
}

void free_coroutine(coroutine *co) {
    co_env *env = co->env;
    if (co->state != co_state::ended) {
        if (co->waiting && co->waiting->abandon)
            co->waiting->abandon(co);
        if (co->timer_index != no_timer)
            installed_env_hooks.drop_timer(co);
        if (co->has(flag_started))
            --env->live;
    }
    run_local_destructors(co);
    if (co->extra) // at the thread's end joiners may be freed after the one they join
        while (co->extra->joiners.pop_front()) {
        }
    drop_kept_blocks(co);
    // Somebody's queue still points here: whoever takes it out frees it (ready queue, inbox).
    if (co->has(flag_queued) || __atomic_load_n(&co->pending, __ATOMIC_ACQUIRE) != 0) {
        co->state = co_state::ended;
        co->waiting = nullptr;
        co->set(flag_doomed);
        if (co->shared_home()) // now, so that co_release_sharestack need not wait for a queue
            give_up_tenancy(env, co);
        return;
    }
    if (co->extra) {
        stop_watching(env, co);
        env->slab.release(co->extra, sizeof(co_extra));
    }
    delist(env, co);
    free_memory(env, co);
}

void *coroutine_entry(void *self, void *) {
    coroutine *co = static_cast<coroutine *>(self);
    co->set(flag_ran);
    if (co->has(flag_cancel)) // cancelled before its first turn
        end_running(CO_CANCELED);
    end_running(co->entry(co->arg));
}

// Each takes the result along: when its turn comes, co may have been released.
void wake_joiners(coroutine *co) {
    while (list_node *n = co->extra ? co->extra->joiners.pop_front() : nullptr) {
        coroutine *joiner = CO_CONTAINER(n, coroutine, wait_link);
        joiner->wait_slot = co->result;
        joiner->set(flag_joined);
        co->env->make_ready(joiner);
    }
}

void end_running(void *result) {
    co_env *env = tls_env;
    coroutine *co = env->running;
    co->set(flag_unwinding); // no cancel from here on
    run_local_destructors(co);
    coroutine *to = co->caller;
    shared_stack *standing_on = co->tenancy.home;
    co->caller = nullptr;
    co->state = co_state::ended;
    co->result = result;
    env->counts.cancelled += co->has(flag_cancel) ? result == CO_CANCELED : 0;
    ++env->counts.ended;
    if (co->has(flag_started))
        --env->live;
    wake_joiners(co);
    if (standing_on)
        standing_on->occupant = standing_on->admitted = nullptr; // nothing of it is worth saving
    if (co->has(flag_detached))
        free_coroutine(co);
    switch_for_good(env, standing_on, to);
}

int reset_coroutine(coroutine *co) {
    if (co->state != co_state::ended && co->state != co_state::fresh)
        return EBUSY;
    if (co->state == co_state::fresh)
        return 0;
    co->flags &= flag_queued; // it may still stand in the ready queue from before
    co->state = co_state::fresh;
    co->deadline_ns = 0;
    co->caught_exceptions = nullptr;
    co->uncaught_exceptions = 0;
    co->saved_errno = 0;
    prepare_life(co, watch_again);
    return 0;
}

} // namespace corun
