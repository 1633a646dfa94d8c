// SPDX-License-Identifier: Apache-2.0
// What asks about files: the stat family, access, links, file systems. In place where it is cached
// and near; else libc's function runs on a helper, because each of the many structures is libc's.
#include "co_hook/symbols/file_call.h"

#include <cstdlib>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

extern "C" [[noreturn]] void __chk_fail();

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

bool names_descriptor(const char *path, int flags) {
    return (flags & AT_EMPTY_PATH) && (!path || calls::path_bytes(path) == 1);
}

// f(path, out), where path may be the descriptor's own.
template <class Out, class F>
int libc_at(const wait_kind &kind, int dirfd, const char *path, int flags, Out *out, F f) {
    if (names_descriptor(path, flags))
        return libc_by_descriptor(kind, dirfd, out, [f](const char *, Out *o) { return f("", o); });
    return libc_by_path(kind, dirfd, path, !(flags & AT_SYMLINK_NOFOLLOW), out, f);
}

} // namespace

#define CORUN_STAT(name, S, flags)                                                                 \
    CORUN_NATIVE(int, name, (const char *path, S *out),                                            \
                 plain_result<int>(raw_stat(AT_FDCWD, path, out, flags)));                         \
    int hook_##name(const char *path, S *out) {                                                    \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!hooks_are_on(family))                                                                 \
            return native_##name(path, out);                                                       \
        return libc_by_path(kind, AT_FDCWD, path, (flags) == 0, out,                               \
                            [](const char *p, S *o) { return native_##name(p, o); });              \
    }
#define CORUN_FSTAT(name, S)                                                                       \
    CORUN_NATIVE(int, name, (int fd, S *out),                                                      \
                 plain_result<int>(raw_stat(fd, "", out, AT_EMPTY_PATH)));                         \
    int hook_##name(int fd, S *out) {                                                              \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!hooks_are_on(family))                                                                 \
            return native_##name(fd, out);                                                         \
        return libc_by_descriptor(kind, fd, out,                                                   \
                                  [fd](const char *, S *o) { return native_##name(fd, o); });      \
    }
#define CORUN_FSTATAT(name, S)                                                                     \
    CORUN_NATIVE(int, name, (int dirfd, const char *path, S *out, int flags),                      \
                 plain_result<int>(raw_stat(dirfd, path, out, flags)));                            \
    int hook_##name(int dirfd, const char *path, S *out, int flags) {                              \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!hooks_are_on(family))                                                                 \
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
        if (!hooks_are_on(family))                                                                 \
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
        if (!hooks_are_on(family))                                                                 \
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
        if (!hooks_are_on(family))                                                                 \
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

// ---- Access

CORUN_FILE_CALL(int, access, (const char *path, int mode), (path, mode), by_path, .nr = SYS_access,
                .args = {WORD(path), mode}, .path = 0)
CORUN_NATIVE(int, faccessat, (int dirfd, const char *path, int mode, int flags),
             plain_result<int>(flags ? sys::call(SYS_faccessat2, dirfd, path, mode, flags)
                                     : sys::call(SYS_faccessat, dirfd, path, mode)));
int hook_faccessat(int dirfd, const char *path, int mode, int flags) {
    static constexpr wait_kind kind{"faccessat", false, nullptr};
    if (!hooks_are_on(family))
        return native_faccessat(dirfd, path, mode, flags);
    return libc_at(kind, dirfd, path, flags, static_cast<int *>(nullptr),
                   [=](const char *p, int *) { return native_faccessat(dirfd, p, mode, flags); });
}
CORUN_NATIVE(int, euidaccess, (const char *path, int mode),
             plain_result<int>(sys::call(SYS_faccessat2, AT_FDCWD, path, mode, AT_EACCESS)));
int hook_euidaccess(const char *path, int mode) {
    static constexpr wait_kind kind{"euidaccess", false, nullptr};
    if (!hooks_are_on(family))
        return native_euidaccess(path, mode);
    return libc_by_path(kind, AT_FDCWD, path, true, static_cast<int *>(nullptr),
                        [=](const char *p, int *) { return native_euidaccess(p, mode); });
}
CORUN_HOOK_ALIAS(int, eaccess, euidaccess, (const char *, int));

// ---- Links

CORUN_FILE_CALL(ssize_t, readlink, (const char *path, char *to, size_t n), (path, to, n), by_path,
                .nr = SYS_readlink, .args = {WORD(path), WORD(to), WORD(n)}, .path = 0, .out = 1,
                .out_bytes = n, .counted = true, .follow = false)
CORUN_FILE_CALL(ssize_t, readlinkat, (int dirfd, const char *path, char *to, size_t n),
                (dirfd, path, to, n), by_path, .nr = SYS_readlinkat,
                .args = {dirfd, WORD(path), WORD(to), WORD(n)}, .path = 1, .out = 2, .out_bytes = n,
                .counted = true, .dirfd = dirfd, .follow = false)
CORUN_EXPORTED ssize_t hook___readlink_chk(const char *path, char *to, size_t n,
                                           size_t room) __asm__("__readlink_chk");
ssize_t hook___readlink_chk(const char *path, char *to, size_t n, size_t room) {
    if (n > room)
        __chk_fail();
    return hook_readlink(path, to, n);
}
CORUN_EXPORTED ssize_t hook___readlinkat_chk(int dirfd, const char *path, char *to, size_t n,
                                             size_t room) __asm__("__readlinkat_chk");
ssize_t hook___readlinkat_chk(int dirfd, const char *path, char *to, size_t n, size_t room) {
    if (n > room)
        __chk_fail();
    return hook_readlinkat(dirfd, path, to, n);
}

namespace {
struct full_name {
    char text[PATH_MAX];
};
} // namespace
// libc's way takes several calls; there is no stand-in for it in a -static program.
CORUN_NATIVE(char *, realpath, (const char *, char *),
             (plain_result<int>(-ENOSYS), static_cast<char *>(nullptr)));
char *hook_realpath(const char *path, char *resolved) {
    static constexpr wait_kind kind{"realpath", false, nullptr};
    if (!path || !hooks_are_on(family))
        return native_realpath(path, resolved);
    calls::path_look found;
    int e = calls::look_at(kind, AT_FDCWD, path, true, &found);
    if (e == 0 && !found.slow)
        return native_realpath(path, resolved);
    if (e == 0) {
        calls::pool_block block(sizeof(full_name));
        auto *name = reinterpret_cast<full_name *>(block.data());
        if (name) {
            name->text[0] = 0;
            e = static_cast<int>(libc_by_helper(kind, path, name, [](const char *p, full_name *to) {
                return native_realpath(p, to->text) ? 0 : -1;
            }));
        }
        if (name && e == 0) {
            size_t bytes = strlen(name->text) + 1;
            if (!resolved)
                resolved = static_cast<char *>(malloc(bytes));
            if (resolved)
                memcpy(resolved, name->text, bytes);
            return resolved;
        }
        e = name ? e : -ENOMEM;
    }
    leave_with(e);
    return nullptr;
}
CORUN_EXPORTED char *hook___realpath_chk(const char *path, char *resolved,
                                         size_t room) __asm__("__realpath_chk");
char *hook___realpath_chk(const char *path, char *resolved, size_t room) {
    if (room < PATH_MAX)
        __chk_fail();
    return hook_realpath(path, resolved);
}
CORUN_EXPORTED char *
hook_canonicalize_file_name(const char *path) __asm__("canonicalize_file_name");
char *hook_canonicalize_file_name(const char *path) { return hook_realpath(path, nullptr); }

// ---- File systems

namespace {
#if defined(__i386__)
word raw_statfs(const char *path, struct statfs *out) { return sys::call(SYS_statfs, path, out); }
word raw_fstatfs(int fd, struct statfs *out) { return sys::call(SYS_fstatfs, fd, out); }
word raw_statfs(const char *path, struct statfs64 *out) {
    return sys::call(SYS_statfs64, path, sizeof *out, out);
}
word raw_fstatfs(int fd, struct statfs64 *out) {
    return sys::call(SYS_fstatfs64, fd, sizeof *out, out);
}
#else
template <class S> word raw_statfs(const char *path, S *out) {
    return sys::call(SYS_statfs, path, out);
}
template <class S> word raw_fstatfs(int fd, S *out) { return sys::call(SYS_fstatfs, fd, out); }
#endif

template <class V> word to_statvfs(word r, const struct statfs64 &from, V *to) {
    if (sys::failed(r))
        return r;
    constexpr unsigned long valid_flag = 0x20;
    *to = V{};
    to->f_bsize = static_cast<unsigned long>(from.f_bsize);
    to->f_frsize = static_cast<unsigned long>(from.f_frsize ? from.f_frsize : from.f_bsize);
    to->f_blocks = static_cast<decltype(to->f_blocks)>(from.f_blocks);
    to->f_bfree = static_cast<decltype(to->f_bfree)>(from.f_bfree);
    to->f_bavail = static_cast<decltype(to->f_bavail)>(from.f_bavail);
    to->f_files = static_cast<decltype(to->f_files)>(from.f_files);
    to->f_ffree = to->f_favail = static_cast<decltype(to->f_ffree)>(from.f_ffree);
    memcpy(&to->f_fsid, &from.f_fsid, sizeof to->f_fsid);
    to->f_flag = static_cast<unsigned long>(from.f_flags) & ~valid_flag;
    to->f_namemax = static_cast<unsigned long>(from.f_namelen);
    return r;
}
template <class V> word raw_statvfs(const char *path, V *out) {
    struct statfs64 s {};
    return to_statvfs(raw_statfs(path, &s), s, out);
}
template <class V> word raw_fstatvfs(int fd, V *out) {
    struct statfs64 s {};
    return to_statvfs(raw_fstatfs(fd, &s), s, out);
}
} // namespace

#define CORUN_STATFS(name, S, raw)                                                                 \
    CORUN_NATIVE(int, name, (const char *path, S *out), plain_result<int>(raw(path, out)));        \
    int hook_##name(const char *path, S *out) {                                                    \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!hooks_are_on(family))                                                                 \
            return native_##name(path, out);                                                       \
        return libc_by_path(kind, AT_FDCWD, path, true, out,                                       \
                            [](const char *p, S *o) { return native_##name(p, o); });              \
    }
#define CORUN_FSTATFS(name, S, raw)                                                                \
    CORUN_NATIVE(int, name, (int fd, S *out), plain_result<int>(raw(fd, out)));                    \
    int hook_##name(int fd, S *out) {                                                              \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!hooks_are_on(family))                                                                 \
            return native_##name(fd, out);                                                         \
        return libc_by_descriptor(kind, fd, out,                                                   \
                                  [fd](const char *, S *o) { return native_##name(fd, o); });      \
    }
using plain_statfs = struct statfs;
using wide_statfs = struct statfs64;
using plain_statvfs = struct statvfs;
using wide_statvfs = struct statvfs64;
CORUN_STATFS(statfs, plain_statfs, raw_statfs)
CORUN_STATFS(statfs64, wide_statfs, raw_statfs)
CORUN_FSTATFS(fstatfs, plain_statfs, raw_fstatfs)
CORUN_FSTATFS(fstatfs64, wide_statfs, raw_fstatfs)
CORUN_STATFS(statvfs, plain_statvfs, raw_statvfs)
CORUN_STATFS(statvfs64, wide_statvfs, raw_statvfs)
CORUN_FSTATFS(fstatvfs, plain_statvfs, raw_fstatvfs)
CORUN_FSTATFS(fstatvfs64, wide_statvfs, raw_fstatvfs)
CORUN_HOOK_ALIAS(int, __statfs, statfs, (const char *, plain_statfs *));

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
    CORUN_ENTRY(access, O),
    CORUN_ENTRY(faccessat, O),
    CORUN_ENTRY(euidaccess, O),
    CORUN_ALIAS_ENTRY(eaccess, O),
    CORUN_ENTRY(readlink, O),
    CORUN_ENTRY(readlinkat, O),
    CORUN_ALIAS_ENTRY(__readlink_chk, O),
    CORUN_ALIAS_ENTRY(__readlinkat_chk, O),
    CORUN_ENTRY(realpath, O),
    CORUN_ALIAS_ENTRY(__realpath_chk, O),
    CORUN_ALIAS_ENTRY(canonicalize_file_name, O),
    CORUN_ENTRY(statfs, O),
    CORUN_ALIAS_ENTRY(__statfs, O),
    CORUN_ENTRY(statfs64, O),
    CORUN_ENTRY(fstatfs, O),
    CORUN_ENTRY(fstatfs64, O),
    CORUN_ENTRY(statvfs, O),
    CORUN_ENTRY(statvfs64, O),
    CORUN_ENTRY(fstatvfs, O),
    CORUN_ENTRY(fstatvfs64, O),
#if defined(__i386__)
    CORUN_ENTRY(__stat64_time64, O),
    CORUN_ENTRY(__lstat64_time64, O),
    CORUN_ENTRY(__fstat64_time64, O),
    CORUN_ENTRY(__fstatat64_time64, O),
#endif
};

} // namespace

CORUN_TABLE(file_status_table, entries);

} // namespace corun::symbols
