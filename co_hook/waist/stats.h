// SPDX-License-Identifier: Apache-2.0
// corun --stats and --stats-signal: the table of what the threads, the calls and the memory of this
// process are and were. man/corun.1 describes its lines.
//
//     call_begins(t, nr);  ...the call...  call_ends(t);       in the runtime
//
// Rules
//  - At the end: exit_group, the last thread's exit, and SIGTERM, SIGINT and SIGHUP where the program
//    left them at their default. A process that is killed otherwise, or executes another program,
//    leaves no table. The child of a fork has counts of its own, and a table if it had threads.
//  - A table is written where nothing of the runtime is under way: by a coroutine of its own, or in a signal that
//    has interrupted the program's own code.
#pragma once

#include "co_hook/waist/environment.h"
#include "co_hook/waist/signal_frame.h"
#include "co_hook/waist/worker.h"

namespace corun::waist {

// ---- Counting

void time_call(thread *t);                      // as it begins
void time_call_ended(thread *t, bool had_turn); // had_turn: nobody else had one meanwhile
void time_turn_preempted(const thread *t, const machine &m, uintptr_t pc); // FS base: the worker's

inline void call_begins(thread *t, long nr) {
    worker *w = t->home;
    ++w->counts.of(nr).made;
    t->call_nr = nr;
    t->counts.switches_at_call = w->env->counts.switches;
    if (CO_UNLIKELY(w->counts.timed))
        time_call(t);
}

inline void call_ends(thread *t) {
    worker *w = t->home;
    bool had_turn = t->counts.switches_at_call == w->env->counts.switches;
    if (!had_turn) {
        ++w->counts.of(t->call_nr).parked;
        ++t->counts.waits;
    }
    if (CO_UNLIKELY(w->counts.timed))
        time_call_ended(t, had_turn);
    t->call_nr = -1;
}

// A new thread's first turn, or the next of one that was preempted.
inline void turn_begins(thread *t) {
    if (CO_UNLIKELY(t->home->counts.timed))
        t->counts.turn_began = cycles();
}

void count_new_thread(worker *w);
void count_end_of_thread(thread *t); // on its stack, with nothing left to do there

// ---- The table

void prepare_stats(const options &asked); // ends the process if the file cannot be opened
void begin_stats(worker *w);              // at the first clone of a thread
void stats_after_fork_in_child(worker *w);
void stats_at_end(); // of the process. FS base: any

} // namespace corun::waist
