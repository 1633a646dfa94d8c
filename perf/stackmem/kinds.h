// SPDX-License-Identifier: Apache-2.0
/*
 * kinds.h - the kinds of stack that are compared, and what is measured of each.
 *
 * All have stacks of the same size. The two private kinds differ in their guards, the shared ones in
 * how many stacks there are for all.
 */
#ifndef CORUN_PERF_STACKMEM_KINDS_H
#define CORUN_PERF_STACKMEM_KINDS_H

#include <cstddef>
#include <cstdint>

namespace stackmem {

enum class way { private_stack, shared_stack, thread, ucontext };

struct kind {
    const char *name; // what --kind takes, or its beginning
    way how;
    int guard_bytes;   // private stacks
    int shared_stacks; // how many
};

inline constexpr kind kinds[] = {
    {"private-64k", way::private_stack, 64 * 1024, 0},
    {"private-4k", way::private_stack, 4 * 1024, 0},
    {"shared-1", way::shared_stack, 0, 1},
    {"shared-16", way::shared_stack, 0, 16},
    {"shared-256", way::shared_stack, 0, 256},
    {"pthread", way::thread, 0, 0},
    {"ucontext", way::ucontext, 0, 0},
};

enum class touch { all, ends, none }; // which of the live bytes are written

// One measurement to be made.
struct plan {
    kind what;
    long count;
    long live_bytes;
    long depth; // frames that they are spread over
    touch touched;
    long stack_bytes;
    bool quick; // fewer rounds
};

enum class phase { creating, two_at_a_time, in_order, shuffled, ending, over };

// What a child writes into memory that it shares with its parent. Bytes are of all together.
struct measurement {
    int64_t made;
    int64_t rss, page_tables, kernel_stacks, virtual_bytes;
    int64_t slab;                // the whole machine's: others may be in it
    int64_t saved, save_buffers; // parts of rss
    int64_t control_block;       // a part of rss, of one
    int64_t unguarded;           // private stacks without a guard: the kernel has no cheap ones
    int64_t damaged;             // live bytes not as they were left
    double create_ns, two_ns, order_ns, shuffled_ns, end_ns; // medians of rounds; < 0: not measured
    char stopped_by[160], raise[160]; // less was made than asked for: why, and what to raise
    phase now;
    int64_t done; // of that phase, for the progress bar
    bool complete;
};

inline size_t page_up(size_t bytes) { return (bytes + 4095) & ~size_t{4095}; }

} // namespace stackmem

#endif
