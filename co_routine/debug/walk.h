// SPDX-License-Identifier: Apache-2.0
// The walk itself, over a cursor of either libunwind: what it leaves out, and where it ends.
#pragma once

#include "co_routine/core/coroutine.h"
#include "co_routine/debug/libunwind.h"
#include "co_routine/debug/unwinder.h"

namespace corun {

inline uintptr_t entry_address() { return reinterpret_cast<uintptr_t>(&coroutine_entry); }

// Our own frames between the capture and the first wanted one are few.
inline constexpr int most_frames_left_out = 16;

// Asked of libunwind, because a neighbour's address may lie close; the distance spares the question
// for nearly every frame.
inline bool is_coroutine_entry(const libunwind::functions_of_cursor &f, libunwind::cursor *cursor,
                               uintptr_t pc) {
    libunwind::procedure p;
    return pc - entry_address() < 4096 && f.get_proc_info(cursor, &p) == 0 &&
           p.start_ip == entry_address();
}

inline bool outside(const live_bytes &stack, uintptr_t sp) {
    return stack.low && (sp < reinterpret_cast<uintptr_t>(stack.low) ||
                         sp > reinterpret_cast<uintptr_t>(stack.high));
}

inline void note_sp(const walk_request &request, int frame, uintptr_t sp) {
    if (request.sps)
        request.sps[frame] = sp;
}

inline int walk(const libunwind::functions_of_cursor &f, libunwind::cursor *cursor,
                const walk_request &request, void **pcs, int max) {
    bool wanted = request.first_pc == nullptr;
    int n = 0, left_out = 0;
    uintptr_t end = reinterpret_cast<uintptr_t>(request.stack.high);
    for (;;) {
        uintptr_t pc = 0, sp = 0;
        if (f.get_reg(cursor, libunwind::register_ip, &pc) < 0 ||
            f.get_reg(cursor, libunwind::register_sp, &sp) < 0 || pc == 0 ||
            outside(request.stack, sp))
            break;
        if (n == max || is_coroutine_entry(f, cursor, pc)) {
            end = sp;
            break;
        }
        wanted = wanted || pc == reinterpret_cast<uintptr_t>(request.first_pc);
        if (wanted) {
            note_sp(request, n, sp);
            pcs[n++] = reinterpret_cast<void *>(pc);
        } else if (++left_out == most_frames_left_out) {
            break;
        }
        if (f.step(cursor) <= 0)
            break;
    }
    note_sp(request, n, end);
    return n;
}

} // namespace corun
