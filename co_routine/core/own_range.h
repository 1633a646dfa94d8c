// SPDX-License-Identifier: Apache-2.0
// CO_DEBUG_STACKS: the address range that a tenant of a shared stack has to itself. It is inaccessible while the
// tenant is out, and nothing is copied.
//
// The ranges of all threads stand in one list, so that whoever touches one finds out whose it is. With
// CO_DEBUG_PRIVATE a touch opens the range for good, and the owner's entry function is noted as caught.
//
// Rules
//  - The owner's thread takes, shuts, opens and gives back. Any thread may find, and open for good.
//  - find_own_range, open_for_good, is_caught and note_caught take no lock: they run in fault handlers.
//  - A range that was found may be given back meanwhile, and its note be another coroutine's.
#pragma once

#include "co_routine/core/coroutine.h"
#include "co_routine/stack/private_stack.h"

namespace corun {

struct own_range {
    char *low = nullptr; // atomic; nullptr: nobody's
    size_t bytes = 0;
    coroutine *owner = nullptr; // atomic
    int tid = 0;                // the owner's thread
    bool stays_open = false;    // atomic
    own_range *next_free = nullptr;
};

own_range *take_own_range(coroutine *owner, const stack_range &range); // nullptr: no memory
void give_back_own_range(own_range *range);                            // accessible

void shut(const own_range *range);
void open(const own_range *range);
inline bool is_open_for_good(const own_range *range) {
    return __atomic_load_n(&range->stays_open, __ATOMIC_SEQ_CST);
}
bool open_for_good(own_range *range); // false: the kernel refused

own_range *find_own_range(uintptr_t address); // nullptr: none

// Entry functions whose coroutines get private stacks from now on.
enum class catch_result : uint8_t { first, again, no_room };
catch_result note_caught(pfn_co_routine_t entry);
bool is_caught(pfn_co_routine_t entry);

void own_ranges_after_fork_in_child();

} // namespace corun
