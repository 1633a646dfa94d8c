// SPDX-License-Identifier: Apache-2.0
// A thread of the program: what the kernel would keep for it. It runs as a coroutine on the stack and
// the thread-local storage that glibc prepared for it.
//
// Rules
//  - A thread belongs to a worker (worker.h) and never leaves it.
//  - While its code runs, the FS base is its own; from enter_runtime to leave_runtime it is the
//    worker's. So everything in the library runs on the worker's thread-local storage, and a signal
//    handler tells by the FS base whether it has interrupted the program or the runtime.
//  - tls_thread lies in the program's thread-local storage, written at birth; it is nullptr in
//    helpers and in the worker's own.
#pragma once

#include "co_hook/waist/counts.h"
#include "co_hook/waist/frame.h"
#include "co_hook/waist/signal_state.h"
#include "co_routine/core/env.h"
#include "co_routine/loop/loop.h"

namespace corun::waist {

using sys::word;

struct worker;

struct thread {
    coroutine *co = nullptr; // nullptr: the process has one thread, and nothing is ours yet
    worker *home = nullptr;
    uintptr_t fs = 0;
    int tid = 0;
    int *clear_child_tid = nullptr; // zeroed and woken when it ends
    void *robust_list = nullptr;
    size_t robust_list_bytes = 0;
    uintptr_t stack_low = 0, stack_high = 0; // as far as is known
    frame *at_call = nullptr;                // of the call it is in
    long call_nr = -1;                       // -1: in none
    thread_counts counts;
    uint64_t call_at_look = 0, trimmed_at = 0; // idle_stacks.cpp's
    bool has_overflowed = false;               // its stack, and it was said: overflow.cpp
    uint64_t dumped_in = 0;                    // dump.cpp's: the number of a dump
    list_node link;                            // in worker::threads
    loop_task end_task{};                      // run when its stack is left
    thread_signals signals{};
};

extern constinit thread_local thread *tls_thread __asm__("waist_thread")
    __attribute__((visibility("hidden")));

thread *running_thread();       // inside the runtime: whose turn it is; nullptr: the scheduler's
thread *thread_of_tid(int tid); // nullptr: there is none

// System calls, in the runtime. word: the result or -errno.
word clone_thread(thread *self, frame *f, const word (&a)[6]); // CLONE_THREAD
word clone_process(thread *self, frame *f,
                   const word (&a)[6]); // the rest: fork, vfork, posix_spawn
// For a process of one thread, or (self: nullptr) for a helper, the runtime or a child of vfork: the
// kernel's own call.
word clone_outside(thread *self, frame *f, const word (&a)[6]);
[[noreturn]] void exit_thread(thread *self, int status);
// The kernel's own call.
inline word native(long nr, const word (&a)[6]) {
    return sys::call6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}
// The call of that number with what else the frame says; call.cpp.
word call_of_thread(thread *self, frame *f, long nr);

} // namespace corun::waist

extern "C" {
__attribute__((visibility("hidden"), noreturn)) void waist_leave(corun::waist::frame *f,
                                                                 uintptr_t fs);
__attribute__((visibility("hidden"), noreturn)) void waist_leave_late(corun::waist::frame *f,
                                                                      corun::waist::thread *t);
__attribute__((visibility("hidden"), noreturn)) void waist_vfork(corun::waist::vfork_save *save);
__attribute__((visibility("hidden"))) long waist_clone(long nr, long a, long b, long c, long d,
                                                       long e);
}
