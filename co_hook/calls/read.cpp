// SPDX-License-Identifier: Apache-2.0
// read and its family: sockets as recv, the rest by transfer.h.
#include "co_hook/calls/transfer.h"

#include <cerrno>

namespace corun::calls {
namespace {

constexpr wait_kind read_kind{"read", true, abandon_fd_wait};

} // namespace

word read(int fd, void *buffer, size_t n) {
    uint32_t bits = known_bits(fd);
    if (CO_UNLIKELY(n == 0 || is_beyond(buffer, n)))
        return sys::read(fd, buffer, n); // never waits; recv would
    n = as_taken(n);
    if (CO_LIKELY(is_socket(bits))) {
        word r = calls::recvfrom(fd, buffer, n, 0, nullptr, nullptr);
        if (CO_LIKELY(r != -ENOTSOCK))
            return r;
        unlearn(fd);
        bits = known_bits(fd);
    }
    iovec whole{buffer, n};
    // The common case of a pipe, shortly: bytes are there.
    if (kind_of(bits) == kind_pipe && !(bits & bit_no_nowait) && fd_may(fd, fd_read)) {
        word r = sys::call(SYS_preadv2, fd, &whole, 1, -1L, -1L, RWF_NOWAIT);
        if (CO_LIKELY(r > 0)) {
            fd_done(fd, fd_read);
            return r;
        }
    }
    return run_transfer({read_kind, fd, fd_read, &whole, 1, current_position, 0}, bits);
}

word readv(int fd, const iovec *parts, int count) {
    return calls::preadv2(fd, parts, count, current_position, 0);
}

word pread(int fd, void *buffer, size_t n, int64_t offset) {
    if (offset < 0)
        return -EINVAL; // to preadv2, -1 would be the current position
    if (CO_UNLIKELY(is_beyond(buffer, n)))
        return sys::call(SYS_pread64, fd, buffer, n, static_cast<long>(offset),
                         static_cast<long>(offset >> 32));
    iovec whole{buffer, as_taken(n)};
    return run_transfer({read_kind, fd, fd_read, &whole, 1, offset, 0}, known_bits(fd));
}

word preadv2(int fd, const iovec *parts, int count, int64_t offset, int flags) {
    return vectored({read_kind, fd, fd_read, parts, count, offset, flags});
}

} // namespace corun::calls
