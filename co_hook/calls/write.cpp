// SPDX-License-Identifier: Apache-2.0
// write and its family: sockets as send, the rest by transfer.h.
#include "co_hook/calls/transfer.h"

#include <cerrno>

namespace corun::calls {
namespace {

constexpr wait_kind write_kind{"write", true, abandon_fd_wait};

} // namespace

word write(int fd, const void *buffer, size_t n) {
    if (CO_UNLIKELY(is_beyond(buffer, n)))
        return sys::write(fd, buffer, n);
    n = as_taken(n);
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
    if (offset < 0)
        return -EINVAL;
    if (CO_UNLIKELY(is_beyond(buffer, n)))
        return sys::call(SYS_pwrite64, fd, buffer, n, static_cast<long>(offset),
                         static_cast<long>(offset >> 32));
    iovec whole{const_cast<void *>(buffer), as_taken(n)};
    return run_transfer({write_kind, fd, fd_write, &whole, 1, offset, 0}, known_bits(fd));
}

word pwritev2(int fd, const iovec *parts, int count, int64_t offset, int flags) {
    return vectored({write_kind, fd, fd_write, parts, count, offset, flags});
}

} // namespace corun::calls
