// SPDX-License-Identifier: Apache-2.0
// Waiting for children. Each look is the kernel's own call with WNOHANG, made by the coroutine's own
// thread; what happens between two looks:
//
//     one child's end                        its pidfd becomes readable
//     any child, a group, stops              waitid with WNOWAIT on a helper of its own: it ends when
//                                            there is something to look at, and takes nothing
//     __WNOTHREAD, neither of these to be had  another look every 20 ms
//
// A helper that is given up (a cancel) stays until a child changes state, or none is left.
#pragma once

#include "co_hook/calls/calls.h"

#include <csignal>
#include <sys/resource.h>

namespace corun::calls {

// The kernel's rusage: native words, on i386 too.
word wait4(pid_t pid, int *status, int options, rusage *use);
word waitid(int type, id_t id, siginfo_t *info, int options, rusage *use);

// What system(3) does around its child: the process ignores SIGINT and SIGQUIT, the thread holds
// SIGCHLD back, until the last one has ended. *mask: the thread's before.
void begin_system(uint64_t *mask);
void end_system();
bool system_ignored(int signal); // before: then its child does too
// Waits for the child of system(3), and ends it where the wait is cancelled.
word wait_for_system(pid_t pid, int *status);

} // namespace corun::calls
