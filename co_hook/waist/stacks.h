// SPDX-License-Identifier: Apache-2.0
// The stacks of the program's threads. libc asks for each by mmap(MAP_STACK), opens all but the guard by
// mprotect, and gives it back by munmap: these three calls are answered here, from dense slabs of equal
// stacks that are used again last in, first out.
//
//     slab  | gap | stack 0: guard, then what libc uses | gap | stack 1 ...     one mapping, lowest address first
//
// Rules
//  - A stack is memory as mmap gives it: zeroed, wherever it was used before.
//  - It is open from the start, and its guard is what libc leaves out when it opens the rest. Where the
//    kernel has MADV_GUARD_INSTALL the guard costs no mapping; else it is mprotect'ed.
//  - Below the guard is a gap of 64 KiB, where a frame that is larger than the guard faults. It is no part of what libc
//    is told, and nobody's; without MADV_GUARD_INSTALL there is none.
//  - Stacks go back whole. Of one that the program has unmapped in part nothing is ours any more.
//  - Any other call inside a stack is the kernel's own, and so are those that map over it, move it, or give
//    it properties that stay; the stack is mended when it comes back. Of one that was moved nothing is ours.
//  - For the process, under one lock: a thread's stack may be given back by any other.
#pragma once

#include "co_routine/base/raw_sys.h"

namespace corun::waist {

using sys::word;

// False: the call is none of ours, and the kernel's. SYS_mmap, munmap, mprotect, pkey_mprotect, mremap,
// madvise.
bool stack_call(long nr, const word (&a)[6], word *result);

// Is it in a stack of ours? Then nobody else has this memory.
bool is_in_stack(const void *address);

// What threads get that ask for no size: as pthread_setattr_default_np says it. Rounded up to what the
// runtime itself needs. Before the first thread. 0 or an errno value.
int set_default_stack(size_t bytes);

void stacks_after_fork_in_child();

} // namespace corun::waist
