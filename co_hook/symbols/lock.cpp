// SPDX-License-Identifier: Apache-2.0
// flock and lockf; fcntl's locks are in descriptor.cpp.
#include "co_hook/calls/lock.h"
#include "co_hook/symbols/hook.h"

#include <fcntl.h>
#include <unistd.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_LOCKS;

} // namespace

CORUN_NATIVE(int, flock, (int fd, int operation),
             plain_result<int>(sys::call(SYS_flock, fd, operation)));
int hook_flock(int fd, int operation) {
    if (hooks_are_on(family))
        return to_libc<int>(calls::flock(fd, operation));
    int r = native_flock(fd, operation);
    calls::locks_changed();
    return r;
}

namespace {
#if defined(__i386__)
constexpr int set_lock = F_SETLK64, set_and_wait = F_SETLKW64;
#else
constexpr int set_lock = F_SETLK, set_and_wait = F_SETLKW;
#endif
// F_TEST is left to libc's own.
word raw_lockf(int fd, int command, int64_t length) {
    struct flock64 lock {};
    lock.l_type = command == F_ULOCK ? F_UNLCK : F_WRLCK;
    lock.l_whence = SEEK_CUR;
    lock.l_len = length;
    if (command != F_ULOCK && command != F_LOCK && command != F_TLOCK)
        return -EINVAL;
    return sys::fcntl(fd, command == F_LOCK ? set_and_wait : set_lock, sys::as_word(&lock));
}
} // namespace

#define CORUN_LOCKF(name, T)                                                                       \
    CORUN_NATIVE(int, name, (int fd, int command, T length),                                       \
                 plain_result<int>(raw_lockf(fd, command, length)));                               \
    int hook_##name(int fd, int command, T length) {                                               \
        static constexpr wait_kind kind{#name, true, calls::abandon_lock_wait};                    \
        struct call {                                                                              \
            int fd;                                                                                \
            T length;                                                                              \
        } c{fd, length};                                                                           \
        if (command == F_LOCK && hooks_are_on(family))                                             \
            return to_libc<int>(calls::wait_for_lock(                                              \
                kind, fd,                                                                          \
                [](void *context) -> word {                                                        \
                    const call *with = static_cast<const call *>(context);                         \
                    return native_##name(with->fd, F_TLOCK, with->length) == 0 ? 0 : -errno;       \
                },                                                                                 \
                &c));                                                                              \
        int r = native_##name(fd, command, length);                                                \
        if (command == F_ULOCK)                                                                    \
            calls::locks_changed();                                                                \
        return r;                                                                                  \
    }
CORUN_LOCKF(lockf, off_t)
#if defined(__i386__)
CORUN_LOCKF(lockf64, off64_t)
#else
CORUN_HOOK_ALIAS(int, lockf64, lockf, (int, int, off_t));
#endif

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(flock, T),
    CORUN_ENTRY(lockf, T),
#if defined(__i386__)
    CORUN_ENTRY(lockf64, T),
#else
    CORUN_ALIAS_ENTRY(lockf64, T),
#endif
};

} // namespace

CORUN_TABLE(lock_table, entries);

} // namespace corun::symbols
