// SPDX-License-Identifier: Apache-2.0
// Stacks of threads that wait for long: what they once used below their stack pointer goes back to the
// system. A coroutine of the worker's looks at all of them a second after there was something to
// do, and again as long as there is; a process that is idle for good is not woken for it.
#pragma once

#include "co_hook/waist/worker.h"

namespace corun::waist {

bool begin_trimming(worker *w);    // false: no memory
void there_is_activity(worker *w); // from the tick (preempt.h), so also in the signal handler

} // namespace corun::waist
