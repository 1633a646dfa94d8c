// SPDX-License-Identifier: Apache-2.0
// connect on a blocking socket: io_uring makes it, which tries without waiting and goes on when the
// handshake is over (for AF_UNIX: when the listener's queue has room); else a helper of its own.
#include "co_hook/calls/wait.h"

#include "co_routine/loop/offload.h"
#include "co_routine/loop/uring.h"

#include <cerrno>

namespace corun::calls {
namespace {

constexpr wait_kind connect_kind{"connect", true, abandon_fd_wait};

word by_own_helper(int fd, const sockaddr *address, socklen_t length, int64_t deadline_ns) {
    offload_buffer buffer{};
    buffer.user = const_cast<sockaddr *>(address);
    buffer.bytes = length;
    buffer.in = true;
    const long args[6] = {fd, sys::as_word(address), static_cast<long>(length), 0, 0, 0};
    return static_cast<word>(
        offload_syscall(connect_kind, offload_own, SYS_connect, args, &buffer, 1, deadline_ns));
}

} // namespace

word connect(int fd, const sockaddr *address, socklen_t length) {
    uint32_t bits = known_bits(fd);
    int64_t deadline_ns = no_deadline;
    bool waits = is_socket(bits) && !surely_nonblocking(bits) && kind_of(bits) != kind_message;
    if (!waits || length < sizeof(sa_family_t) || length > sizeof(sockaddr_storage) ||
        !can_read(address, length) || address->sa_family == AF_UNSPEC ||
        blocking_deadline(fd, fd_write, &deadline_ns) != 0)
        return sys::call(SYS_connect, fd, address, length);
    word r = static_cast<word>(uring_connect(connect_kind, fd, address, length, deadline_ns));
    // -EALREADY: begun before, by a call that a signal or a time limit has ended. The kernel's blocking
    // call waits for it.
    if (r == -ENOSYS || r == -EALREADY)
        r = by_own_helper(fd, address, length, deadline_ns);
    // Out of time by SO_SNDTIMEO: the handshake goes on without us, and the kernel says so. The
    // handshake's own ETIMEDOUT comes when there is time left.
    if (r == -ETIMEDOUT)
        if (deadline_ns != no_deadline)
            if (now_ns() >= deadline_ns)
                return bits & bit_unix ? -EAGAIN : -EINPROGRESS;
    return r;
}

} // namespace corun::calls
