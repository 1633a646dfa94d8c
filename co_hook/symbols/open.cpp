// SPDX-License-Identifier: Apache-2.0
// The opening functions, and lseek: it waits its turn behind a read that a helper makes at the file
// position, instead of blocking the thread on the kernel's lock.
#include "co_hook/symbols/file_call.h"

#include "co_hook/calls/transfer.h"

#include <cstdarg>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_FILES;

bool needs_mode(int flags) { return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE; }

int noted(int fd, int flags) {
    if (fd >= 0)
        calls::note_opened(fd, flags);
    return fd;
}

word raw_open(int dirfd, const char *path, int flags, unsigned mode) {
    return sys::call(SYS_openat, dirfd, path, flags, mode);
}

} // namespace

// The mode is passed on whether or not there is one: libc and the kernel look at it only if so.
#define CORUN_OPEN(name, large)                                                                    \
    static int fallback_##name(const char *path, int flags, ...) {                                 \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        unsigned mode = va_arg(list, unsigned);                                                    \
        va_end(list);                                                                              \
        return plain_result<int>(raw_open(AT_FDCWD, path, flags | (large), mode));                 \
    }                                                                                              \
    static int (*native_##name)(const char *, int, ...) = fallback_##name;                         \
    CORUN_EXPORTED int hook_##name(const char *path, int flags, ...) __asm__(#name);               \
    int hook_##name(const char *path, int flags, ...) {                                            \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        unsigned mode = needs_mode(flags) ? va_arg(list, unsigned) : 0U;                           \
        va_end(list);                                                                              \
        if (!hooks_are_on_for_program(family))                                                     \
            return noted(native_##name(path, flags, mode), flags);                                 \
        return to_libc<int>(calls::openat(AT_FDCWD, path, flags | (large), mode));                 \
    }
#define CORUN_OPENAT(name, large)                                                                  \
    static int fallback_##name(int dirfd, const char *path, int flags, ...) {                      \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        unsigned mode = va_arg(list, unsigned);                                                    \
        va_end(list);                                                                              \
        return plain_result<int>(raw_open(dirfd, path, flags | (large), mode));                    \
    }                                                                                              \
    static int (*native_##name)(int, const char *, int, ...) = fallback_##name;                    \
    CORUN_EXPORTED int hook_##name(int dirfd, const char *path, int flags, ...) __asm__(#name);    \
    int hook_##name(int dirfd, const char *path, int flags, ...) {                                 \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        unsigned mode = needs_mode(flags) ? va_arg(list, unsigned) : 0U;                           \
        va_end(list);                                                                              \
        if (!hooks_are_on_for_program(family))                                                     \
            return noted(native_##name(dirfd, path, flags, mode), flags);                          \
        return to_libc<int>(calls::openat(dirfd, path, flags | (large), mode));                    \
    }
// Fortified: libc's own ends the program where a mode is missing.
#define CORUN_OPEN_2(name, large)                                                                  \
    CORUN_NATIVE(int, name, (const char *path, int flags),                                         \
                 plain_result<int>(raw_open(AT_FDCWD, path, flags | (large), 0)));                 \
    int hook_##name(const char *path, int flags) {                                                 \
        if (!hooks_are_on_for_program(family) || needs_mode(flags))                                \
            return noted(native_##name(path, flags), flags);                                       \
        return to_libc<int>(calls::openat(AT_FDCWD, path, flags | (large), 0));                    \
    }
#define CORUN_OPENAT_2(name, large)                                                                \
    CORUN_NATIVE(int, name, (int dirfd, const char *path, int flags),                              \
                 plain_result<int>(raw_open(dirfd, path, flags | (large), 0)));                    \
    int hook_##name(int dirfd, const char *path, int flags) {                                      \
        if (!hooks_are_on_for_program(family) || needs_mode(flags))                                \
            return noted(native_##name(dirfd, path, flags), flags);                                \
        return to_libc<int>(calls::openat(dirfd, path, flags | (large), 0));                       \
    }
#define CORUN_CREAT(name, large)                                                                   \
    CORUN_NATIVE(int, name, (const char *path, mode_t mode),                                       \
                 plain_result<int>(                                                                \
                     raw_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC | (large), mode)));     \
    int hook_##name(const char *path, mode_t mode) {                                               \
        constexpr int flags = O_CREAT | O_WRONLY | O_TRUNC;                                        \
        if (!hooks_are_on_for_program(family))                                                     \
            return noted(native_##name(path, mode), flags);                                        \
        return to_libc<int>(calls::openat(AT_FDCWD, path, flags | (large), mode));                 \
    }

