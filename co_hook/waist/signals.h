// SPDX-License-Identifier: Apache-2.0
// Signals, as the rest of the waist sees them. signal_state.h has the rules.
#pragma once

#include "co_hook/waist/worker.h"

namespace corun::waist {

int begin_signals(worker *w);  // at the first clone of a thread: the kernel's handlers become ours
void thread_begins(thread *t); // with its mask; before it runs
void thread_ends(thread *t);   // it is in no list any more

// System calls about signals. False: it is none, or not ours to make.
bool signal_call(thread *self, frame *f, long nr, word (&a)[6], word *result);

// Around a call: whatever was recorded is given to threads, which may interrupt self before it parks.
inline void signals_before_call() {
    void give_out_signals();
    if (CO_UNLIKELY(the_worker.signals.arrived))
        give_out_signals();
}
inline bool signals_to_see(const thread *t) { return t->home->signals.arrived || t->signals.look; }
// After a call, if there are: enters a handler (and does not return), or true: *result is the call's,
// false: it is to be made again.
bool signals_after_call(thread *t, frame *f, long nr, word *result);

// Around fork, and around a clone whose child runs on our memory.
void signals_before_fork();
void signals_after_fork_in_parent();
void signals_after_fork_in_child(thread *self);
void signals_before_vfork(const thread *self);
void signals_after_vfork();

} // namespace corun::waist
