// SPDX-License-Identifier: Apache-2.0
// Locks on files: flock, F_SETLKW, F_OFD_SETLKW, lockf.
//
//     word r = wait_for_lock(kind, fd, [](void *c) { return ...the call that does not wait...; }, &c);
//
// A lock belongs to the open file or to the process, and waits for somebody who may be anywhere: so it
// is tried, and tried again after 1 ms, 2 ms ... 20 ms; never on a helper (the shared ones may be what
// the holder needs) and never on a dup (closing it would drop POSIX locks).
//
// Rules
//  - Whoever in this process unlocks or closes a file says locks_changed: all who wait try at once,
//    first come, first served. Other processes' unlocking is seen 20 ms late at most.
//  - Between coroutines of one process F_SETLKW never conflicts, as between its threads. The kernel's
//    search for deadlocks (EDEADLK) knows only who waits in the kernel, so it does not see these.
//  - No signal ends the wait. A lock whose descriptor is closed meanwhile is given up with EBADF.
#pragma once

#include "co_hook/calls/calls.h"
#include "co_routine/core/coroutine.h"

namespace corun::calls {

// attempt: the result, or -EAGAIN while somebody else has it. In a coroutine. The kind's abandon is
// abandon_lock_wait.
word wait_for_lock(const wait_kind &kind, int fd, word (*attempt)(void *), void *context);
void abandon_lock_wait(coroutine *co);
void locks_changed();
void forget_locks_after_fork();

word flock(int fd, int operation);
// fcntl's F_SETLKW and F_OFD_SETLKW in the kernel's numbers, on i386 also F_SETLKW64.
bool is_lock_wait(int command);
int command_without_wait(int command);
bool is_unlock(int command, const void *lock);
word lock_range(int fd, int command, void *lock);

} // namespace corun::calls
