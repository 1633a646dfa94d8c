// SPDX-License-Identifier: Apache-2.0
// The sleeping functions. They differ in their units and in how they tell of an early end.
#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/time_types.h"

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_SLEEP;

// sleep_for a relative time; left may be null.
template <class T> word sleep_for(const T *wanted, T *left) {
    int64_t left_ns = 0;
    word r = calls::sleep_ns(wanted->tv_sec, wanted->tv_nsec, &left_ns);
    if (r != 0 && r != -EINVAL && left)
        from_ns(left_ns, left);
    return r;
}

template <class T> word sleep_on_clock(int clock, int flags, const T *wanted, T *left) {
    constexpr int timer_abstime = 1;
    bool absolute = (flags & timer_abstime) != 0;
    int64_t left_ns = 0;
    word r = calls::clock_sleep(clock, absolute, wanted->tv_sec, wanted->tv_nsec, &left_ns);
    if (r == -ECANCELED && !absolute && left)
        from_ns(left_ns, left);
    return r;
}

template <class T> word raw_clock_sleep(int clock, int flags, const T *wanted, T *left) {
    sys::kernel_timespec t{wanted->tv_sec, wanted->tv_nsec}, rest{};
    word r = sys::call(sys::nr_clock_nanosleep, clock, flags, &t, &rest);
    if (r == -EINTR && left && !(flags & 1))
        from_ns(rest.tv_sec * ns_per_s + rest.tv_nsec, left);
    return r;
}

// Functions that return the error instead of setting errno.
int error_number(word r) { return static_cast<int>(-r); }
int error_number_after_wait(word r) { return leave_wait(static_cast<int>(-r)); }

constexpr int realtime = CLOCK_REALTIME; // what libc's nanosleep and sleep use

unsigned raw_sleep(unsigned seconds) {
    timespec64 wanted{seconds, 0, 0}, left{};
    word r = raw_clock_sleep(realtime, 0, &wanted, &left);
    return r == 0 ? 0 : static_cast<unsigned>(left.tv_sec + (left.tv_nsec >= ns_per_s / 2));
}
unsigned sleep_seconds(unsigned seconds) {
    int64_t left_ns = 0;
    word r = calls::sleep_ns(seconds, 0, &left_ns);
    if (r != 0)
        leave_with(r);
    return static_cast<unsigned>((left_ns + ns_per_s / 2) / ns_per_s);
}
word raw_usleep(unsigned us) {
    timespec64 wanted{us / 1000000, static_cast<int32_t>(us % 1000000 * 1000), 0};
    return raw_clock_sleep(realtime, 0, &wanted, static_cast<timespec64 *>(nullptr));
}

// thrd_sleep: 0, -1 for a signal, less for other errors.
int c11_result(int error) { return error == 0 ? 0 : error == EINTR ? -1 : -2; }

} // namespace

CORUN_HOOK(int, nanosleep, (const timespec *wanted, timespec *left), (wanted, left),
           raw_clock_sleep(realtime, 0, wanted, left), sleep_for(wanted, left))
CORUN_HOOK_ALIAS(int, __nanosleep, nanosleep, (const timespec *, timespec *));
CORUN_HOOK(int, usleep, (unsigned us), (us), raw_usleep(us),
           calls::sleep_ns(us / 1000000, us % 1000000 * 1000, nullptr))

CORUN_NATIVE(unsigned, sleep, (unsigned seconds), raw_sleep(seconds));
unsigned hook_sleep(unsigned seconds) {
    return hooks_are_on(family) ? sleep_seconds(seconds) : native_sleep(seconds);
}

#define CORUN_CLOCK_SLEEP(name, T)                                                                 \
    CORUN_NATIVE(int, name, (int clock, int flags, const T *wanted, T *left),                      \
                 error_number(raw_clock_sleep(clock, flags, wanted, left)));                       \
    int hook_##name(int clock, int flags, const T *wanted, T *left) {                              \
        if (!hooks_are_on(family))                                                                 \
            return native_##name(clock, flags, wanted, left);                                      \
        if (clock == CLOCK_THREAD_CPUTIME_ID)                                                      \
            return EINVAL; /* libc's own check */                                                  \
        return error_number_after_wait(sleep_on_clock(clock, flags, wanted, left));                \
    }
#define CORUN_C11_SLEEP(name, T)                                                                   \
    CORUN_NATIVE(int, name, (const T *wanted, T *left),                                            \
                 c11_result(error_number(raw_clock_sleep(realtime, 0, wanted, left))));            \
    int hook_##name(const T *wanted, T *left) {                                                    \
        if (!hooks_are_on(family))                                                                 \
            return native_##name(wanted, left);                                                    \
        return c11_result(error_number_after_wait(sleep_for(wanted, left)));                       \
    }
CORUN_CLOCK_SLEEP(clock_nanosleep, timespec)
CORUN_C11_SLEEP(thrd_sleep, timespec)

#if defined(__i386__)
CORUN_HOOK(int, __nanosleep64, (const timespec64 *wanted, timespec64 *left), (wanted, left),
           raw_clock_sleep(realtime, 0, wanted, left), sleep_for(wanted, left))
CORUN_CLOCK_SLEEP(__clock_nanosleep_time64, timespec64)
CORUN_C11_SLEEP(__thrd_sleep64, timespec64)
#endif

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(nanosleep, T),       CORUN_ALIAS_ENTRY(__nanosleep, T),
    CORUN_ENTRY(usleep, T),          CORUN_ENTRY(sleep, T),
    CORUN_ENTRY(clock_nanosleep, T), CORUN_ENTRY(thrd_sleep, T),
#if defined(__i386__)
    CORUN_ENTRY(__nanosleep64, T),   CORUN_ENTRY(__clock_nanosleep_time64, T),
    CORUN_ENTRY(__thrd_sleep64, T),
#endif
};

} // namespace

CORUN_TABLE(sleep_table, entries);

} // namespace corun::symbols
