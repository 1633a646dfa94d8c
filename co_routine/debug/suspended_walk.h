// SPDX-License-Identifier: Apache-2.0
// Walks of suspended stacks with libunwind: an address space that has their saved registers, and reads
// their bytes where they are (a copied-out shared stack: in its save buffer).
//
// Rules
//  - No lock of the dynamic linker is taken: code is found by _dl_find_object (glibc 2.35). Under
//    co_hook/waist a thread that is parked may hold one.
//  - Nothing is read but those bytes, and what copy_from_user finds readable.
#pragma once

#include "co_routine/debug/unwinder.h"

namespace corun {

// Loads what is needed and tries it out; once, by load_libunwind. False: they do not work here.
bool prepare_suspended_walks();

// As walk_suspended, once that is prepared.
int walk_elsewhere(void *const *regs, const walk_request &request, void **pcs, int max);
void flush_suspended_walks();

} // namespace corun
