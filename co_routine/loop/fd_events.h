// SPDX-License-Identifier: Apache-2.0
// Waiting for descriptors. Each descriptor is registered with the thread's epoll once, edge
// triggered, for everything; from then on its readiness is cached:
//
//     for (;;) {
//         if (fd_may(fd, fd_read)) {                  // cached, or not known yet: worth a try
//             r = recv(fd, ..., MSG_DONTWAIT);
//             if (r != -EAGAIN) { fd_done(fd, fd_read); return r; }
//             fd_saw_eagain(fd, fd_read);
//         }
//         if (int e = fd_wait(kind, fd, fd_read, deadline)) return e;
//     }
//
// Rules
//  - An edge is sticky: only EAGAIN clears it (fd_saw_eagain), or a short read on a TCP stream that
//    never showed RDHUP, HUP, ERR or PRI (fd_saw_short_read checks that itself).
//  - Waiters of one direction queue up, first come, first served. An edge wakes the first; one that
//    leaves without having seen EAGAIN wakes the next (fd_done); one that is cancelled or times out
//    hands its wake-up on (fd_wait does it).
//  - fd_forget(fd) comes before close, dup2 onto fd and the like: it takes the descriptor out of
//    every thread's epoll and wakes all its waiters with EBADF, pollers with POLLNVAL. fd_renew(fd)
//    comes after it. A number that is used again is a new descriptor: entries have generations.
//  - A descriptor that epoll refuses (regular files) gives -EPERM: it is never waited for.
//  - A wait_kind of fd_wait or fd_watch names abandon_fd_wait as its abandon.
#pragma once

#include "co_routine/loop/park.h"

#include <poll.h>

namespace corun {

enum fd_direction : uint8_t { fd_read = 0, fd_write = 1 };

// False only when it is known that the call would say EAGAIN.
bool fd_may(int fd, fd_direction d);
void fd_saw_eagain(int fd, fd_direction d);
// The call took less than it asked for, from a TCP stream: the socket is probably empty now.
void fd_saw_short_read(int fd);
bool fd_saw_end(int fd); // its reading side is shut down
// The call is over without EAGAIN: the next waiter may try.
void fd_done(int fd, fd_direction d);

void abandon_fd_wait(coroutine *co);

// Parks until the descriptor may be ready. 0: try again; -ETIMEDOUT, -ECANCELED; -EBADF: it was
// closed, or never open; -EPERM: not a thing epoll knows; -ENOMEM; -ENOSPC: the user's epoll watches are used up.
int fd_wait(const wait_kind &kind, int fd, fd_direction d, int64_t deadline_ns);

// For calls that somebody else makes (io_uring, a helper thread) on behalf of the running coroutine:
// it is to be unparked when fd is closed. fd_watch before park (0 or -ENOMEM), fd_unwatch after each
// return of it; true: fd was closed meanwhile, the call is to be given up with -EBADF.
int fd_watch(int fd);
bool fd_unwatch();

// The descriptor number is about to be closed or replaced. Any thread.
void fd_forget(int fd);
// It has been: a wait that began meanwhile registered the old file, and is moved to what the number
// means now (EBADF: nothing). Also for a number that turns up anew, closed behind our back. Any thread.
void fd_renew(int fd);

// poll(2) for the running coroutine: the same results, or -errno. The array is read and written by
// the caller's own coroutine only.
// Its wait_kind names abandon_poll_wait.
void abandon_poll_wait(coroutine *co);
int wait_for_poll(const wait_kind &kind, pollfd *fds, nfds_t count, int64_t deadline_ns);

// The runtime's own descriptors (epoll, eventfd, io_uring) are not the program's to close.
bool fd_is_reserved(int fd);
// dup2 wants this number: moves the runtime's descriptor out of the way. False: it could not.
bool fd_vacate(int fd);
// Descriptors in the calling thread's epoll now.
size_t fd_registered_count();

} // namespace corun
