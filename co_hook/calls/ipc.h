// SPDX-License-Identifier: Apache-2.0
// Message queues and semaphores between processes.
//
// POSIX queues are descriptors: they are waited for like any other. Each look is the kernel's call
// with a deadline in the past, which says ETIMEDOUT where it would wait; so O_NONBLOCK, which belongs
// to the open queue, is neither looked at nor changed.
//
// System V's have no descriptor. They are tried with IPC_NOWAIT, then again after 1 ms to 20 ms; who
// puts something in through a hooked call of this process says so at once. No helper waits for them:
// one that was given up would still take a message or a semaphore, for nobody.
//
// What differs: a waiting coroutine does not stand in the kernel's queue of waiters. So between
// processes it is served when it looks, not in order; mq_notify fires although it waits; GETNCNT and
// GETZCNT do not count it.
#pragma once

#include "co_hook/calls/calls.h"

#include <ctime>

struct sembuf;

namespace corun::calls {

word msgrcv(int id, void *message, size_t bytes, long type, int flags);
word msgsnd(int id, const void *message, size_t bytes, int flags);
word semop(int id, sembuf *operations, size_t count, int64_t timeout_ns); // < 0: for ever

// deadline: on CLOCK_REALTIME, null: none.
word mq_receive(int fd, char *message, size_t bytes, unsigned *priority,
                const sys::kernel_timespec *deadline);
word mq_send(int fd, const char *message, size_t bytes, unsigned priority,
             const sys::kernel_timespec *deadline);

// The system calls themselves, whatever the architecture calls them.
word raw_msgrcv(int id, void *message, size_t bytes, long type, int flags);
word raw_msgsnd(int id, const void *message, size_t bytes, int flags);
word raw_semop(int id, sembuf *operations, size_t count, const sys::kernel_timespec *timeout);

// Something was put in or taken out of this System V object by the calling thread.
void ipc_changed(int id);

} // namespace corun::calls
