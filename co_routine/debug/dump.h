// SPDX-License-Identifier: Apache-2.0
// co_dump's lines. A coroutine reads as
//
//     #3 'worker' parked in recv (fd 7), 480 ms left; private stack 131072 bytes, 3120 used
//     #4 yielded; shared stack 65536 bytes, 208 saved, 512 used at most
//       #0 0x5581d0c0de0e co_sleep_ms+0x5e (./prog+0x11e0e)      with CO_DUMP_STACKS
//
// Rules
//  - Written with raw write calls, a line each: the thread stands still while fd does not take them.
//  - Names of functions come from dladdr, which knows exported ones only (link with -rdynamic);
//    file and offset are what addr2line wants.
//  - 2 KiB of stack, 10 KiB more with CO_DUMP_STACKS.
#pragma once

#include "co_routine/core/env.h"

namespace corun {

// The whole line of co, with its newline; returns the length.
unsigned format_coroutine(char *out, unsigned size, const coroutine *co);

} // namespace corun
