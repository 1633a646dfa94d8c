// SPDX-License-Identifier: Apache-2.0
// write and its family: sockets as send, the rest by transfer.h.
#include "co_hook/calls/transfer.h"

#include <cerrno>

namespace corun::calls {
namespace {

constexpr wait_kind write_kind{"write", true, abandon_fd_wait};

// write() ends a record; send() only does when asked to.
inline int record_flag(uint32_t bits) { return kind_of(bits) == kind_seqpacket ? MSG_EOR : 0; }

} // namespace

word write(int fd, const void *buffer, size_t n) {
    uint32_t bits = known_bits(fd);
    if (CO_LIKELY(is_socket(bits))) {
        word r = calls::sendto(fd, buffer, n, record_flag(bits), nullptr, 0);
        if (CO_LIKELY(r != -ENOTSOCK))
            return r;
        unlearn(fd);
        bits = known_bits(fd);
    }
    if (n == 0)
        return sys::write(fd, buffer, n); // never waits; an eventfd refuses it, pwritev2 does not
    iovec whole{const_cast<void *>(buffer), n};
    return run_transfer({write_kind, fd, fd_write, &whole, 1, current_position, 0}, bits);
}

word writev(int fd, const iovec *parts, int count) {
    return calls::pwritev2(fd, parts, count, current_position, 0);
}

word pwrite(int fd, const void *buffer, size_t n, int64_t offset) {
    iovec whole{const_cast<void *>(buffer), n};
    if (offset < 0)
        return -EINVAL;
    return run_transfer({write_kind, fd, fd_write, &whole, 1, offset, 0}, known_bits(fd));
}

word pwritev2(int fd, const iovec *parts, int count, int64_t offset, int flags) {
    transfer t{write_kind, fd, fd_write, parts, count, offset, flags};
    uint32_t bits = known_bits(fd);
    if (is_socket(bits)) {
        // No bytes: the kernel does nothing, where sendmsg would send an empty message.
        if (offset != current_position || flags != 0 || count <= 0 || count > 1024 ||
            bytes_in(parts, static_cast<size_t>(count)) == 0)
            return make_call(t, flags != 0 ? RWF_NOWAIT : 0);
        msghdr message{};
        message.msg_iov = const_cast<iovec *>(parts);
        message.msg_iovlen = static_cast<size_t>(count);
        word r = calls::sendmsg(fd, &message, record_flag(bits));
        if (r != -ENOTSOCK)
            return r;
        unlearn(fd);
        bits = known_bits(fd);
    }
    return run_transfer(t, bits);
}

} // namespace corun::calls
