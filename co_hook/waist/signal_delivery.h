// SPDX-License-Identifier: Apache-2.0
// From a signal to the first instruction of a handler.
#pragma once

#include "co_hook/waist/signal_state.h"

namespace corun::waist {

// What the kernel knows of every signal that the program handles.
kernel_action action_of_ours(unsigned long flags_of_program);

// The kernel's alternate stack becomes ours. false: no memory
bool take_alternate_stack(struct worker *w);
// A coroutine that gives out what is recorded while everybody else waits.
bool begin_dispatcher(struct worker *w);

// The program's action, or the default one, was chosen for this thread: what the kernel would do then.
void do_default_action(int signal);

} // namespace corun::waist
