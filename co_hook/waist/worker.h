// SPDX-License-Identifier: Apache-2.0
// A kernel thread that runs threads of the program as coroutines, and what it has for itself: an env
// with a loop on a stack of its own, and a thread control block of its own, so that nothing of the
// runtime touches thread-local storage of the program.
//
// There is one today, the_worker. What belongs to a worker stands here, so that there can be several:
// signals, their timers and on_signal, the statistics, the trimmer and the start still find it by that
// name.
#pragma once

#include "co_hook/waist/service.h"
#include "co_hook/waist/thread.h"

namespace corun::waist {

struct worker {
    co_env *env = nullptr;
    uintptr_t fs = 0; // its TCB
    thread main;      // the thread that the process began with
    // Of the thread that stands still for its child. borrowed: the child runs on our memory, and every
    // call is the kernel's own.
    vfork_save vfork{};
    handler_entry entering{}; // of the handler that is being entered
    list_head threads;
    unsigned live = 0;
    int pid = 0;
    uint64_t switches_at_tick = 0, preemptions = 0; // preempt.h
    bool active = false;                            // there was a second thread: calls are ours
    worker_counts counts;
    worker_signals signals;
    service dispatcher; // signal_delivery.cpp: gives out what is recorded while everybody waits
    service trimmer;    // idle_stacks.cpp
    service dumper;     // dump.cpp
    service answerer;   // own_signals.cpp
    bool dump_requested = false; // atomic
    bool trimmer_asleep = false; // atomic: until there is activity; else its pause is not cut short
};
extern worker the_worker __attribute__((visibility("hidden")));

// Whether WRFSBASE may be used: else each change of the FS base is a system call.
extern bool has_fsgsbase __asm__("waist_has_fsgsbase") __attribute__((visibility("hidden")));

inline uintptr_t fs_base() {
    uintptr_t at;
    __asm__ volatile("movq %%fs:0, %0" : "=r"(at)); // the TCB begins with its own address
    return at;
}
inline void set_fs_base(uintptr_t base) {
    if (CO_LIKELY(has_fsgsbase)) {
        __asm__ volatile("wrfsbase %0" : : "r"(base) : "memory");
        return;
    }
    constexpr long arch_set_fs = 0x1002;
    sys::call(SYS_arch_prctl, arch_set_fs, base);
    __asm__ volatile("" : : : "memory");
}

inline void enter_runtime(thread *t) { set_fs_base(t->home->fs); }
inline void leave_runtime(thread *t) { set_fs_base(t->fs); }

// Before main: everything for one thread. Text of what failed, or nullptr.
const char *prepare_worker(worker *w);
// In the runtime, at the first clone of a thread: the loop, and the calling thread as a coroutine.
// 0 or -errno.
int activate(worker *w);
void choose_tids(int pid); // in every process, before its threads
// In the child of a fork, in the runtime.
void after_fork_in_child(worker *w, thread *self);

thread *new_thread(worker *w); // nullptr: no memory. With a tid, and in no list
void enlist_thread(thread *t);
void free_thread(thread *t);

} // namespace corun::waist
