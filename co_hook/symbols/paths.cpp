// SPDX-License-Identifier: Apache-2.0
// What a path leads to: access, links, realpath. In place where it is cached and near, else on a
// helper.
#include "co_hook/symbols/file_call.h"

#include <cstdlib>
#include <unistd.h>

extern "C" [[noreturn]] void __chk_fail();

namespace corun::symbols {
namespace {
constexpr unsigned family = CO_HOOK_FILES;
} // namespace

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
namespace {

const hook_entry entries[] = {
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
};

} // namespace

CORUN_TABLE(paths_table, entries);

} // namespace corun::symbols
