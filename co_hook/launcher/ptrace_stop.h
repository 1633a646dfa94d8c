// SPDX-License-Identifier: Apache-2.0
// A process is stopped by ptrace for some tens of microseconds, and what its running thread has is copied. One
// that a debugger has already cannot be.
//
// Rules
//  - Another process does it, that ends before this goes on: then the kernel lets go what it held, also what
//    has not stopped yet, and would have later.
//  - It is deaf to signals meanwhile: ^Z there would stop both.
#ifndef CORUN_HOOK_LAUNCHER_PTRACE_STOP_H
#define CORUN_HOOK_LAUNCHER_PTRACE_STOP_H

#include "co_hook/launcher/frames.h"

namespace corun::launcher {

// What a thread has that runs, of one moment at which nothing runs.
struct stopped {
    thread_now thread;
    switch_registers registers;
    bool is_in_program; // else they are those of its call
    size_t bytes;       // of its stack, upwards from the stack pointer
    unsigned char stack[size_t{128} << 10];
};
// The process goes on when this returns; what was read is there until the next. nullptr: it may not be stopped,
// or did not.
stopped *stop_and_read(const attached &p, const thread_row &listed);

} // namespace corun::launcher

#endif
