// SPDX-License-Identifier: Apache-2.0
// co_backtrace, and where it finds libunwind: see co_routine.h for what it promises.
//
//     co_backtrace(co_self(), nullptr, 0);     // loads libunwind now; then also in signal handlers
//     ...
//     void *pcs[64];
//     int n = co_backtrace(co, pcs, 64);
//
// Rules
//  - The first call loads libunwind, which takes malloc, the dynamic linker's lock and stack: not in
//    a signal handler. As with backtrace(3), a program that wants it there calls it once before.
//  - In a signal handler the running coroutine (co_self()) alone may be asked about: the others'
//    registers may be half written at that moment.
//  - One that never ran, or has ended, has no frames: 0.
#pragma once

#include "co_routine/core/env.h"

namespace corun {

// Loads libunwind where there is room: on the caller's stack, or on a coroutine's that is made for
// it when the running one has little left.
void prepare_backtraces();
// co_backtrace's work, after that and forget_code. caller: where the running one's frames are to begin.
int frames_of(const coroutine *co, void *caller, void **pcs, int max);

// The live bytes of a suspended coroutine are in its stack, so its frames can be read.
bool stack_is_in_place(const coroutine *co);
// It has something on its stack: it ran, and has not ended.
bool has_frames(const coroutine *co);

} // namespace corun
