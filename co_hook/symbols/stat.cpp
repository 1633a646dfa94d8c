// SPDX-License-Identifier: Apache-2.0
// The stat family. In place where the file is cached and near; else libc's function runs on a helper,
// because each of the many structures is libc's.
#include "co_hook/symbols/file_call.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace corun::symbols {
namespace {
constexpr unsigned family = CO_HOOK_FILES;
} // namespace

#if defined(__i386__)
// Not in the unnamed namespace: functions that take it would not be exported.
// struct stat where both _TIME_BITS and _FILE_OFFSET_BITS are 64.
struct stat_time64 {
    struct time {
        int64_t tv_sec;
        int32_t tv_nsec, padding;
    };
    uint64_t st_dev, st_ino;
    uint32_t st_mode, st_nlink, st_uid, st_gid;
    uint64_t st_rdev;
    int64_t st_size;
    int32_t st_blksize;
    int64_t st_blocks;
    time st_atim, st_mtim, st_ctim;
};
#endif

namespace {

template <class T> void set_time(T *to, const statx_timestamp &from) {
    to->tv_sec = static_cast<decltype(to->tv_sec)>(from.tv_sec);
    to->tv_nsec = static_cast<decltype(to->tv_nsec)>(from.tv_nsec);
}

// Where libc's own cannot be found (-static).
template <class S> word raw_stat(int dirfd, const char *path, S *out, int flags) {
    struct statx x;
    word r = sys::call(SYS_statx, dirfd, path, flags, STATX_BASIC_STATS, &x);
    if (sys::failed(r))
        return r;
    *out = S{};
    out->st_dev = makedev(x.stx_dev_major, x.stx_dev_minor);
    out->st_ino = static_cast<decltype(out->st_ino)>(x.stx_ino);
    out->st_mode = x.stx_mode;
    out->st_nlink = x.stx_nlink;
    out->st_uid = x.stx_uid;
    out->st_gid = x.stx_gid;
    out->st_rdev = makedev(x.stx_rdev_major, x.stx_rdev_minor);
    out->st_size = static_cast<decltype(out->st_size)>(x.stx_size);
    out->st_blksize = static_cast<decltype(out->st_blksize)>(x.stx_blksize);
    out->st_blocks = static_cast<decltype(out->st_blocks)>(x.stx_blocks);
    set_time(&out->st_atim, x.stx_atime);
    set_time(&out->st_mtim, x.stx_mtime);
    set_time(&out->st_ctim, x.stx_ctime);
    return r;
}
} // namespace

#define CORUN_STAT(name, S, flags)                                                                 \
    CORUN_BY_PATH(name, S, raw_stat(AT_FDCWD, path, out, flags), (flags) == 0)
#define CORUN_FSTAT(name, S) CORUN_BY_DESCRIPTOR(name, S, raw_stat(fd, "", out, AT_EMPTY_PATH))
#define CORUN_FSTATAT(name, S)                                                                     \
    CORUN_NATIVE(int, name, (int dirfd, const char *path, S *out, int flags),                      \
                 plain_result<int>(raw_stat(dirfd, path, out, flags)));                            \
    int hook_##name(int dirfd, const char *path, S *out, int flags) {                              \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!hooks_are_on_for_program(family))                                                     \
            return native_##name(dirfd, path, out, flags);                                         \
        return libc_at(kind, dirfd, path, flags, out, [dirfd, flags](const char *p, S *o) {        \
            return native_##name(dirfd, p, o, flags);                                              \
        });                                                                                        \
    }
// The names that programs built before glibc 2.33 call.
#define CORUN_XSTAT(name, S, flags)                                                                \
    CORUN_NATIVE(                                                                                  \
        int, name, (int version, const char *path, S *out),                                        \
        plain_result<int>(raw_stat(AT_FDCWD, path, out, (static_cast<void>(version), flags))));    \
    int hook_##name(int version, const char *path, S *out) {                                       \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!hooks_are_on_for_program(family))                                                     \
            return native_##name(version, path, out);                                              \
        return libc_by_path(                                                                       \
            kind, AT_FDCWD, path, (flags) == 0, out,                                               \
            [version](const char *p, S *o) { return native_##name(version, p, o); });              \
    }
#define CORUN_FXSTAT(name, S)                                                                      \
    CORUN_NATIVE(                                                                                  \
        int, name, (int version, int fd, S *out),                                                  \
        plain_result<int>(raw_stat(fd, "", out, (static_cast<void>(version), AT_EMPTY_PATH))));    \
    int hook_##name(int version, int fd, S *out) {                                                 \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!hooks_are_on_for_program(family))                                                     \
            return native_##name(version, fd, out);                                                \
        return libc_by_descriptor(kind, fd, out, [version, fd](const char *, S *o) {               \
            return native_##name(version, fd, o);                                                  \
        });                                                                                        \
    }
