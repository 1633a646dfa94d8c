// SPDX-License-Identifier: Apache-2.0
// What changes names, files and their attributes, and what brings them to the disk.
#include "co_hook/symbols/file_call.h"

#include "co_hook/calls/transfer.h"

#include <sys/mman.h>
#include <sys/stat.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_FILES;

#if defined(__i386__)
constexpr long nr_chown = SYS_chown32, nr_lchown = SYS_lchown32, nr_fchown = SYS_fchown32;
constexpr long nr_truncate = SYS_truncate64, nr_ftruncate = SYS_ftruncate64;
#else
constexpr long nr_chown = SYS_chown, nr_lchown = SYS_lchown, nr_fchown = SYS_fchown;
constexpr long nr_truncate = SYS_truncate, nr_ftruncate = SYS_ftruncate;
#endif

} // namespace

// ---- Names

CORUN_FILE_CALL(int, unlink, (const char *path), (path), by_helper, .nr = SYS_unlink,
                .args = {WORD(path)}, .path = 0)
CORUN_FILE_CALL(int, unlinkat, (int dirfd, const char *path, int flags), (dirfd, path, flags),
                by_helper, .nr = SYS_unlinkat, .args = {dirfd, WORD(path), flags}, .path = 1)
CORUN_FILE_CALL(int, rmdir, (const char *path), (path), by_helper, .nr = SYS_rmdir,
                .args = {WORD(path)}, .path = 0)
CORUN_FILE_CALL(int, rename, (const char *from, const char *to), (from, to), by_helper,
                .nr = SYS_rename, .args = {WORD(from), WORD(to)}, .path = 0, .second_path = 1)
CORUN_FILE_CALL(int, renameat, (int d, const char *from, int e, const char *to), (d, from, e, to),
                by_helper, .nr = SYS_renameat, .args = {d, WORD(from), e, WORD(to)}, .path = 1,
                .second_path = 3)
CORUN_FILE_CALL(int, renameat2, (int d, const char *from, int e, const char *to, unsigned flags),
                (d, from, e, to, flags), by_helper, .nr = SYS_renameat2,
                .args = {d, WORD(from), e, WORD(to), WORD(flags)}, .path = 1, .second_path = 3)
CORUN_FILE_CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), by_helper,
                .nr = SYS_mkdir, .args = {WORD(path), WORD(mode)}, .path = 0)
CORUN_FILE_CALL(int, mkdirat, (int dirfd, const char *path, mode_t mode), (dirfd, path, mode),
                by_helper, .nr = SYS_mkdirat, .args = {dirfd, WORD(path), WORD(mode)}, .path = 1)
CORUN_FILE_CALL(int, link, (const char *from, const char *to), (from, to), by_helper,
                .nr = SYS_link, .args = {WORD(from), WORD(to)}, .path = 0, .second_path = 1)
CORUN_FILE_CALL(int, linkat, (int d, const char *from, int e, const char *to, int flags),
                (d, from, e, to, flags), by_helper, .nr = SYS_linkat,
                .args = {d, WORD(from), e, WORD(to), flags}, .path = 1, .second_path = 3)
CORUN_FILE_CALL(int, symlink, (const char *from, const char *to), (from, to), by_helper,
                .nr = SYS_symlink, .args = {WORD(from), WORD(to)}, .path = 0, .second_path = 1)
CORUN_FILE_CALL(int, symlinkat, (const char *from, int d, const char *to), (from, d, to), by_helper,
                .nr = SYS_symlinkat, .args = {WORD(from), d, WORD(to)}, .path = 0, .second_path = 2)
CORUN_FILE_CALL(int, mkfifo, (const char *path, mode_t mode), (path, mode), by_helper,
                .nr = SYS_mknod, .args = {WORD(path), WORD(mode | S_IFIFO)}, .path = 0)
CORUN_FILE_CALL(int, mkfifoat, (int dirfd, const char *path, mode_t mode), (dirfd, path, mode),
                by_helper, .nr = SYS_mknodat, .args = {dirfd, WORD(path), WORD(mode | S_IFIFO)},
                .path = 1)

// The process's, whoever makes the call.
CORUN_FILE_CALL(int, chdir, (const char *path), (path), by_path, .nr = SYS_chdir,
                .args = {WORD(path)}, .path = 0)
CORUN_FILE_CALL(int, fchdir, (int fd), (fd), by_descriptor, .nr = SYS_fchdir, .args = {fd},
                .by_fd = true)

// As libc's: unlink, and rmdir where that says it is a directory.
CORUN_NATIVE(int, remove, (const char *path), fallback_unlink(path));
int hook_remove(const char *path) {
    if (!hooks_are_on(family))
        return native_remove(path);
    static constexpr wait_kind remove_kind{"remove", false, nullptr};
    word r =
        calls::by_helper({.kind = remove_kind, .nr = SYS_unlink, .args = {WORD(path)}, .path = 0});
    if (r == -EISDIR)
        r = calls::by_helper(
            {.kind = remove_kind, .nr = SYS_rmdir, .args = {WORD(path)}, .path = 0});
    return to_libc<int>(r);
}

