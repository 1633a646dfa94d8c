// SPDX-License-Identifier: Apache-2.0
// Time. Deadlines are absolute nanoseconds on CLOCK_MONOTONIC, so a step of the wall clock moves
// none of them. no_deadline is for ever.
#pragma once

#include <cstdint>
#include <ctime>

namespace corun {

inline constexpr int64_t no_deadline = INT64_MAX;
inline constexpr int64_t ns_per_s = 1000000000;
inline constexpr int64_t ns_per_ms = 1000000;

// Not a hooked name: clock_gettime never blocks and is answered by the vDSO.
inline int64_t now_ns() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<int64_t>(t.tv_sec) * ns_per_s + t.tv_nsec;
}

// The deadline that lies ns from now; for ever when that is past the end of time.
inline int64_t deadline_in(int64_t ns) {
    int64_t deadline;
    if (__builtin_add_overflow(now_ns(), ns, &deadline))
        return no_deadline;
    return deadline;
}

// For ever where it does not fit.
inline int64_t saturated_ns(int64_t seconds, int64_t nanoseconds) {
    int64_t ns;
    if (__builtin_mul_overflow(seconds, ns_per_s, &ns) ||
        __builtin_add_overflow(ns, nanoseconds, &ns))
        return no_deadline;
    return ns;
}

// A timeout of poll's. -1 is for ever, as it is for the calls that take nanoseconds.
inline int64_t ms_to_ns(int ms) { return ms < 0 ? -1 : ms * ns_per_ms; }

// A timeout in milliseconds as the public interface has it: negative is for ever.
inline int64_t deadline_in_ms(long ms) {
    int64_t ns;
    if (ms < 0 || __builtin_mul_overflow(static_cast<int64_t>(ms), ns_per_ms, &ns))
        return no_deadline;
    return deadline_in(ns);
}

// For people: at most four digits below 100 hours, of one unit.
struct spoken_duration {
    long long count;
    const char *unit;
};
inline spoken_duration in_words(int64_t ns) {
    auto ms = static_cast<long long>(ns / ns_per_ms), s = ms / 1000, minutes = s / 60;
    if (s < 10)
        return {ms, "ms"};
    if (minutes < 100)
        return {s, "s"};
    return minutes < 6000 ? spoken_duration{minutes, "min"} : spoken_duration{minutes / 60, "h"};
}

// A cheap, unscaled tick for "has it been long" decisions only.
inline uint64_t cycles() { return __builtin_ia32_rdtsc(); }

} // namespace corun
