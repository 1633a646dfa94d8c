// SPDX-License-Identifier: Apache-2.0
// One system call through io_uring while the coroutine is parked: for calls that cannot be made
// non-blocking without changing the descriptor for everybody (accept and connect on a blocking
// socket), and that would otherwise need a thread each. One ring per thread, made at the first use;
// its descriptor is in the loop's epoll.
#pragma once

#include "co_routine/loop/park.h"

#include <sys/socket.h>

namespace corun {

// The fields of an io_uring_sqe that our calls use.
struct uring_request {
    uint8_t opcode = 0; // IORING_OP_*
    int fd = -1;
    uint64_t address = 0; // must stay valid until the call returns: never on a shared stack
    uint64_t offset_or_address2 = 0;
    uint32_t length = 0;
    uint32_t op_flags = 0; // accept flags and the like
    uint16_t ioprio = 0;
};

// -ENOSYS: there is no io_uring here (old kernel, sysctl, seccomp, or it does not know the opcode):
// make the call another way. Otherwise the call's result or -errno; -ETIMEDOUT and -ECANCELED as
// park; -EBADF when the descriptor is closed meanwhile. A request that is given up is cancelled in
// the kernel; one that succeeded before the cancel reached it is returned as what it is, so nothing
// is lost. Only where nobody is left to take it (co_release, or a kernel that is late with the
// cancel), what it still brings is given to on_late(result, fd), which may be nullptr; in that case
// memory at address may be written after the call has returned (rather use the two below).
int64_t uring_call(const wait_kind &kind, const uring_request &request, int64_t deadline_ns,
                   void (*on_late)(int64_t result, int fd));

// Whose connection it is: as much as the kernel ever says.
struct peer_address {
    socklen_t length = sizeof(sockaddr_storage);
    sockaddr_storage storage;

    sockaddr *at() { return reinterpret_cast<sockaddr *>(&storage); }
};

// accept4 and connect as the kernel has them, but waiting; the addresses may be anywhere. peer: nullptr:
// nobody asks.
int64_t uring_accept(const wait_kind &kind, int fd, peer_address *peer, int flags,
                     int64_t deadline_ns);
int64_t uring_connect(const wait_kind &kind, int fd, const sockaddr *address, socklen_t length,
                      int64_t deadline_ns);

// Requests of the calling thread that the kernel has now.
size_t uring_in_flight();

// From here on none is begun: a filter may forbid what they carry.
void uring_give_up();

// Tests: there is no io_uring.
void uring_pretend_missing(bool missing);

} // namespace corun
