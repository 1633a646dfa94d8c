// SPDX-License-Identifier: Apache-2.0
// The longest stretches in which one coroutine ran and its loop could not turn, with its frames of that time:
// of the process, the longest first. CORUN_DEBUG=blocked finds them (blocked.h), and corun's statistics.
//
//     312 ms, 12 s ago: coroutine 'worker' (#3) of thread 811, computing
//         #0 0x5581d0c0de0e save_all+0x5e (./server+0x11e0e)
#pragma once

#include <cstddef>
#include <cstdint>

namespace corun {

struct stretch {
    uint64_t key = 0; // one that is kept already and goes on has the same; 0: it is over
    int64_t lasted_ns = 0, ended_ns = 0;
    char who[128] = {}, where[128] = {};
    bool exact_first = false; // frames[0] is a pc, the rest are return addresses
    int count = 0;
    void *frames[16] = {};
};

inline constexpr unsigned most_stretches = 8;

// Any thread. Of one that goes on the latest length and place count, and the frames if there are new ones.
void keep_stretch(const stretch &s);
// Its place and frames need not be sought: it would not be kept, or only grows a little.
bool is_minor_stretch(uint64_t key, int64_t lasted_ns);
void note_stretch_length(uint64_t key, int64_t lasted_ns, int64_t ended_ns); // of one that is kept
bool kept_stretch(unsigned i, stretch *out); // the i-th longest; false: there are fewer
unsigned format_stretch(char *out, unsigned size, const stretch &s);
void stretches_after_fork_in_child();

} // namespace corun
