// SPDX-License-Identifier: Apache-2.0
#include "co_routine/core/own_range.h"

#include "co_routine/base/raw_sys.h"
#include "co_routine/base/spinlock.h"

#include <iterator>
#include <new>
#include <sys/mman.h>

namespace corun {
namespace {

// Never unmapped, for a handler of any thread may be looking.
struct block {
    block *next = nullptr;
    own_range ranges[(page_size - sizeof(void *)) / sizeof(own_range)];
};
static_assert(sizeof(block) <= page_size);

block *blocks; // atomic, newest first
own_range *free_ranges;
unsigned lock; // of free_ranges

pfn_co_routine_t caught[256]; // atomic, in order, nullptr behind the last

bool add_block() {
    sys::word r = sys::mmap_anonymous(page_size, PROT_READ | PROT_WRITE, 0);
    if (sys::failed(r))
        return false;
    block *b = new (reinterpret_cast<void *>(r)) block;
    for (own_range &range : b->ranges) {
        range.next_free = free_ranges;
        free_ranges = &range;
    }
    b->next = blocks;
    __atomic_store_n(&blocks, b, __ATOMIC_RELEASE);
    return true;
}

bool protect(const own_range *range, int protection) {
    return !sys::failed(sys::mprotect(range->low, range->bytes, protection));
}

} // namespace

own_range *take_own_range(coroutine *owner, const stack_range &range) {
    spin_guard guard(&lock);
    if (!free_ranges && !add_block())
        return nullptr;
    own_range *taken = free_ranges;
    free_ranges = taken->next_free;
    taken->bytes = range.bytes();
    taken->tid = static_cast<int>(sys::gettid());
    __atomic_store_n(&taken->owner, owner, __ATOMIC_RELAXED);
    __atomic_store_n(&taken->stays_open, false, __ATOMIC_RELAXED);
    __atomic_store_n(&taken->low, range.low, __ATOMIC_RELEASE);
    return taken;
}

void give_back_own_range(own_range *range) {
    protect(range, PROT_READ | PROT_WRITE);
    spin_guard guard(&lock);
    __atomic_store_n(&range->owner, nullptr, __ATOMIC_RELAXED);
    __atomic_store_n(&range->low, nullptr, __ATOMIC_RELEASE);
    range->next_free = free_ranges;
    free_ranges = range;
}

// Another thread may open it for good in between: whoever of the two comes last opens it.
void shut(const own_range *range) {
    if (is_open_for_good(range))
        return;
    protect(range, PROT_NONE);
    if (is_open_for_good(range))
        protect(range, PROT_READ | PROT_WRITE);
}

void open(const own_range *range) { protect(range, PROT_READ | PROT_WRITE); }

bool open_for_good(own_range *range) {
    __atomic_store_n(&range->stays_open, true, __ATOMIC_SEQ_CST);
    return protect(range, PROT_READ | PROT_WRITE);
}

own_range *find_own_range(uintptr_t address) {
    for (block *b = __atomic_load_n(&blocks, __ATOMIC_ACQUIRE); b; b = b->next)
        for (own_range &range : b->ranges) {
            char *low = __atomic_load_n(&range.low, __ATOMIC_ACQUIRE);
            if (low && address - reinterpret_cast<uintptr_t>(low) < range.bytes)
                return &range;
        }
    return nullptr;
}

catch_result note_caught(pfn_co_routine_t entry) {
    for (pfn_co_routine_t &place : caught) {
        pfn_co_routine_t seen = nullptr;
        if (__atomic_compare_exchange_n(&place, &seen, entry, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return catch_result::first;
        if (seen == entry)
            return catch_result::again;
    }
    return catch_result::no_room;
}

bool is_caught(pfn_co_routine_t entry) {
    for (pfn_co_routine_t &place : caught) {
        pfn_co_routine_t seen = __atomic_load_n(&place, __ATOMIC_ACQUIRE);
        if (!seen || seen == entry)
            return seen != nullptr;
    }
    return false;
}

void own_ranges_after_fork_in_child() { lock = 0; }

} // namespace corun
