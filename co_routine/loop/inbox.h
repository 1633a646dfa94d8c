// SPDX-License-Identifier: Apache-2.0
// Wake-ups from other threads. What is asked of a coroutine is a bit in its `pending`; the one that
// sets the first bit links it into the env's inbox, so a coroutine stands there at most once and
// nothing is allocated. The loop takes the whole list at once. A sleeping loop is rung by its
// eventfd; one that is awake is not.
#pragma once

#include "co_routine/core/env.h"

namespace corun {

void inbox_post(coroutine *co, uint32_t bits); // any thread
void inbox_drain(co_env *env);                 // env's own thread
void inbox_ring(co_env *env);                  // wakes the loop if it sleeps; any thread
inline bool inbox_empty(co_env *env) {
    return __atomic_load_n(&env->inbox, __ATOMIC_SEQ_CST) == nullptr;
}

// co_wake on the coroutine's own thread.
int wake_yielded(coroutine *co);

} // namespace corun
