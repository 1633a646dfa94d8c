// SPDX-License-Identifier: Apache-2.0
// What co_dump, and corun's dump, say of a coroutine:
//
//     #3 'worker' parked in recv (fd 7, 10.0.0.1:5000) for 20 ms, 480 ms left; private stack 131072 bytes, 3120 used
//     #4 parked in mutex (0x55d0c1a0, held by #3) for 12 s; shared stack 65536 bytes, 208 saved, 512 used at most
//         #0 0x5581d0c0de0e co_sleep_ms+0x5e (./prog+0x11e0e)      with CO_DUMP_STACKS
//
// Rules
//  - co_dump writes with raw calls, a line each: the thread stands still while fd does not take them.
//  - Names of functions: see format_frame. File and offset are what addr2line wants.
//  - 4 KiB of stack, 10 KiB more with frames.
#pragma once

#include "co_routine/debug/backtrace.h"

namespace corun {

inline constexpr unsigned dump_line_bytes = 512;
inline constexpr int most_dumped_frames = 64;

// What a line begins and ends with where its writer knows better; nullptr: as above.
struct dump_words {
    const char *who = nullptr, *stack = nullptr;
};
// The whole line of co, with its newline; returns the length.
unsigned format_coroutine(char *out, unsigned size, const coroutine *co,
                          const dump_words &words = {});
// A frame's line, with its newline.
unsigned format_dumped_frame(char *out, unsigned size, int number, void *pc, bool exact_pc);
// The lines of co's frames, each given to write, until that returns another than 0; returns it.
template <class F> int each_frame_line(const coroutine *co, void *caller, F write) {
    void *pcs[most_dumped_frames];
    char line[dump_line_bytes];
    int n = frames_of(co, caller, pcs, most_dumped_frames), error = 0;
    for (int i = 0; i < n && error == 0; ++i)
        error = write(line, format_dumped_frame(line, sizeof line, i, pcs[i], false));
    return error;
}

} // namespace corun