// ---- Attributes

CORUN_FILE_CALL(int, chmod, (const char *path, mode_t mode), (path, mode), by_helper,
                .nr = SYS_chmod, .args = {WORD(path), WORD(mode)}, .path = 0)
CORUN_FILE_CALL(int, fchmod, (int fd, mode_t mode), (fd, mode), by_helper, .nr = SYS_fchmod,
                .args = {fd, WORD(mode)}, .by_fd = true)
CORUN_FILE_CALL(int, chown, (const char *path, uid_t u, gid_t g), (path, u, g), by_helper,
                .nr = nr_chown, .args = {WORD(path), WORD(u), WORD(g)}, .path = 0)
CORUN_FILE_CALL(int, lchown, (const char *path, uid_t u, gid_t g), (path, u, g), by_helper,
                .nr = nr_lchown, .args = {WORD(path), WORD(u), WORD(g)}, .path = 0)
CORUN_FILE_CALL(int, fchown, (int fd, uid_t u, gid_t g), (fd, u, g), by_helper, .nr = nr_fchown,
                .args = {fd, WORD(u), WORD(g)}, .by_fd = true)
CORUN_FILE_CALL(int, fchownat, (int dirfd, const char *path, uid_t u, gid_t g, int flags),
                (dirfd, path, u, g, flags), by_helper, .nr = SYS_fchownat,
                .args = {dirfd, WORD(path), WORD(u), WORD(g), flags}, .path = 1)

// libc has its own way where a link is not to be followed.
CORUN_NATIVE(int, fchmodat, (int dirfd, const char *path, mode_t mode, int flags),
             plain_result<int>(flags ? -EOPNOTSUPP : sys::call(SYS_fchmodat, dirfd, path, mode)));
int hook_fchmodat(int dirfd, const char *path, mode_t mode, int flags) {
    if (!hooks_are_on(family))
        return native_fchmodat(dirfd, path, mode, flags);
    static constexpr wait_kind fchmodat_kind{"fchmodat", false, nullptr};
    return to_libc<int>(
        libc_by_helper(fchmodat_kind, path, static_cast<int *>(nullptr), [=](const char *p, int *) {
            return native_fchmodat(dirfd, p, mode, flags);
        }));
}

// ---- Sizes

CORUN_FILE_CALL(int, truncate, (const char *path, off_t length), (path, length), by_helper,
                .nr = nr_truncate, .args = {WORD(path), WORDS64(length)}, .path = 0)
CORUN_FILE_CALL(int, ftruncate, (int fd, off_t length), (fd, length), by_helper, .nr = nr_ftruncate,
                .args = {fd, WORDS64(length)}, .by_fd = true)
CORUN_FILE_CALL(int, fallocate, (int fd, int mode, off_t offset, off_t length),
                (fd, mode, offset, length), by_helper, .nr = SYS_fallocate,
                .args = {fd, mode, WORDS64(offset), WORDS64(length)}, .by_fd = true)
#if defined(__i386__)
CORUN_FILE_CALL(int, truncate64, (const char *path, off64_t length), (path, length), by_helper,
                .nr = nr_truncate, .args = {WORD(path), WORDS64(length)}, .path = 0)
CORUN_FILE_CALL(int, ftruncate64, (int fd, off64_t length), (fd, length), by_helper,
                .nr = nr_ftruncate, .args = {fd, WORDS64(length)}, .by_fd = true)
CORUN_FILE_CALL(int, fallocate64, (int fd, int mode, off64_t offset, off64_t length),
                (fd, mode, offset, length), by_helper, .nr = SYS_fallocate,
                .args = {fd, mode, WORDS64(offset), WORDS64(length)}, .by_fd = true)
#else
CORUN_HOOK_ALIAS(int, truncate64, truncate, (const char *, off_t));
CORUN_HOOK_ALIAS(int, ftruncate64, ftruncate, (int, off_t));
CORUN_HOOK_ALIAS(int, fallocate64, fallocate, (int, int, off_t, off_t));
#endif

// The error is the result. Where the file system cannot allocate, libc writes.
#define CORUN_POSIX_FALLOCATE(name, T)                                                             \
    CORUN_NATIVE(                                                                                  \
        int, name, (int fd, T offset, T length),                                                   \
        static_cast<int>(-sys::call(SYS_fallocate, fd, 0, WORDS64(offset), WORDS64(length))));     \
    int hook_##name(int fd, T offset, T length) {                                                  \
        if (!hooks_are_on(family) || calls::known_bits(fd) == 0)                                   \
            return native_##name(fd, offset, length);                                              \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        return allocate(kind, fd, [=](const char *, int *) {                                       \
            return static_cast<int64_t>(native_##name(fd, offset, length));                        \
        });                                                                                        \
    }