CORUN_OPEN(open, 0)
CORUN_OPENAT(openat, 0)
CORUN_OPEN_2(__open_2, 0)
CORUN_OPENAT_2(__openat_2, 0)
CORUN_CREAT(creat, 0)
CORUN_HOOK_ALIAS(int, __open, open, (const char *, int, ...));
CORUN_OPEN(open64, O_LARGEFILE)
CORUN_OPENAT(openat64, O_LARGEFILE)
CORUN_OPEN_2(__open64_2, O_LARGEFILE)
CORUN_OPENAT_2(__openat64_2, O_LARGEFILE)
CORUN_CREAT(creat64, O_LARGEFILE)
CORUN_HOOK_ALIAS(int, __open64, open64, (const char *, int, ...));

namespace {
// In a coroutine: 0, or -ECANCELED.
int wait_for_turns(int fd) {
    if (CO_LIKELY(!calls::turn_is_taken(fd)) || !hooks_are_on(family))
        return 0;
    int e = calls::take_turn(fd);
    if (e == 0)
        calls::end_turn(fd);
    return e;
}

#if defined(__i386__)
int64_t raw_lseek(int fd, int64_t offset, int whence) {
    int64_t result = -1;
    word r = sys::call(SYS__llseek, fd, static_cast<long>(offset >> 32), static_cast<long>(offset),
                       &result, whence);
    return sys::failed(r) ? plain_result<int>(r) : result;
}
#else
int64_t raw_lseek(int fd, int64_t offset, int whence) {
    return plain_result<int64_t>(sys::call(SYS_lseek, fd, offset, whence));
}
#endif
} // namespace

#define CORUN_LSEEK(name, T)                                                                       \
    CORUN_NATIVE(T, name, (int fd, T offset, int whence),                                          \
                 static_cast<T>(raw_lseek(fd, offset, whence)));                                   \
    T hook_##name(int fd, T offset, int whence) {                                                  \
        if (int e = wait_for_turns(fd))                                                            \
            return to_libc<int>(e);                                                                \
        return native_##name(fd, offset, whence);                                                  \
    }
CORUN_LSEEK(lseek, off_t)
CORUN_LSEEK(lseek64, int64_t)
CORUN_HOOK_ALIAS(off_t, __lseek, lseek, (int, off_t, int));
CORUN_HOOK_ALIAS(int64_t, llseek, lseek64, (int, int64_t, int));

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(open, O),         CORUN_ALIAS_ENTRY(__open, O),   CORUN_ENTRY(openat, O),
    CORUN_ENTRY(__open_2, O),     CORUN_ENTRY(__openat_2, O),     CORUN_ENTRY(creat, O),
    CORUN_ENTRY(open64, O),       CORUN_ALIAS_ENTRY(__open64, O), CORUN_ENTRY(openat64, O),
    CORUN_ENTRY(__open64_2, O),   CORUN_ENTRY(__openat64_2, O),   CORUN_ENTRY(creat64, O),
    CORUN_ENTRY(lseek, B),        CORUN_ENTRY(lseek64, B),        CORUN_ALIAS_ENTRY(__lseek, B),
    CORUN_ALIAS_ENTRY(llseek, B),
};

} // namespace

CORUN_TABLE(open_table, entries);

} // namespace corun::symbols
