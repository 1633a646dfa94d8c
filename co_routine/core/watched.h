// SPDX-License-Identifier: Apache-2.0
// Switches in a process that a sanitizer or Valgrind watches.
//
// The way of a switch asks one thing anyway: does the newcomer's home admit it? In a process that ASan or
// TSan watches no home does, and coroutines with a stack of their own have a gate for a home, one for the
// thread, which never admits. So each switch takes the way of those whose bytes must be brought in
// (switch_to_absent), and there the sanitizer is told; in any other process nothing was added.
//
// Valgrind knows the stacks (stack/) and sees stack pointers by itself: in a switch only the exchange of
// bytes on a shared stack is told.
#pragma once

#include "co_routine/core/env.h"

namespace corun {

// Gives a coroutine what the sanitizers want of it, and the gate if its stack is its own.
void watch(coroutine *co);
void watch_root(co_env *env);
void stop_watching(co_env *env, coroutine *co); // it may be running: it ends
void stop_watching_thread(co_env *env);
void watch_again(coroutine *co); // reset

// Of shared stacks: their bytes are not all that is exchanged.
inline bool bytes_are_watched() { return is_watched_by(byte_watchers) || has_fibers(); }

inline void leave_watched(coroutine *from, coroutine *to) {
    if (has_fibers())
        san_leave(from ? &from->extra->fiber : nullptr, &to->extra->fiber, to->low_end(),
                  to->high_end());
}
inline void arrive_watched(coroutine *self) {
    if (has_fibers())
        san_arrive(&self->extra->fiber);
}

} // namespace corun
