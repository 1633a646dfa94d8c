// SPDX-License-Identifier: Apache-2.0
// File systems: statfs and statvfs, in libc's structures, like the stat family.
#include "co_hook/symbols/file_call.h"

#include <sys/statfs.h>
#include <sys/statvfs.h>

namespace corun::symbols {
namespace {
constexpr unsigned family = CO_HOOK_FILES;

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

using plain_statfs = struct statfs;
using wide_statfs = struct statfs64;
using plain_statvfs = struct statvfs;
using wide_statvfs = struct statvfs64;
CORUN_BY_PATH(statfs, plain_statfs, raw_statfs(path, out), true)
CORUN_BY_PATH(statfs64, wide_statfs, raw_statfs(path, out), true)
CORUN_BY_DESCRIPTOR(fstatfs, plain_statfs, raw_fstatfs(fd, out))
CORUN_BY_DESCRIPTOR(fstatfs64, wide_statfs, raw_fstatfs(fd, out))
CORUN_BY_PATH(statvfs, plain_statvfs, raw_statvfs(path, out), true)
CORUN_BY_PATH(statvfs64, wide_statvfs, raw_statvfs(path, out), true)
CORUN_BY_DESCRIPTOR(fstatvfs, plain_statvfs, raw_fstatvfs(fd, out))
CORUN_BY_DESCRIPTOR(fstatvfs64, wide_statvfs, raw_fstatvfs(fd, out))
CORUN_HOOK_ALIAS(int, __statfs, statfs, (const char *, plain_statfs *));

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(statfs, O),    CORUN_ALIAS_ENTRY(__statfs, O), CORUN_ENTRY(statfs64, O),
    CORUN_ENTRY(fstatfs, O),   CORUN_ENTRY(fstatfs64, O),      CORUN_ENTRY(statvfs, O),
    CORUN_ENTRY(statvfs64, O), CORUN_ENTRY(fstatvfs, O),       CORUN_ENTRY(fstatvfs64, O),
};

} // namespace

CORUN_TABLE(statfs_table, entries);

} // namespace corun::symbols
