// SPDX-License-Identifier: Apache-2.0
// Before credentials, capabilities, namespaces or filters change: helper threads that did work under
// the old ones must not do any more (measured: after setuid one could still read what only root may).
#pragma once

#include "co_hook/calls/calls.h"

namespace corun::calls {

// of_thread: the change is the calling thread's alone (the raw system calls, capset, unshare ...).
// The helpers are the process's and inherit from whoever starts them: where other threads run
// coroutines too, they would work for each other under the wrong ones, so that is refused with a
// line. 0 or -EPERM.
int before_credentials_change(bool of_thread);

// Is this system call such a change, and the calling thread's alone as the kernel makes it? For
// syscall() and whoever else sees numbers. option: the call's first argument.
bool changes_credentials(long nr, long option);
bool prctl_changes_credentials(int option);

} // namespace corun::calls
