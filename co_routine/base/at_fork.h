// SPDX-License-Identifier: Apache-2.0
// What the rooms must do around a fork. In a process whose fork is libc's the functions hang on
// pthread_atfork; where fork comes in as a system call (co_hook/waist), that door runs them.
#pragma once

namespace corun {

// Any may be nullptr. Called in constructors and at first use; never undone.
void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)());

// From now on nobody but the caller of the three below runs them.
void fork_handlers_are_mine();
void run_before_fork(); // the last registered first
void run_after_fork_in_parent();
void run_after_fork_in_child();

} // namespace corun
