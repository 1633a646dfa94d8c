// SPDX-License-Identifier: Apache-2.0
// Extended attributes of files.
#include "co_hook/symbols/file_call.h"

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_FILES;

constexpr size_t longest = 65536; // XATTR_SIZE_MAX, XATTR_LIST_MAX: the kernel writes no more

constexpr size_t room(size_t n) { return n < longest ? n : longest; }

} // namespace

// fd: the file is a descriptor, else a path.
#define CORUN_GETXATTR(name, T, fd)                                                                \
    CORUN_FILE_CALL(ssize_t, name, (T file, const char *attribute, void *value, size_t n),         \
                    (file, attribute, value, n), by_helper, .nr = SYS_##name,                      \
                    .args = {WORD(file), WORD(attribute), WORD(value), WORD(n)},                   \
                    .path = fd ? -1 : 0, .second_path = 1, .out = n ? 2 : -1,                      \
                    .out_bytes = room(n), .counted = true, .by_fd = fd)
#define CORUN_LISTXATTR(name, T, fd)                                                               \
    CORUN_FILE_CALL(ssize_t, name, (T file, char *list, size_t n), (file, list, n), by_helper,     \
                    .nr = SYS_##name, .args = {WORD(file), WORD(list), WORD(n)},                   \
                    .path = fd ? -1 : 0, .out = n ? 1 : -1, .out_bytes = room(n), .counted = true, \
                    .by_fd = fd)
// A value that is too long is refused before it is looked at.
#define CORUN_SETXATTR(name, T, fd)                                                                \
    CORUN_FILE_CALL(                                                                               \
        int, name, (T file, const char *attribute, const void *value, size_t n, int flags),        \
        (file, attribute, value, n, flags), by_helper, .nr = SYS_##name,                           \
        .args = {WORD(file), WORD(attribute), WORD(value), WORD(n), flags}, .path = fd ? -1 : 0,   \
        .second_path = 1, .in = n && n <= longest ? 2 : -1, .in_bytes = n, .by_fd = fd)
#define CORUN_REMOVEXATTR(name, T, fd)                                                             \
    CORUN_FILE_CALL(int, name, (T file, const char *attribute), (file, attribute), by_helper,      \
                    .nr = SYS_##name, .args = {WORD(file), WORD(attribute)}, .path = fd ? -1 : 0,  \
                    .second_path = 1, .by_fd = fd)

CORUN_GETXATTR(getxattr, const char *, false)
CORUN_GETXATTR(lgetxattr, const char *, false)
CORUN_GETXATTR(fgetxattr, int, true)
CORUN_LISTXATTR(listxattr, const char *, false)
CORUN_LISTXATTR(llistxattr, const char *, false)
CORUN_LISTXATTR(flistxattr, int, true)
CORUN_SETXATTR(setxattr, const char *, false)
CORUN_SETXATTR(lsetxattr, const char *, false)
CORUN_SETXATTR(fsetxattr, int, true)
CORUN_REMOVEXATTR(removexattr, const char *, false)
CORUN_REMOVEXATTR(lremovexattr, const char *, false)
CORUN_REMOVEXATTR(fremovexattr, int, true)

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(getxattr, O),    CORUN_ENTRY(lgetxattr, O),    CORUN_ENTRY(fgetxattr, O),
    CORUN_ENTRY(listxattr, O),   CORUN_ENTRY(llistxattr, O),   CORUN_ENTRY(flistxattr, O),
    CORUN_ENTRY(setxattr, O),    CORUN_ENTRY(lsetxattr, O),    CORUN_ENTRY(fsetxattr, O),
    CORUN_ENTRY(removexattr, O), CORUN_ENTRY(lremovexattr, O), CORUN_ENTRY(fremovexattr, O),
};

} // namespace

CORUN_TABLE(xattr_table, entries);

} // namespace corun::symbols
