// SPDX-License-Identifier: Apache-2.0
// CORUN_DEBUG=blocked[:ms]: who keeps a loop from turning for longer than that.
//
//     corun: coroutine 'worker' (#3) keeps the loop of thread 811 from turning, for 61 ms so far: in
//            system call 73 (0x5, 0x2)
//     corun:   #0 0x7f54ae flock+0xb (/lib/x86_64-linux-gnu/libc.so.6+0x10a4ab)
//     corun:   #1 0x5581d0 save_all+0x5e (./server+0x11e0e)
//     corun: coroutine 'worker' (#3) kept the loop of thread 811 from turning for 312 ms
//
// The loop notes when it switches to a coroutine (watch_switch) and when all that were ready have
// run (watch_turn_end). A thread of its own, which is there while a loop is watched, looks at those
// notes, so that a hang is reported while it lasts.
//
// Rules
//  - A thread in a system call is not disturbed, for a signal would end some calls with EINTR: its
//    registers come from /proc, and its callers are return addresses found on its stack, which may
//    name one too many. A thread that computes is asked by SIGURG, unless the program handles that,
//    and answers with co_backtrace.
//  - Time is wall time: what other processes took of the processor meanwhile is in it.
//  - The callers are shown with the first report of a place; the next ones have its #0 and a count.
//  - The name is that of the coroutine which the loop switched to, though it may have resumed others.
//  - The longest are kept with the place that was found last while they lasted (stretches.h).
//  - What the program does between two calls of the loop is its own affair.
#pragma once

#include "co_routine/core/env.h"

namespace corun {

void prepare_watch(co_env *env); // with CO_DEBUG_BLOCKED only
void end_watch(co_env *env);
bool watcher_is_running();

} // namespace corun
