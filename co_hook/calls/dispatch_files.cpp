// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/dispatch_parts.h"

#include "co_hook/calls/copy.h"
#include "co_hook/calls/files.h"
#include "co_hook/calls/lock.h"

#include "co_routine/base/user_memory.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

namespace corun::calls {
namespace {

constexpr wait_kind file_kind{"syscall: a file", false, nullptr};

// What a helper makes as it stands: which arguments are strings, and is the first one a descriptor?
struct by_number {
    long nr;
    int path = -1, second_path = -1;
    bool by_fd = false;
};
constexpr by_number helpers[] = {
    {SYS_unlink, 0},
    {SYS_unlinkat, 1},
    {SYS_rmdir, 0},
    {SYS_rename, 0, 1},
    {SYS_renameat, 1, 3},
    {SYS_renameat2, 1, 3},
    {SYS_mkdir, 0},
    {SYS_mkdirat, 1},
    {SYS_link, 0, 1},
    {SYS_linkat, 1, 3},
    {SYS_symlink, 0, 1},
    {SYS_symlinkat, 0, 2},
    {SYS_mknod, 0},
    {SYS_mknodat, 1},
    {SYS_chmod, 0},
    {SYS_fchmod, -1, -1, true},
    {SYS_fchmodat, 1},
    {SYS_chown, 0},
    {SYS_lchown, 0},
    {SYS_fchown, -1, -1, true},
    {SYS_fchownat, 1},
    {SYS_truncate, 0},
    {SYS_ftruncate, -1, -1, true},
#if defined(__i386__)
    {SYS_chown32, 0},
    {SYS_lchown32, 0},
    {SYS_fchown32, -1, -1, true},
    {SYS_truncate64, 0},
    {SYS_ftruncate64, -1, -1, true},
#endif
    {SYS_fallocate, -1, -1, true},
    {SYS_fsync, -1, -1, true},
    {SYS_fdatasync, -1, -1, true},
    {SYS_syncfs, -1, -1, true},
    {SYS_sync_file_range, -1, -1, true},
    {SYS_readahead, -1, -1, true},
    {SYS_sync},
};

bool made_by_helper(long nr, const word (&a)[6], word *result) {
    for (const by_number &n : helpers) {
        if (n.nr != nr)
            continue;
        *result = by_helper({.kind = file_kind,
                             .nr = nr,
                             .args = {a[0], a[1], a[2], a[3], a[4], a[5]},
                             .path = n.path,
                             .second_path = n.second_path,
                             .by_fd = n.by_fd});
        return true;
    }
    return false;
}

// What asks about the file at args[path] and fills in args[out].
word ask(long nr, const word (&a)[6], int path, int out, size_t bytes, bool counted, int flags) {
    file_call c{.kind = file_kind,
                .nr = nr,
                .args = {a[0], a[1], a[2], a[3], a[4], a[5]},
                .path = path,
                .out = out,
                .out_bytes = bytes,
                .counted = counted,
                .dirfd = path == 1 ? static_cast<int>(a[0]) : AT_FDCWD,
                .follow = !(flags & AT_SYMLINK_NOFOLLOW)};
    const char *name = as<const char *>(a[path]);
    if (!(flags & AT_EMPTY_PATH) || (name && path_bytes(name) != 1))
        return by_path(c);
    c.by_fd = a[0] != AT_FDCWD;
    return c.by_fd ? by_descriptor(c) : in_place(c);
}

bool asked(long nr, const word (&a)[6], word *result) {
    constexpr int nothing = -1, no_follow = AT_SYMLINK_NOFOLLOW;
    switch (nr) {
#if defined(__i386__)
    case SYS_stat64:
        return *result = ask(nr, a, 0, 1, sizeof(struct stat64), false, 0), true;
    case SYS_lstat64:
        return *result = ask(nr, a, 0, 1, sizeof(struct stat64), false, no_follow), true;
    case SYS_fstatat64:
        return *result = ask(nr, a, 1, 2, sizeof(struct stat64), false, as<int>(a[3])), true;
#else
    case SYS_stat:
        return *result = ask(nr, a, 0, 1, sizeof(struct stat), false, 0), true;
    case SYS_lstat:
        return *result = ask(nr, a, 0, 1, sizeof(struct stat), false, no_follow), true;
    case SYS_newfstatat:
        return *result = ask(nr, a, 1, 2, sizeof(struct stat), false, as<int>(a[3])), true;
#endif
    case SYS_statx:
        return *result = ask(nr, a, 1, 4, sizeof(struct statx), false, as<int>(a[2])), true;
    case SYS_access:
        return *result = ask(nr, a, 0, nothing, 0, false, 0), true;
    case SYS_faccessat:
        return *result = ask(nr, a, 1, nothing, 0, false, 0), true;
    case SYS_faccessat2:
        return *result = ask(nr, a, 1, nothing, 0, false, as<int>(a[3])), true;
    case SYS_readlink:
        return *result = ask(nr, a, 0, 1, as<size_t>(a[2]), true, no_follow), true;
    case SYS_readlinkat:
        return *result = ask(nr, a, 1, 2, as<size_t>(a[3]), true, no_follow), true;
    default:
        return false;
    }
}

bool copied(long nr, const word (&a)[6], word *result) {
    switch (nr) {
#if defined(__i386__)
    case SYS_sendfile: { // a narrow offset
        auto *offset = as<long *>(a[2]);
        long narrow = 0;
        if (offset && !user_read(offset, &narrow))
            return *result = -EFAULT, true;
        int64_t wide = narrow;
        *result =
            sendfile(as<int>(a[0]), as<int>(a[1]), offset ? &wide : nullptr, as<size_t>(a[3]));
        if (offset && !user_write(offset, static_cast<long>(wide)))
            *result = -EFAULT;
        return true;
    }
    case SYS_sendfile64:
#else
    case SYS_sendfile:
#endif
        *result = sendfile(as<int>(a[0]), as<int>(a[1]), as<int64_t *>(a[2]), as<size_t>(a[3]));
        return true;
    case SYS_splice:
        *result = splice(as<int>(a[0]), as<int64_t *>(a[1]), as<int>(a[2]), as<int64_t *>(a[3]),
                         as<size_t>(a[4]), as<unsigned>(a[5]));
        return true;
    case SYS_tee:
        *result = tee(as<int>(a[0]), as<int>(a[1]), as<size_t>(a[2]), as<unsigned>(a[3]));
        return true;
    case SYS_vmsplice:
        *result = calls::vmsplice(as<int>(a[0]), as<const iovec *>(a[1]), as<size_t>(a[2]),
                                  as<unsigned>(a[3]));
        return true;
    case SYS_copy_file_range:
        *result = copy_file_range(as<int>(a[0]), as<int64_t *>(a[1]), as<int>(a[2]),
                                  as<int64_t *>(a[3]), as<size_t>(a[4]), as<unsigned>(a[5]));
        return true;
    default:
        return false;
    }
}

} // namespace

bool dispatch_file_call(long nr, const word (&a)[6], word *result) {
    constexpr int creates = O_CREAT | O_WRONLY | O_TRUNC;
    switch (nr) {
    case SYS_open:
        *result = openat(AT_FDCWD, as<const char *>(a[0]), as<int>(a[1]), as<unsigned>(a[2]));
        return true;
    case SYS_creat:
        *result = openat(AT_FDCWD, as<const char *>(a[0]), creates, as<unsigned>(a[1]));
        return true;
    case SYS_openat:
        *result = openat(as<int>(a[0]), as<const char *>(a[1]), as<int>(a[2]), as<unsigned>(a[3]));
        return true;
    case SYS_flock:
        return *result = calls::flock(as<int>(a[0]), as<int>(a[1])), true;
    case SYS_fcntl:
#if defined(__i386__)
    case SYS_fcntl64: // SYS_fcntl's locks are narrow, and block
        if (nr == SYS_fcntl)
            return false;
#endif
        if (!is_lock_wait(as<int>(a[1])))
            return false;
        return *result = lock_range(as<int>(a[0]), as<int>(a[1]), as<void *>(a[2])), true;
    default:
        return copied(nr, a, result) || asked(nr, a, result) || made_by_helper(nr, a, result);
    }
}

} // namespace corun::calls
