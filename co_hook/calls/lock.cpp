// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/lock.h"

#include "co_hook/calls/back_off.h"
#include "co_routine/base/spinlock.h"
#include "co_routine/core/native.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace corun::calls {
namespace {

// All coroutines of the process that wait for a lock, in the order in which they came.
constinit list_head waiting;
unsigned waiting_lock;
unsigned waiting_count; // read without the lock

void join_locks(coroutine *co) {
    spin_guard guard(&waiting_lock);
    waiting.push_back(&co->wait_link);
    __atomic_add_fetch(&waiting_count, 1U, __ATOMIC_RELAXED);
}

constexpr wait_kind flock_kind{"flock", true, abandon_lock_wait};
constexpr wait_kind range_kind{"fcntl: lock", true, abandon_lock_wait};

// -EBADF once the number no longer means the file that the wait began with.
struct identity {
    uint64_t device = 0, inode = 0;
    bool operator==(const identity &) const = default;
};
identity identity_of(int fd) {
    struct statx s;
    if (sys::call(SYS_statx, fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &s) != 0)
        return {};
    return {uint64_t{s.stx_dev_major} << 32 | s.stx_dev_minor, s.stx_ino};
}

} // namespace

void abandon_lock_wait(coroutine *co) {
    spin_guard guard(&waiting_lock);
    if (!co->wait_link.linked())
        return;
    co->wait_link.unlink();
    __atomic_sub_fetch(&waiting_count, 1U, __ATOMIC_RELAXED);
}

word wait_for_lock(const wait_kind &kind, int fd, word (*attempt)(void *), void *context) {
    word r = attempt(context);
    if (CO_LIKELY(r != -EAGAIN && r != -EACCES))
        return r;
    identity file = identity_of(fd);
    coroutine *co = self_for_waiting();
    if (!co)
        return -ENOMEM;
    join_locks(co);
    back_off pauses;
    for (;;) {
        if (int e = pauses.wait(kind, {.fd = fd}, no_deadline)) {
            r = e;
            break;
        }
        if (!(identity_of(fd) == file)) {
            r = -EBADF;
            break;
        }
        r = attempt(context);
        if (r != -EAGAIN)
            break;
    }
    abandon_lock_wait(co);
    return r;
}

void locks_changed() {
    if (CO_LIKELY(__atomic_load_n(&waiting_count, __ATOMIC_ACQUIRE) == 0) || memory_is_borrowed())
        return;
    spin_guard guard(&waiting_lock);
    for (list_node *n = waiting.ring.next; n != &waiting.ring; n = n->next)
        unpark(CO_CONTAINER(n, coroutine, wait_link));
}

// The other coroutines stayed in the parent; their control blocks are still there to be read.
void forget_locks_after_fork() {
    waiting_lock = 0;
    while (waiting.pop_front()) {
    }
    waiting_count = 0;
}

word flock(int fd, int operation) {
    struct call {
        int fd, operation;
    } c{fd, operation};
    if ((operation & LOCK_NB) || operation == LOCK_UN) {
        word r = sys::call(SYS_flock, fd, operation);
        locks_changed();
        return r;
    }
    return wait_for_lock(
        flock_kind, fd,
        [](void *context) {
            const call *with = static_cast<const call *>(context);
            return sys::call(SYS_flock, with->fd, with->operation | LOCK_NB);
        },
        &c);
}

bool is_lock_wait(int command) {
#if defined(__i386__)
    if (command == F_SETLKW64)
        return true;
#endif
    return command == F_SETLKW || command == F_OFD_SETLKW;
}

int command_without_wait(int command) {
#if defined(__i386__)
    if (command == F_SETLKW64)
        return F_SETLK64;
#endif
    return command == F_SETLKW ? F_SETLK : F_OFD_SETLK;
}

bool is_unlock(int command, const void *lock) {
#if defined(__i386__)
    if (command == F_SETLK64 || command == F_SETLKW64)
        return *static_cast<const short *>(lock) == F_UNLCK;
#endif
    if (command != F_SETLK && command != F_SETLKW && command != F_OFD_SETLK &&
        command != F_OFD_SETLKW)
        return false;
    return *static_cast<const short *>(lock) == F_UNLCK; // l_type comes first in all of them
}

word lock_range(int fd, int command, void *lock) {
    struct call {
        int fd, command;
        void *lock;
    } c{fd, command_without_wait(command), lock};
    return wait_for_lock(
        range_kind, fd,
        [](void *context) {
            const call *with = static_cast<const call *>(context);
            return sys::fcntl(with->fd, with->command, sys::as_word(with->lock));
        },
        &c);
}

} // namespace corun::calls
