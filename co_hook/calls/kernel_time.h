// SPDX-License-Identifier: Apache-2.0
// The times in the arguments of raw system calls: two words, or (time64, i386's newer calls) 64-bit
// seconds and nanoseconds whose upper half is padding.
#pragma once

#include "co_routine/base/clock.h"
#include "co_routine/base/user_memory.h"

#include <cerrno>

namespace corun::calls {

struct time_in_words {
    long seconds, part;
};
struct time_in_64_bits {
    int64_t seconds;
    long part;
};

// parts_per_s: nanoseconds or microseconds. A null pointer is for ever: no_deadline. 0, -EINVAL,
// -EFAULT.
inline int read_kernel_time(const void *at, bool time64, int64_t *ns,
                            int64_t parts_per_s = ns_per_s) {
    *ns = no_deadline;
    if (!at)
        return 0;
    time_in_64_bits t;
    time_in_words narrow{};
    if (!(time64 ? user_read(at, &t) : user_read(at, &narrow)))
        return -EFAULT;
    if (!time64)
        t = {narrow.seconds, narrow.part};
    if (t.seconds < 0 || t.part < 0 || t.part >= parts_per_s)
        return -EINVAL;
    *ns = saturated_ns(t.seconds, t.part * (ns_per_s / parts_per_s));
    return 0;
}

// False: EFAULT.
inline bool write_kernel_time(void *at, bool time64, int64_t ns, int64_t parts_per_s = ns_per_s) {
    int64_t part = ns % ns_per_s / (ns_per_s / parts_per_s);
    if (time64)
        return user_write(at, sys::kernel_timespec{ns / ns_per_s, part});
    return user_write(at, time_in_words{static_cast<long>(ns / ns_per_s), static_cast<long>(part)});
}

} // namespace corun::calls
