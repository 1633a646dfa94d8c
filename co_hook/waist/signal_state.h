// SPDX-License-Identifier: Apache-2.0
// What is kept of signals: of each thread what the kernel would keep for it, and of the process the
// handlers it has installed.
//
// The rules of the whole room
//  1. The kernel has a signal blocked if and only if all threads of the program block it. So what
//     everybody blocks stays pending in the kernel, where signalfd and sigtimedwait find it; default
//     actions and ignoring are the kernel's own, too. But SIGSEGV and SIGBUS are always open, for they
//     answer touches (base/user_memory.h): what is sent of them while all block it is kept by a thread.
//  2. Of a signal that the program handles the kernel knows on_signal (signal_delivery.cpp), which
//     runs on a stack of the worker's with everything blocked. If it has interrupted code of the
//     program, it builds the frame that the kernel would have built, on the thread's stack. If it has
//     interrupted the runtime, it only records: no structure of the runtime is touched there.
//  3. What is recorded gets to a thread that does not block it (signal_queue.cpp), and is delivered
//     when that thread leaves the runtime. One that is parked in a call which the kernel would
//     interrupt is made to leave it, as by a cancel.
//  4. The mask and what is recorded are of one kernel thread, so the worker's (worker_signals); the
//     actions, what is captured and the timers are the process's.
#pragma once

#include "co_hook/waist/frame.h"
#include "co_routine/base/list.h"

#include <csignal>
#include <cstdint>

namespace corun::waist {

using signal_set = uint64_t; // the kernel's: bit s - 1

inline constexpr int most_signals = 64;
inline constexpr int first_queued_signal =
    32; // from here on every one sent counts (the kernel's SIGRTMIN)
inline constexpr int set_ids_signal = 33; // glibc's SIGSETXID

constexpr signal_set bit_of(int signal) { return signal_set{1} << (signal - 1); }
inline constexpr signal_set never_blocked = bit_of(SIGKILL) | bit_of(SIGSTOP);
inline constexpr signal_set all_signals = ~signal_set{0};
// What the running code raises itself, and which is delivered before others.
inline constexpr signal_set of_faults = bit_of(SIGSEGV) | bit_of(SIGBUS) | bit_of(SIGILL) |
                                        bit_of(SIGTRAP) | bit_of(SIGFPE) | bit_of(SIGSYS);

// What the runtime raises itself, where it looks at memory of the program that is not there. So the
// kernel never has them blocked: what is sent of them while all threads block it is kept here.
inline constexpr signal_set of_touches = bit_of(SIGSEGV) | bit_of(SIGBUS);

// As rt_sigaction takes it.
struct kernel_action {
    uintptr_t handler;
    unsigned long flags;
    uintptr_t restorer;
    signal_set mask;

    bool has_handler() const { return handler > 1; } // neither SIG_DFL nor SIG_IGN
};

struct pending_signal {
    list_node link;
    siginfo_t info;
    bool of_process;   // any thread may have it
    bool lent = false; // signal_fds.h
};

// Where a handler is entered: leave.S knows the offsets.
struct handler_entry {
    uintptr_t fs, sp, pc, signal, info, context;
};
static_assert(offsetof(handler_entry, pc) == WAIST_ENTRY_PC);
static_assert(offsetof(handler_entry, context) == WAIST_ENTRY_CONTEXT);

inline constexpr int auto_disarm = 1 << 31; // SS_AUTODISARM

struct alternate_stack {
    uintptr_t low = 0;
    int flags = SS_DISABLE;
    size_t bytes = 0;
};

struct thread_signals {
    signal_set blocked = 0;
    signal_set pending = 0; // what stands in the queue
    list_head queue;        // pending_signal, first come first
    signal_set awaited = 0; // while it is in sigtimedwait
    signal_set former = 0;  // sigsuspend and kin: comes back when the handler returns
    bool has_former = false;
    bool look = false;        // when it leaves the runtime, there may be something for it
    bool interrupted = false; // the call it is in is to end
    bool sets_ids = false;    // in the handler of set_ids_signal
    alternate_stack alternate;

    signal_set deliverable() const { return pending & ~blocked; }
};

struct recorded_signal {
    siginfo_t info;
    int interrupted_tid;
};
inline constexpr unsigned most_recorded = 64;

// Of one kernel thread.
struct worker_signals {
    // Its mask: what all of its threads block.
    unsigned blocked_by[most_signals] = {}; // threads, by signal
    unsigned threads = 0;
    signal_set blocked_by_all = 0;             // in the kernel, too, but for moments and of_touches
    signal_set held = 0;                       // besides, for a loan (signal_fds.h)
    signal_set *mask_of_interrupted = nullptr; // where on_signal's end takes the mask from

    // What on_signal has recorded. end: on_signal's; begin: the runtime's.
    recorded_signal ring[most_recorded] = {};
    volatile unsigned ring_end = 0, ring_begin = 0;
    volatile bool arrived = false;           // something was recorded. Read by every call
    volatile bool kernel_holds_back = false; // there was no room left, and everything is blocked

    size_t queued = 0;   // in the queues of its threads
    signal_set kept = 0; // of of_touches: may stand in the queue of a thread for all of them

    char *handler_stack = nullptr; // on_signal's
};

} // namespace corun::waist