#define CORUN_FXSTATAT(name, S)                                                                    \
    CORUN_NATIVE(                                                                                  \
        int, name, (int version, int dirfd, const char *path, S *out, int flags),                  \
        plain_result<int>(raw_stat(dirfd, path, out, (static_cast<void>(version), flags))));       \
    int hook_##name(int version, int dirfd, const char *path, S *out, int flags) {                 \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!hooks_are_on_for_program(family))                                                     \
            return native_##name(version, dirfd, path, out, flags);                                \
        return libc_at(kind, dirfd, path, flags, out,                                              \
                       [version, dirfd, flags](const char *p, S *o) {                              \
                           return native_##name(version, dirfd, p, o, flags);                      \
                       });                                                                         \
    }

using plain_stat = struct stat;
using wide_stat = struct stat64;
CORUN_STAT(stat, plain_stat, 0)
CORUN_STAT(stat64, wide_stat, 0)
CORUN_STAT(lstat, plain_stat, AT_SYMLINK_NOFOLLOW)
CORUN_STAT(lstat64, wide_stat, AT_SYMLINK_NOFOLLOW)
CORUN_FSTAT(fstat, plain_stat)
CORUN_FSTAT(fstat64, wide_stat)
CORUN_FSTATAT(fstatat, plain_stat)
CORUN_FSTATAT(fstatat64, wide_stat)
CORUN_XSTAT(__xstat, plain_stat, 0)
CORUN_XSTAT(__xstat64, wide_stat, 0)
CORUN_XSTAT(__lxstat, plain_stat, AT_SYMLINK_NOFOLLOW)
CORUN_XSTAT(__lxstat64, wide_stat, AT_SYMLINK_NOFOLLOW)
CORUN_FXSTAT(__fxstat, plain_stat)
CORUN_FXSTAT(__fxstat64, wide_stat)
CORUN_FXSTATAT(__fxstatat, plain_stat)
CORUN_FXSTATAT(__fxstatat64, wide_stat)
#if defined(__i386__)
static_assert(sizeof(stat_time64) == 108 && offsetof(stat_time64, st_atim) == 60);
CORUN_STAT(__stat64_time64, stat_time64, 0)
CORUN_STAT(__lstat64_time64, stat_time64, AT_SYMLINK_NOFOLLOW)
CORUN_FSTAT(__fstat64_time64, stat_time64)
CORUN_FSTATAT(__fstatat64_time64, stat_time64)
#endif

CORUN_NATIVE(int, statx, (int dirfd, const char *path, int flags, unsigned mask, struct statx *out),
             plain_result<int>(sys::call(SYS_statx, dirfd, path, flags, mask, out)));
int hook_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *out) {
    static constexpr wait_kind kind{"statx", false, nullptr};
    if (!hooks_are_on(family))
        return native_statx(dirfd, path, flags, mask, out);
    return libc_at(kind, dirfd, path, flags, out, [=](const char *p, struct statx *o) {
        return native_statx(dirfd, p, flags, mask, o);
    });
}
namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(stat, O),
    CORUN_ENTRY(stat64, O),
    CORUN_ENTRY(lstat, O),
    CORUN_ENTRY(lstat64, O),
    CORUN_ENTRY(fstat, O),
    CORUN_ENTRY(fstat64, O),
    CORUN_ENTRY(fstatat, O),
    CORUN_ENTRY(fstatat64, O),
    CORUN_ENTRY(__xstat, O),
    CORUN_ENTRY(__xstat64, O),
    CORUN_ENTRY(__lxstat, O),
    CORUN_ENTRY(__lxstat64, O),
    CORUN_ENTRY(__fxstat, O),
    CORUN_ENTRY(__fxstat64, O),
    CORUN_ENTRY(__fxstatat, O),
    CORUN_ENTRY(__fxstatat64, O),
    CORUN_ENTRY(statx, O),
#if defined(__i386__)
    CORUN_ENTRY(__stat64_time64, O),
    CORUN_ENTRY(__lstat64_time64, O),
    CORUN_ENTRY(__fstat64_time64, O),
    CORUN_ENTRY(__fstatat64_time64, O),
#endif
};

} // namespace

CORUN_TABLE(stat_table, entries);

} // namespace corun::symbols
