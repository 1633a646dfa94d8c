// SPDX-License-Identifier: Apache-2.0
// The bytes of one slot, and the jumps that lead to it and back.
//
// A site whose object lies more than 2 GiB away (the program itself: the libraries stand elsewhere) is
// reached over an island near it, a jump with the whole address; the slot jumps back the same way.
// What is displaced and names its operand by the distance to it (a lea of a variable) stands in the
// island, for it cannot stand in the slot. In an island, an unwinder that interrupts it knows no caller.
#pragma once

#include "co_hook/waist/sites.h"
#include "co_hook/waist/slots.h"

namespace corun::waist {

constexpr unsigned jump_bytes = 5;
constexpr unsigned far_jump_bytes = 14;
constexpr unsigned most_island_bytes = 64;

// jmp to. False: too far.
bool write_jump(uint8_t *out, uintptr_t from, uintptr_t to);
void write_far_jump(uint8_t *out, uintptr_t to);

struct slot_code {
    uint8_t bytes[CORUN_SLOT_BYTES];
    uintptr_t entry; // where the site's jump leads
    uint8_t island[most_island_bytes];
    unsigned island_bytes; // of them in use

    // From the empty slot at `slot`. False: the distance does not allow it.
    bool build(const site &s, uintptr_t slot);
    // The same for a site that is any distance away, with an island at `island`, near the site.
    bool build_over_island(const site &s, uintptr_t slot, uintptr_t island_at);

  private:
    void begin(const site &s, uintptr_t slot);
    bool lead_in(const site &s, uintptr_t slot, uintptr_t island_at);
    bool lead_back(const site &s, uintptr_t slot, uintptr_t island_at);
};

} // namespace corun::waist
