// SPDX-License-Identifier: Apache-2.0
// Preemption: a thread that computes or spins lets the others run. Each 10 ms of processor time the
// kernel sends a tick (an idle process gets none). A thread that is interrupted in its own code by the
// second tick since it was switched to gets the frame of a handler that yields,
// and goes on from there when its turn comes, with every register as it was.
//
// A thread that this happens to is reported once, with where it was first: in the table of --stats, and
// with CORUN_DEBUG=blocked as it happens.
//
// Only code of the program is interrupted so: the runtime is left alone, it comes to an end by itself.
// The program was made for threads that the kernel preempts anywhere.
#pragma once

#include "co_hook/waist/signal_frame.h"
#include "co_hook/waist/worker.h"

namespace corun::waist {

int begin_preemption(worker *w); // also in the child of a fork, which has no timers. 0 or -errno
bool is_tick(const siginfo_t &info);
// In the signal handler, on the worker's FS base: t was interrupted in the program.
void on_tick(worker *w, thread *t, machine *m);

} // namespace corun::waist
