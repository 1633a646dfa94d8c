// SPDX-License-Identifier: Apache-2.0
// The times in the arguments of raw system calls: two words, or (time64, i386's newer calls) 64-bit
// seconds and nanoseconds whose upper half is padding.
#pragma once

#include "co_routine/base/clock.h"
#include "co_routine/base/raw_sys.h"

#include <cerrno>

namespace corun::calls {

struct time_in_words {
    long seconds, part;
};
struct time_in_64_bits {
    int64_t seconds;
    long part;
};

// What the kernel never maps for a program: the first page, and its own half.
inline bool cannot_be_mapped(const void *address) {
    auto place = reinterpret_cast<uintptr_t>(address);
    return place < 4096 || (sizeof(void *) == 8 && place >> 56 != 0);
}

// parts_per_s: nanoseconds or microseconds. A null pointer is for ever: no_deadline. 0, -EINVAL,
// -EFAULT.
inline int read_kernel_time(const void *at, bool time64, int64_t *ns,
                            int64_t parts_per_s = ns_per_s) {
    *ns = no_deadline;
    if (!at)
        return 0;
    if (cannot_be_mapped(at))
        return -EFAULT;
    time_in_64_bits t;
    if (time64)
        t = *static_cast<const time_in_64_bits *>(at);
    else
        t = {static_cast<const time_in_words *>(at)->seconds,
             static_cast<const time_in_words *>(at)->part};
    if (t.seconds < 0 || t.part < 0 || t.part >= parts_per_s)
        return -EINVAL;
    *ns = saturated_ns(t.seconds, t.part * (ns_per_s / parts_per_s));
    return 0;
}

inline void write_kernel_time(void *at, bool time64, int64_t ns, int64_t parts_per_s = ns_per_s) {
    auto part = static_cast<long>(ns % ns_per_s / (ns_per_s / parts_per_s));
    if (time64) {
        static_cast<time_in_64_bits *>(at)->seconds = ns / ns_per_s;
        auto *padded = reinterpret_cast<int64_t *>(at) + 1;
        *padded = part;
    } else {
        *static_cast<time_in_words *>(at) = {static_cast<long>(ns / ns_per_s), part};
    }
}

} // namespace corun::calls
