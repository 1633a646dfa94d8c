// SPDX-License-Identifier: Apache-2.0
// The times that libc's functions take: timespec and timeval with native words and, on i386, with
// 64-bit seconds (there the kernel's padding is not to be looked at).
#pragma once

#include "co_routine/base/clock.h"

#include <cstdint>
#include <ctime>
#include <sys/time.h>

namespace corun::symbols {

struct timespec64 {
    int64_t tv_sec;
    int32_t tv_nsec;
    int32_t padding;
};
struct timeval64 {
    int64_t tv_sec;
    int64_t tv_usec;
};

// False: the kernel would say EINVAL.
template <class T> inline bool to_ns(const T *t, int64_t *ns) {
    if (t->tv_sec < 0 || t->tv_nsec < 0 || t->tv_nsec >= ns_per_s)
        return false;
    *ns = saturated_ns(t->tv_sec, t->tv_nsec);
    return true;
}

// libc's select carries surplus microseconds over.
template <class T> inline bool timeval_to_ns(const T *t, int64_t *ns) {
    constexpr int64_t us_per_s = 1000000;
    if (t->tv_sec < 0 || t->tv_usec < 0)
        return false;
    int64_t seconds;
    if (__builtin_add_overflow(static_cast<int64_t>(t->tv_sec), t->tv_usec / us_per_s, &seconds))
        *ns = no_deadline;
    else
        *ns = saturated_ns(seconds, t->tv_usec % us_per_s * 1000);
    return true;
}

template <class T> inline void from_ns(int64_t ns, T *t) {
    t->tv_sec = static_cast<decltype(t->tv_sec)>(ns / ns_per_s);
    t->tv_nsec = static_cast<decltype(t->tv_nsec)>(ns % ns_per_s);
}
template <class T> inline void timeval_from_ns(int64_t ns, T *t) {
    t->tv_sec = static_cast<decltype(t->tv_sec)>(ns / ns_per_s);
    t->tv_usec = static_cast<decltype(t->tv_usec)>(ns % ns_per_s / 1000);
}

} // namespace corun::symbols
