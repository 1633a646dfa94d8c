// SPDX-License-Identifier: Apache-2.0
// The dump of all threads: what each waits for, since when, its stack, and its frames. To number 2, as it is
// then; the program goes on meanwhile.
//
//     corun: process 18743 (python3), dump of 501 threads: 1 ready, 500 parked
//     thread 358547459 parked in recv (fd 7, 127.0.0.1:40122) for 12 s; stack 8388224 bytes, 5576 used
//         #0 0x7f3c1a12f4ac recv+0x1c (/lib/x86_64-linux-gnu/libc.so.6+0x1104ac)
//         ...
//     corun: end of the dump
//
// Rules
//  - A coroutine of the runtime's own writes it, some threads at a time: whoever is ready has a turn in
//    between. A thread that begins meanwhile may be in it, one that ends may not.
//  - A thread that waits in a system call is shown from that call on, without corun's own frames.
//  - libunwind is loaded by the first thread as it makes the second one: later a thread that waits may hold
//    the dynamic linker's lock, and before main, where this library begins, libc is not ready. Where it is
//    missing the dump says so.
#pragma once

#include "co_hook/waist/signal_frame.h"
#include "co_hook/waist/worker.h"

#include <csignal>

namespace corun::waist {

// At the start. signal: that asks for a dump while the program leaves it at its default; 0: none.
void prepare_dumps(int signal);
void load_for_dumps(); // before the first clone of a thread, on the program's thread-local storage
bool begin_dumper(worker *w); // at that clone, and in the child of a fork. False: no memory
// Its signal, while there was a second thread: in a process of one it ends that, as ever.
void claim_dump_signal();
void release_dump_signal();

void request_dump(worker *w); // from anywhere, also from a signal handler
// Its frames in the program's code, innermost first; one that is in a call, parked or preempted. exact_first: where
// it was preempted; else that is a return address, as all others are.
int frames_of_thread(const thread *t, void **pcs, int max, bool *exact_first = nullptr);
// The same of what a signal has interrupted.
int walk_machine(const machine &m, void **pcs, int max);
// For debug/deadlock.h's door: written by the dumper. In the loop.
void report_deadlock(co_env *env, bool all_asleep);
// Is the signal a request of `corun dump`?
bool is_dump_request(const siginfo_t &info);

} // namespace corun::waist
