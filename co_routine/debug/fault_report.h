// SPDX-License-Identifier: Apache-2.0
// What CORUN_DEBUG=overflow and =stacks say when a thread faults:
//
//     corun: coroutine 'worker' (#3): stack overflow: all of its stack of 131072 bytes is used ...
//     corun: coroutine 'a' (#1): touched 0x7f.. on the stack of coroutine 'b' (#2), which is out ...
//
// core/ calls prepare_debugging before the first coroutine of a thread: with one of the flags on it
// installs a handler for SIGSEGV and SIGBUS, once for the process, and gives the thread an alternate
// stack, because the handler cannot run on the stack that is full.
//
// Rules
//  - stray_touch.h has the touch of a stack that is out, which may be let through; then the handler stays.
//  - Otherwise after the report the program's own disposition is put back and the fault happens again: the
//    core file, the debugger, the program's handler see it as if we were not there.
//  - A fault that is none of ours goes on to the program's disposition without a word: its handler
//    is called with the same arguments and mask (on the alternate stack, if it was on ours), the
//    default is restored and happens, a signal that somebody sent is sent on.
//  - A handler that the program installs after its first coroutine replaces ours.
//  - The handler allocates nothing but by mmap (symbol_names.h), takes no lock before the line is written
//    (names and frames take dladdr's and that of libunwind's cache), and looks at the faulting thread's own
//    env, and at other threads' coroutines by copy only.
#pragma once

#include "co_routine/core/env.h"

#include <cstdint>

namespace corun {

// The line is written if it is an overflow, or a touch of a guard, and the flags ask about that. sp: of the
// code that faulted.
bool report_fault(uintptr_t address, uintptr_t sp);

// SIGSEGV or SIGBUS comes to our handler, with none of the program's behind it.
bool is_handled_here_alone(int signal);

// The innermost, to stderr. exact_first: the first address is that of an instruction, not behind one.
inline constexpr int frames_shown = 16;
void write_report_frames(void *const *pcs, int n, bool exact_first);

} // namespace corun
