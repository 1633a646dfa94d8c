// SPDX-License-Identifier: Apache-2.0
// Where a thread of this process is, seen from another one: see blocked.h for the rules.
#pragma once

#include <cstdint>

namespace corun {

struct blocked_place {
    enum { unknown, in_system_call, in_kernel, computing } how = unknown;
    long number = 0; // of the system call
    uintptr_t argument[2] = {};
    bool exact_first = false; // frames[0] is a pc, the rest are return addresses
    int count = 0;
    void *frames[16] = {};
};

// Set by co_hook/waist: a thread that computes says where it is, and its callers are sought on its
// stack, as with one in a system call; there is no unwinder that may run in its handler.
extern bool places_by_stack __attribute__((visibility("hidden")));

bool asks_by_signal(); // SIGURG is ours
void prepare_places(); // once; not in a signal handler
blocked_place place_of_thread(int tid);
unsigned describe_place(const blocked_place &place, char *out, unsigned size);
void write_frames_of(const blocked_place &place); // to stderr

} // namespace corun
