// SPDX-License-Identifier: Apache-2.0
// corun stack PID [ID]: the frames of threads, walked from outside while the process goes on. A thread that
// waits is read as it stands; one that has gone on meanwhile is read again. For one that runs the process is
// stopped, as long as it takes to read its registers and a part of its stack.
#ifndef CORUN_HOOK_LAUNCHER_FRAMES_H
#define CORUN_HOOK_LAUNCHER_FRAMES_H

#include "co_hook/launcher/threads.h"

#include "co_routine/debug/remote_walk.h"

namespace corun::launcher {

constexpr int most_frames = 64;

struct frames {
    uintptr_t pcs[most_frames]; // innermost first
    int count;
    bool first_is_exact; // else it is a return address, as all others are
};

// Once, before the first walk.
void prepare_walks(const attached &p);
// now: what frames are of. False: it has ended. No frames: it went on each time, or cannot be stopped.
bool walk_thread(const attached &p, const thread_row &listed, thread_now *now, frames *out);

// In a system call: what the program had then.
bool registers_at_call(const attached &p, const thread_now &now, switch_registers *out);
// What is mapped of so many bytes from there on: how many.
size_t read_upwards(const attached &p, uintptr_t from, void *to, size_t bytes);

} // namespace corun::launcher

#endif
