// SPDX-License-Identifier: Apache-2.0
// The bytes of one slot, and the jumps that lead to it and back.
//
// A site whose object lies more than 2 GiB away (the program itself: the libraries stand elsewhere) is
// reached over an island near it, a jump with the whole address; the slot jumps back the same way.
// An island is one instruction, at which an unwinder that interrupts it knows no caller.
#pragma once

#include "co_hook/waist/sites.h"
#include "co_hook/waist/slots.h"

namespace corun::waist {

constexpr unsigned jump_bytes = 5;
constexpr unsigned far_jump_bytes = 14;
constexpr unsigned island_bytes = 16;

// jmp to. False: too far.
bool write_jump(uint8_t *out, uintptr_t from, uintptr_t to);
void write_far_jump(uint8_t *out, uintptr_t to);

struct slot_code {
    uint8_t bytes[CORUN_SLOT_BYTES];
    uintptr_t entry; // where the site's jump leads, or its island's

    // From the empty slot at `slot`. False: the distance does not allow it. over_island: the
    // distance may be any, but what is displaced cannot be relative to where it stands.
    bool build(const site &s, uintptr_t slot, bool over_island);
};

} // namespace corun::waist
