// SPDX-License-Identifier: Apache-2.0
// Sleeping: the thread's timers. On clocks other than the monotonic one the wait is checked against
// that clock at each end, and once a second in between, because somebody may set it.
#include "co_hook/calls/calls.h"

#include "co_routine/loop/park.h"

#include <cerrno>
#include <ctime>

namespace corun::calls {
namespace {

constexpr wait_kind sleep_kind{"sleep", false, nullptr};

bool valid(int64_t seconds, int64_t nanoseconds) {
    return seconds >= 0 && nanoseconds >= 0 && nanoseconds < ns_per_s;
}

word park_until(int64_t deadline_ns) {
    if (!current_env())
        return -ENOMEM;
    for (;;) {
        int r = park(sleep_kind, {}, deadline_ns);
        if (r != 0)
            return r == -ETIMEDOUT ? 0 : r;
        if (now_ns() >= deadline_ns)
            return 0;
    }
}

// now on this clock, or -errno
word read_clock(int clock, int64_t *now) {
    sys::kernel_timespec t{};
    word r = sys::call(sys::nr_clock_gettime, clock, &t);
    *now = saturated_ns(t.tv_sec, t.tv_nsec);
    return r;
}

word sleep_on(int clock, int64_t end_ns) {
    for (;;) {
        int64_t now;
        if (word r = read_clock(clock, &now))
            return r;
        if (now >= end_ns)
            return 0;
        int64_t left = end_ns - now;
        if (word r = park_until(deadline_in(left < ns_per_s ? left : ns_per_s)))
            return r;
    }
}

} // namespace

word sleep_ns(int64_t seconds, int64_t nanoseconds, int64_t *left_ns) {
    if (!valid(seconds, nanoseconds))
        return -EINVAL;
    int64_t deadline_ns = deadline_in(saturated_ns(seconds, nanoseconds));
    word r = park_until(deadline_ns);
    if (r != 0 && left_ns) {
        int64_t left = deadline_ns == no_deadline ? no_deadline : deadline_ns - now_ns();
        *left_ns = left > 0 ? left : 0;
    }
    return r;
}

word clock_sleep(int clock, bool absolute, int64_t seconds, int64_t nanoseconds, int64_t *left_ns) {
    bool wall = clock == CLOCK_REALTIME || clock == CLOCK_TAI || clock == CLOCK_BOOTTIME;
    if (clock != CLOCK_MONOTONIC && !wall) {
        // The kernel says whether this clock can be slept on: a look that takes no time.
        word r = sys::call(sys::nr_clock_nanosleep, clock, TIMER_ABSTIME, &sys::at_once, nullptr);
        if (r != 0)
            return r;
    }
    if (!valid(seconds, nanoseconds))
        return -EINVAL;
    if (!absolute && (clock == CLOCK_MONOTONIC || wall))
        return sleep_ns(seconds, nanoseconds, left_ns);
    int64_t end_ns = saturated_ns(seconds, nanoseconds);
    if (clock == CLOCK_MONOTONIC)
        return park_until(end_ns);
    if (!absolute) {
        int64_t now;
        if (word r = read_clock(clock, &now))
            return r;
        if (__builtin_add_overflow(now, end_ns, &end_ns))
            end_ns = no_deadline;
    }
    word r = sleep_on(clock, end_ns);
    int64_t now = end_ns;
    if (r != 0 && !absolute && left_ns && read_clock(clock, &now) == 0)
        *left_ns = end_ns > now ? end_ns - now : 0;
    return r;
}

} // namespace corun::calls