namespace {
template <class F> int allocate(const wait_kind &kind, int fd, F function) {
    if (int e = calls::begin_use(fd))
        return -e;
    bool given_up = false;
    word r = libc_by_helper(
        kind, static_cast<const char *>(nullptr), static_cast<int *>(nullptr), function,
        [](int64_t, const long *args) { calls::end_use(static_cast<int>(args[1])); }, fd,
        &given_up);
    if (!given_up)
        calls::end_use(fd);
    return sys::failed(r) ? leave_wait(static_cast<int>(-r)) : static_cast<int>(r);
}
} // namespace
CORUN_POSIX_FALLOCATE(posix_fallocate, off_t)
#if defined(__i386__)
CORUN_POSIX_FALLOCATE(posix_fallocate64, off64_t)
#else
CORUN_HOOK_ALIAS(int, posix_fallocate64, posix_fallocate, (int, off_t, off_t));
#endif

// ---- To the disk

CORUN_FILE_CALL(int, fsync, (int fd), (fd), by_helper, .nr = SYS_fsync, .args = {fd}, .by_fd = true)
CORUN_FILE_CALL(int, fdatasync, (int fd), (fd), by_helper, .nr = SYS_fdatasync, .args = {fd},
                .by_fd = true)
CORUN_FILE_CALL(int, syncfs, (int fd), (fd), by_helper, .nr = SYS_syncfs, .args = {fd},
                .by_fd = true)
CORUN_FILE_CALL(int, sync_file_range, (int fd, off64_t offset, off64_t n, unsigned flags),
                (fd, offset, n, flags), by_helper, .nr = SYS_sync_file_range,
                .args = {fd, WORDS64(offset), WORDS64(n), WORD(flags)}, .by_fd = true)
CORUN_FILE_CALL(ssize_t, readahead, (int fd, off64_t offset, size_t n), (fd, offset, n), by_helper,
                .nr = SYS_readahead, .args = {fd, WORDS64(offset), WORD(n)}, .by_fd = true)
namespace {
// Only MS_SYNC waits.
word msync_in_coroutine(const calls::file_call &c) {
    return c.args[2] & MS_SYNC ? calls::by_helper(c) : calls::in_place(c);
}
} // namespace
static constexpr wait_kind msync_kind{"msync", false, nullptr};
static calls::file_call describe_msync(void *start, size_t n, int flags) {
    return {.kind = msync_kind, .nr = SYS_msync, .args = {WORD(start), WORD(n), flags}};
}
CORUN_HOOK(int, msync, (void *start, size_t n, int flags), (start, n, flags),
           calls::in_place(describe_msync(start, n, flags)),
           msync_in_coroutine(describe_msync(start, n, flags)))

static void fallback_sync() { sys::call(SYS_sync); }
static void (*native_sync)() = fallback_sync;
CORUN_EXPORTED void hook_sync() __asm__("sync");
void hook_sync() {
    static constexpr wait_kind sync_kind{"sync", false, nullptr};
    if (!hooks_are_on(family))
        native_sync();
    else
        to_libc<int>(calls::by_helper({.kind = sync_kind, .nr = SYS_sync}));
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(unlink, O),          CORUN_ENTRY(unlinkat, O),
    CORUN_ENTRY(rmdir, O),           CORUN_ENTRY(remove, O),
    CORUN_ENTRY(rename, O),          CORUN_ENTRY(renameat, O),
    CORUN_ENTRY(renameat2, O),       CORUN_ENTRY(mkdir, O),
    CORUN_ENTRY(mkdirat, O),         CORUN_ENTRY(link, O),
    CORUN_ENTRY(linkat, O),          CORUN_ENTRY(symlink, O),
    CORUN_ENTRY(symlinkat, O),       CORUN_ENTRY(mkfifo, O),
    CORUN_ENTRY(mkfifoat, O),        CORUN_ENTRY(chmod, O),
    CORUN_ENTRY(fchmod, O),          CORUN_ENTRY(fchmodat, O),
    CORUN_ENTRY(chown, O),           CORUN_ENTRY(lchown, O),
    CORUN_ENTRY(fchown, O),          CORUN_ENTRY(fchownat, O),
    CORUN_ENTRY(truncate, O),        CORUN_ENTRY(ftruncate, O),
    CORUN_ENTRY(fallocate, O),       CORUN_ENTRY(posix_fallocate, O),
    CORUN_ENTRY(fsync, O),           CORUN_ENTRY(fdatasync, O),
    CORUN_ENTRY(syncfs, O),          CORUN_ENTRY(sync, O),
    CORUN_ENTRY(sync_file_range, O), CORUN_ENTRY(readahead, O),
    CORUN_ENTRY(msync, O),           CORUN_ENTRY(chdir, O),
    CORUN_ENTRY(fchdir, O),
#if defined(__i386__)
    CORUN_ENTRY(truncate64, O),      CORUN_ENTRY(ftruncate64, O),
    CORUN_ENTRY(fallocate64, O),     CORUN_ENTRY(posix_fallocate64, O),
#else
    CORUN_ALIAS_ENTRY(truncate64, O), CORUN_ALIAS_ENTRY(ftruncate64, O),
    CORUN_ALIAS_ENTRY(fallocate64, O), CORUN_ALIAS_ENTRY(posix_fallocate64, O),
#endif
};

} // namespace

CORUN_TABLE(files_table, entries);

} // namespace corun::symbols
