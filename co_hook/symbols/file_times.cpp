// SPDX-License-Identifier: Apache-2.0
// The times of files, in all the forms that libc has: each is utimensat.
#include "co_hook/symbols/file_call.h"
#include "co_hook/symbols/time_types.h"

#include <sys/stat.h>
#include <sys/time.h>
#include <utime.h>

namespace corun::symbols {

#if defined(__i386__)
struct utimbuf64 {
    int64_t actime, modtime;
};
#endif

namespace {

constexpr unsigned family = CO_HOOK_FILES;

#if defined(__i386__)
constexpr long nr_utimensat = SYS_utimensat_time64;
#else
constexpr long nr_utimensat = SYS_utimensat;
#endif

using two_times = sys::kernel_timespec[2];

template <class T> void convert(const T *from, two_times &to) {
    for (int i = 0; i < 2; ++i)
        if constexpr (requires { from->tv_usec; })
            to[i] = {from[i].tv_sec, from[i].tv_usec * 1000};
        else
            to[i] = {from[i].tv_sec, from[i].tv_nsec};
}
template <class T> requires requires(const T t) { t.modtime; }
void convert(const T *from, two_times &to) {
    to[0] = {from->actime, 0};
    to[1] = {from->modtime, 0};
}

// No path: the descriptor's file.
template <class T>
word set_times(const wait_kind &kind, bool in_coroutine, int dirfd, const char *path, const T *from,
               int flags) {
    two_times times;
    if (!path && dirfd < 0)
        return -EBADF;
    if (from)
        convert(from, times);
    const calls::file_call c{.kind = kind,
                             .nr = nr_utimensat,
                             .args = {dirfd, WORD(path), from ? WORD(times) : 0, flags},
                             .path = 1,
                             .in = 2,
                             .in_bytes = sizeof times,
                             .by_fd = !path};
    return in_coroutine ? calls::by_helper(c) : calls::in_place(c);
}

// libc's own where it has its own word on a missing path.
template <class T> const char *path_or_fault(const T *path) {
    constexpr uintptr_t never_mapped = 1;
    return path ? path : reinterpret_cast<const char *>(never_mapped);
}

} // namespace

#define CORUN_TIMES(name, parameters, arguments, ...)                                              \
    static constexpr wait_kind name##_kind{#name, false, nullptr};                                 \
    CORUN_HOOK(int, name, parameters, arguments, set_times(name##_kind, false, __VA_ARGS__),       \
               set_times(name##_kind, true, __VA_ARGS__))

#define CORUN_UTIME(name, T)                                                                       \
    CORUN_TIMES(name, (const char *path, const T *t), (path, t), AT_FDCWD, path_or_fault(path), t, \
                0)
#define CORUN_LUTIMES(name, T)                                                                     \
    CORUN_TIMES(name, (const char *path, const T *t), (path, t), AT_FDCWD, path_or_fault(path), t, \
                AT_SYMLINK_NOFOLLOW)
#define CORUN_FUTIMES(name, T)                                                                     \
    CORUN_TIMES(name, (int fd, const T *t), (fd, t), fd, static_cast<const char *>(nullptr), t, 0)
#define CORUN_FUTIMESAT(name, T)                                                                   \
    CORUN_TIMES(name, (int dirfd, const char *path, const T *t), (dirfd, path, t), dirfd, path, t, \
                0)
#define CORUN_UTIMENSAT(name, T)                                                                   \
    CORUN_NATIVE(int, name, (int dirfd, const char *path, const T *t, int flags),                  \
                 plain_result<int>(path ? set_times(utimensat_kind, false, dirfd, path, t, flags)  \
                                        : word{-EINVAL}));                                         \
    int hook_##name(int dirfd, const char *path, const T *t, int flags) {                          \
        if (!path || !hooks_are_on(family))                                                        \
            return native_##name(dirfd, path, t, flags);                                           \
        return to_libc<int>(set_times(utimensat_kind, true, dirfd, path, t, flags));               \
    }

static constexpr wait_kind utimensat_kind{"utimensat", false, nullptr};
CORUN_UTIME(utime, utimbuf)
CORUN_UTIME(utimes, timeval)
CORUN_LUTIMES(lutimes, timeval)
CORUN_FUTIMES(futimes, timeval)
CORUN_FUTIMES(futimens, timespec)
CORUN_FUTIMESAT(futimesat, timeval)
CORUN_UTIMENSAT(utimensat, timespec)
#if defined(__i386__)
CORUN_UTIME(__utime64, utimbuf64)
CORUN_UTIME(__utimes64, timeval64)
CORUN_LUTIMES(__lutimes64, timeval64)
CORUN_FUTIMES(__futimes64, timeval64)
CORUN_FUTIMES(__futimens64, timespec64)
CORUN_FUTIMESAT(__futimesat64, timeval64)
CORUN_UTIMENSAT(__utimensat64, timespec64)
#endif

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(utime, O),         CORUN_ENTRY(utimes, O),       CORUN_ENTRY(lutimes, O),
    CORUN_ENTRY(futimes, O),       CORUN_ENTRY(futimens, O),     CORUN_ENTRY(futimesat, O),
    CORUN_ENTRY(utimensat, O),
#if defined(__i386__)
    CORUN_ENTRY(__utime64, O),     CORUN_ENTRY(__utimes64, O),   CORUN_ENTRY(__lutimes64, O),
    CORUN_ENTRY(__futimes64, O),   CORUN_ENTRY(__futimens64, O), CORUN_ENTRY(__futimesat64, O),
    CORUN_ENTRY(__utimensat64, O),
#endif
};

} // namespace

CORUN_TABLE(file_times_table, entries);

} // namespace corun::symbols
