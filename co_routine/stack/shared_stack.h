// SPDX-License-Identifier: Apache-2.0
// Shared stacks: many coroutines take turns on the same addresses. One of them, the occupant, has
// its bytes in place; each other tenant has its live bytes [sp, high) in a save buffer.
//
//     high  +--------------------+          tenant B, out:
//           | live bytes of A    |            saved -> [ live bytes of B ]  from B's sp up
//     sp(A) +--------------------+
//           | free               |          bringing B in: A's live bytes go to A's save buffer,
//     low   +--------------------+          then B's come back to the very same addresses
//
// Rules
//  1. Whoever calls save or restore does not stand on this stack (core/switch.h sees to that).
//  2. restore depends on the incoming tenant alone: what became of the former occupant does not
//     matter (libco #64, #169).
//  3. Save buffers come from the thread's slab pool, never malloc. They grow to what is needed,
//     exact to 16 bytes, and shrink after several saves that needed less.
//  4. Nobody but the copier touches a tenant's stack while the tenant is out.
//
// With CO_DEBUG_STACKS every tenant has an address range of its own, inaccessible while it is out:
// nothing is copied, and a stray pointer faults where it is used.
#pragma once

#include "co_routine/base/check.h"
#include "co_routine/base/slab.h"
#include "co_routine/co_routine.h"
#include "co_routine/stack/private_stack.h"
#include "co_routine/stack/stack_copy.h"

#include <cstddef>
#include <cstdint>

namespace corun {

struct shared_stack;
struct own_range; // core/own_range.h

// A coroutine's part of it; stands in the control block.
struct tenant {
    shared_stack *home = nullptr; // nullptr: a private stack
    union {
        char *saved = nullptr;
        own_range *range; // CO_DEBUG_STACKS
    };
    uint32_t saved_bytes = 0; // 0: in place, or never ran
    uint32_t saved_capacity = 0;
};

struct shared_stack {
    char *low = nullptr, *high = nullptr;
    stCoRoutine_t *occupant = nullptr;
    stCoRoutine_t *admitted = nullptr; // who is switched to at once: the occupant, or nobody
    stShareStack_t *group = nullptr;   // the array it belongs to; nullptr: no stack, a gate
    unsigned tenants = 0;
    bool watched = false; // bytes are not all that is exchanged: core/watched.h
};

struct copy_counts {
    uint64_t copies = 0, bytes_copied = 0, bytes_saved = 0; // bytes_saved: out now

    void add(const copy_counts &more) {
        copies += more.copies;
        bytes_copied += more.bytes_copied;
        bytes_saved += more.bytes_saved;
    }
};

// memcpy uses rep movsb for 4 KiB and more, which is two to three times slower unless both sides lie
// alike within a cache line (measured: 58 ns against 158). Stacks end at a page, so from here on
// buffers end at a multiple of 64, and what they hold stands at their end.
inline constexpr size_t aligned_copy_from = 1024;

// The buffer for so many live bytes.
inline size_t buffer_bytes(size_t live_bytes) {
    size_t needed = (live_bytes + 15) & ~size_t{15};
    if (needed >= aligned_copy_from)
        needed = (needed + 63) & ~size_t{63};
    return needed <= slab_pool::small_limit ? needed : slab_pool::rounded(needed);
}

// Makes the buffer fit: larger at once, smaller after several saves in a row that needed less, which
// loose_saves counts. False: no memory.
bool fit_buffer(tenant *t, uint8_t *loose_saves, size_t needed, slab_pool *pool);

// Copies the live bytes [sp, high) of a tenant out, or back in. False: no memory for the buffer.
inline bool save_live_bytes(tenant *t, uint8_t *loose_saves, char *sp, char *high, slab_pool *pool,
                            copy_counts *counts) {
    char *from = reinterpret_cast<char *>(reinterpret_cast<uintptr_t>(sp) & ~uintptr_t{15});
    size_t bytes = static_cast<size_t>(high - from), needed = buffer_bytes(bytes);
    if (CO_LIKELY(needed == t->saved_capacity))
        *loose_saves = 0; // the row of saves that needed less ends here
    else if (!fit_buffer(t, loose_saves, needed, pool))
        return false;
    copy_units(t->saved + t->saved_capacity - bytes, from, bytes);
    t->saved_bytes = static_cast<uint32_t>(bytes);
    ++counts->copies;
    counts->bytes_copied += bytes;
    counts->bytes_saved += bytes;
    return true;
}

inline void restore_live_bytes(tenant *t, char *high, copy_counts *counts) {
    size_t bytes = t->saved_bytes;
    if (bytes == 0)
        return;
    copy_units(high - bytes, t->saved + t->saved_capacity - bytes, bytes);
    t->saved_bytes = 0;
    ++counts->copies;
    counts->bytes_copied += bytes;
    counts->bytes_saved -= bytes;
}

// The same where a sanitizer or Valgrind watches. Under AddressSanitizer the frames' red zones travel with
// them: their shadow stands at the buffer's beginning.
bool save_watched_bytes(tenant *t, uint8_t *loose_saves, char *sp, char *high, slab_pool *pool,
                        copy_counts *counts);
void restore_watched_bytes(tenant *t, char *low, char *high, copy_counts *counts);

// Frees the buffer of a tenant that ends.
void drop_saved_bytes(tenant *t, slab_pool *pool, copy_counts *counts);

} // namespace corun

// What co_alloc_sharestack returns: count stacks in one mapping, each with a guard below.
struct stShareStack_t {
    void *owner; // the env of the thread it belongs to
    int count;
    size_t stack_bytes;
    unsigned tenants;              // on all of them
    unsigned fewest;               // tenants of the least crowded, or less
    unsigned next;                 // where the search for the least crowded starts
    corun::stack_pool *range_pool; // CO_DEBUG_STACKS: the tenants' own ranges; else nullptr
    corun::stack_pool *stack_source;
    corun::shared_stack *stacks;
};

namespace corun {

// Where a new tenant goes.
shared_stack *least_crowded(stShareStack_t *group);
void enter_shared_stack(shared_stack *home);
void leave_shared_stack(shared_stack *home, const stCoRoutine_t *co);

} // namespace corun
