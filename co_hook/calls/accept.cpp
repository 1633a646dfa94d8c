// SPDX-License-Identifier: Apache-2.0
// accept on a listening socket that blocks. The call has no MSG_DONTWAIT, and "poll says ready" is no
// promise: another process or thread may take the connection first. So io_uring makes it; without
// io_uring a helper of its own does, once poll has said that it is worth it.
#include "co_hook/calls/wait.h"

#include "co_routine/loop/offload.h"
#include "co_routine/loop/uring.h"

#include <cerrno>
#include <poll.h>

namespace corun::calls {
namespace {

constexpr wait_kind accept_kind{"accept", true, abandon_fd_wait};

// To the caller, cut to the room there is, with its true length: 0 or -errno.
int tell(const peer_address &peer, sockaddr *address, socklen_t *length) {
    socklen_t room;
    if (!user_read(length, &room))
        return -EFAULT;
    if (static_cast<int>(room) < 0)
        return -EINVAL;
    return copy_to_user(address, &peer.storage, room < peer.length ? room : peer.length) &&
                   user_write(length, peer.length)
               ? 0
               : -EFAULT;
}

word by_own_helper(int fd, peer_address *peer, int flags) {
    pollfd ready{fd, POLLIN, 0};
    word r = sys::ppoll(&ready, 1, &sys::at_once, nullptr);
    if (r <= 0)
        return r == 0 || r == -EINTR ? -EAGAIN : r;
    offload_buffer buffers[2] = {};
    buffers[0].user = &peer->storage;
    buffers[0].bytes = sizeof peer->storage;
    buffers[1].user = &peer->length;
    buffers[1].bytes = sizeof peer->length;
    buffers[0].out = buffers[1].in = buffers[1].out = true;
    const long args[6] = {fd, sys::as_word(&peer->storage), sys::as_word(&peer->length), flags, 0,
                          0};
    return static_cast<word>(offload_syscall(accept_kind, offload_own, SYS_accept4, args, buffers,
                                             2, no_deadline, close_late_result));
}

word wait_for_helper(int fd, peer_address *peer, int flags, int64_t deadline_ns) {
    for (;;) {
        if (fd_may(fd, fd_read)) {
            word r = by_own_helper(fd, peer, flags);
            if (r != -EAGAIN) {
                fd_done(fd, fd_read);
                return r;
            }
            fd_saw_eagain(fd, fd_read);
        }
        if (int e = fd_wait(accept_kind, fd, fd_read, deadline_ns))
            return e;
    }
}

} // namespace

word accept4(int fd, sockaddr *address, socklen_t *length, int flags) {
    uint32_t bits = known_bits(fd);
    int64_t deadline_ns = no_deadline;
    word r;
    if (!is_socket(bits) || surely_nonblocking(bits) ||
        blocking_deadline(fd, fd_read, &deadline_ns) != 0) {
        r = sys::call(SYS_accept4, fd, address, length, flags);
    } else {
        peer_address peer;
        r = static_cast<word>(
            uring_accept(accept_kind, fd, address ? &peer : nullptr, flags, deadline_ns));
        if (r == -ENOSYS)
            r = wait_for_helper(fd, &peer, flags, deadline_ns);
        if (int e = !sys::failed(r) && address ? tell(peer, address, length) : 0) {
            sys::close(static_cast<int>(r)); // as the kernel does
            return e;
        }
        if (r == -ETIMEDOUT)
            r = -EAGAIN; // SO_RCVTIMEO
    }
    if (!sys::failed(r))
        note_accepted(static_cast<int>(r), fd, flags);
    return r;
}

} // namespace corun::calls
