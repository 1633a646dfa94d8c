// SPDX-License-Identifier: Apache-2.0
#include "co_routine/stack/shared_stack.h"

namespace corun {

// So many saves in a row must need less before a buffer shrinks: a coroutine that swings between two
// depths keeps the larger one.
static constexpr uint8_t loose_saves_limit = 32;

bool fit_buffer(tenant *t, uint8_t *loose_saves, size_t needed, slab_pool *pool) {
    bool fits = needed <= t->saved_capacity;
    if (fits && ++*loose_saves < loose_saves_limit)
        return true;
    *loose_saves = 0;
    char *fresh = static_cast<char *>(pool->allocate(needed));
    if (!fresh)
        return fits; // keeps the larger one
    if (t->saved)
        pool->release(t->saved, t->saved_capacity);
    t->saved = fresh;
    t->saved_capacity = static_cast<uint32_t>(needed);
    return true;
}

bool save_watched_bytes(tenant *t, uint8_t *loose_saves, char *sp, char *high, slab_pool *pool,
                        copy_counts *counts) {
    char *from = reinterpret_cast<char *>(reinterpret_cast<uintptr_t>(sp) & ~uintptr_t{15});
    size_t bytes = static_cast<size_t>(high - from);
    size_t needed = buffer_bytes(bytes + san_shadow_bytes(bytes));
    if (needed == t->saved_capacity)
        *loose_saves = 0;
    else if (!fit_buffer(t, loose_saves, needed, pool))
        return false;
    san_renew(from, static_cast<size_t>(sp - from)); // below the stack pointer
    san_copy_raw(t->saved + t->saved_capacity - bytes, from, bytes);
    san_save_shadow(t->saved, from, bytes);
    t->saved_bytes = static_cast<uint32_t>(bytes);
    ++counts->copies;
    counts->bytes_copied += bytes;
    counts->bytes_saved += bytes;
    return true;
}

void restore_watched_bytes(tenant *t, char *low, char *high, copy_counts *counts) {
    constexpr size_t red_zone_bytes =
        128; // which x86_64 lets a function use below its stack pointer
    size_t bytes = t->saved_bytes, below = static_cast<size_t>(high - low) - bytes;
    san_renew(low, static_cast<size_t>(high - low)); // the former occupant's red zones are gone
    if (below > red_zone_bytes)
        san_forbid(low, below - red_zone_bytes);
    if (bytes == 0)
        return;
    san_copy_raw(high - bytes, t->saved + t->saved_capacity - bytes, bytes);
    san_restore_shadow(t->saved, high - bytes, bytes);
    t->saved_bytes = 0;
    ++counts->copies;
    counts->bytes_copied += bytes;
    counts->bytes_saved -= bytes;
}

void drop_saved_bytes(tenant *t, slab_pool *pool, copy_counts *counts) {
    counts->bytes_saved -= t->saved_bytes;
    if (t->saved)
        pool->release(t->saved, t->saved_capacity);
    t->saved = nullptr;
    t->saved_bytes = t->saved_capacity = 0;
}

// fewest is never above the truth: it follows each tenant that leaves, and grows here when no stack
// is as empty any more. Starting behind the last choice, the search rarely takes more than a step.
shared_stack *least_crowded(stShareStack_t *group) {
    unsigned n = static_cast<unsigned>(group->count);
    for (;; ++group->fewest)
        for (unsigned i = 0; i < n; ++i) {
            unsigned at = (group->next + i) % n;
            if (group->stacks[at].tenants > group->fewest)
                continue;
            group->next = (at + 1) % n;
            return &group->stacks[at];
        }
}

void enter_shared_stack(shared_stack *home) {
    ++home->tenants;
    ++home->group->tenants;
}

void leave_shared_stack(shared_stack *home, const stCoRoutine_t *co) {
    if (home->occupant == co)
        home->occupant = home->admitted = nullptr;
    --home->group->tenants;
    if (--home->tenants < home->group->fewest)
        home->group->fewest = home->tenants;
}

} // namespace corun
