// SPDX-License-Identifier: Apache-2.0
// Coroutine-local values: a table per coroutine, made when the first value is set. It has two parts
// side by side: values under pthread keys (libco's co_setspecific) and values under co_keys, whose
// destructors run.
#pragma once

#include "co_routine/core/coroutine.h"

namespace corun {

// Runs the destructors of co's values, in up to 4 rounds, and frees the table.
void run_local_destructors(coroutine *co);

// In the child of fork: another thread may have held the lock of the keys.
void reset_keys_lock_after_fork();

} // namespace corun
