// SPDX-License-Identifier: Apache-2.0
// Signals that corun answers itself while the program leaves them at their default: those of --stats, and
// the dump's. The program finds them at their default; when it sets an action of its own, that counts.
//
//     own_signal(SIGQUIT, answer);     // before they are shown
//     show_own_signals();              // from here on the kernel sends them to us
//
// Rules
//  - An answer is given where nothing of the runtime is under way: by a coroutine of its own, or in the
//    handler that has interrupted the program's own code (pc). FS base: the worker's.
//  - The latest answer for a signal counts.
#pragma once

#include "co_hook/waist/worker.h"

namespace corun::waist {

using own_answer = void (*)(worker *w, int signal, uintptr_t pc); // pc: 0 by the coroutine

void own_signal(int signal, own_answer answer);
void disown_signal(int signal); // it has its default action again
bool is_own_signal(int signal);
bool begin_own_signals(worker *w); // at the first clone of a thread. False: no memory
void own_signals_after_fork_in_child(worker *w);
const thread *whose_turn(const worker *w); // nullptr: the scheduler's

// After a rt_sigaction of the program that the kernel has made.
void own_signals_after_sigaction(const word (&a)[6]);
// Around what looks at the kernel's actions, or changes them: the program's own are in force.
void hide_own_signals();
void show_own_signals();

} // namespace corun::waist
