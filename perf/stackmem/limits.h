// SPDX-License-Identifier: Apache-2.0
/*
 * limits.h - where a machine stops, and the words for it.
 *
 *     ceiling c = find_ceiling(plan);                // what is known beforehand: memory, processes
 *     ... make at most c.count, until an error comes ...
 *     say_why(plan, made, error, &c, m);             // m->stopped_by, m->raise
 *
 * Rules
 *  - A third of the memory and a thousand process numbers are left for everybody else.
 *  - say_why is called while what was made is still there: it counts mappings and tasks.
 */
#ifndef CORUN_PERF_STACKMEM_LIMITS_H
#define CORUN_PERF_STACKMEM_LIMITS_H

#include "perf/stackmem/kinds.h"

namespace stackmem {

struct ceiling {
    long count;
    bool by_memory; // else by the process numbers, where it is below what was asked for
    int64_t available_bytes, bytes_each;
};

ceiling find_ceiling(const plan &p);

void say_why(const plan &p, int error, const ceiling &c, measurement *m);

// Threads and contexts take two mappings each; the library's coroutines take none of their own.
long most_by_mappings(const plan &p);

// Bytes that one will hold at least, for the decision how many fit.
int64_t expected_bytes(const plan &p);

} // namespace stackmem

#endif
