// SPDX-License-Identifier: Apache-2.0
// Signals and coroutines.
//
// Waiting for a signal (sigwait and kin): the kernel's own call with no time to wait, so the siginfo
// is the kernel's, whole; between two looks a signalfd of the same set says when to look. Waiting for
// a handler (pause, sigsuspend) needs to know that one ran: the door puts plain_handler and
// info_handler between the kernel and the program's.
//
// Rules
//  - A handler that began through these runs native: see core/native.h. One that the program
//    installed without us (a raw rt_sigaction) is not seen: it ends no pause.
//  - A thread has one mask and many coroutines. sigsuspend's mask applies at its looks; what the
//    thread does not block is delivered while it waits, also what that mask would hold back.
//  - sigwait's set is to be blocked by the thread, as POSIX asks: while the coroutine is parked
//    nobody blocks it otherwise.
#pragma once

#include "co_hook/calls/calls.h"

#include <csignal>

namespace corun::calls {

inline constexpr int most_signals = 64;

// What rt_sigaction takes.
struct kernel_action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    uint64_t mask;
};

// set: the kernel's 8 bytes. timeout_ns < 0: for ever. The signal's number, or -errno.
word sigtimedwait(const void *set, siginfo_t *info, int64_t timeout_ns);

// Until a handler has run in this thread, for a signal that the mask (null: none) does not hold
// back. -EINTR, as in the kernel.
word wait_for_handler(const void *mask);

// The program's handlers, by signal; what the kernel is given instead is plain_handler or
// info_handler.
using any_handler = void *;                         // a function of one parameter, or of three
any_handler set_handler(int signal, any_handler f); // the former one
any_handler handler_of(int signal);
void plain_handler(int signal);
void info_handler(int signal, siginfo_t *info, void *context);

} // namespace corun::calls
