// SPDX-License-Identifier: Apache-2.0
// A thread that has run off the end of its stack: one report, of the thread, its stack and its frames, before
// the program's handler, or the end that the kernel makes of it.
//
//     corun: thread 250413059 'worker': stack overflow: its stack has 65152 bytes, 61440 of them used; 0x7f... was
//     touched; raise --stack, or what the program asks for (pthread_attr_setstacksize)
//         #0 ...                                    the innermost and the outermost frames
//
// Rules
//  - It is told by the stack pointer: one that is near the address that faulted, or below the stack; not where
//    that is an instruction's, or above a stack pointer whose own memory is there. A frame
//    that is larger than the guard (4 KiB, unless the program asks for more) faults in the gap below it, which
//    is 64 KiB (stacks.h); a larger one may meet another thread's stack and not fault at all, as natively. The
//    first thread that is made has a mapping of the kernel's, with libc's guard alone.
//  - It is on; --debug=no-overflow turns it off.
//  - Once for each thread: some programs mean to fault there.
//  - In on_signal, on its stack; a walk of 100,000 frames takes some tenths of a second.
#pragma once

#include "co_hook/waist/signal_frame.h"
#include "co_hook/waist/thread.h"

namespace corun::waist {

void report_overflows(bool on); // before the first thread

// After a fault of the program's own code at that address; FS base: the worker's. Reports an overflow.
void look_for_overflow(thread *t, const machine &m, uintptr_t address);

} // namespace corun::waist
