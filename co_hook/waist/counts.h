// SPDX-License-Identifier: Apache-2.0
// What is counted while the program runs, for the table (stats.h). Always on: a call costs an
// increment and a comparison. Times are taken with --stats or --stats-signal alone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace corun::waist {

struct call_counts {
    uint64_t made = 0;
    uint64_t parked = 0;         // the thread waited, and others had the turn
    uint64_t helped = 0;         // what a helper, or io_uring, was given by it
    uint64_t longest_cycles = 0; // in which nobody else had a turn
};

// The longest time that one thread had the turn.
struct longest_turn {
    uint64_t cycles = 0;
    int tid = 0;
    long nr = -1;         // the call at its end; -1: none, it was preempted
    bool in_call = false; // most of it inside that call, not before it
    uintptr_t pc = 0;     // behind the call, in its slot; or where it was preempted
};

// A thread that was preempted, and where that happened first. The first ones have a line each.
struct preempted_thread {
    int tid = 0; // 0: nobody
    uintptr_t pc = 0;
    uint64_t times = 0;
};
inline constexpr unsigned noted_as_preempted = 16;

inline constexpr unsigned counted_numbers = 512; // higher ones count as the last

struct worker_counts {
    bool timed = false;
    uint64_t threads_created = 0, threads_ended = 0;
    unsigned most_threads = 1;
    longest_turn longest;
    preempted_thread preempted[noted_as_preempted];
    unsigned threads_preempted = 0;
    call_counts calls[counted_numbers];

    call_counts &of(long nr) {
        auto n = static_cast<unsigned long>(nr);
        return calls[n < counted_numbers ? n : counted_numbers - 1];
    }
};

struct thread_counts {
    uint64_t switches_at_call = 0;
    uint64_t waits = 0;                      // calls in which others had a turn
    uint64_t call_began = 0, turn_began = 0; // in cycles, where times are taken
    bool was_preempted = false;
    preempted_thread *line = nullptr; // in the worker's counts, for one of the first
};

} // namespace corun::waist
