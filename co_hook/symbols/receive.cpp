// SPDX-License-Identifier: Apache-2.0
// The read side.
#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/time_types.h"

extern "C" [[noreturn]] void __chk_fail(); // libc's: a buffer is smaller than what is to be read

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_READ;

word raw_pread(int fd, void *buffer, size_t n, int64_t offset) {
    return sys::call(SYS_pread64, fd, buffer, n, static_cast<long>(offset),
                     static_cast<long>(offset >> 32));
}
word raw_preadv(int fd, const iovec *parts, int count, int64_t offset) {
    return sys::call(SYS_preadv, fd, parts, count, static_cast<long>(offset),
                     static_cast<long>(offset >> 32));
}
word raw_preadv2(int fd, const iovec *parts, int count, int64_t offset, int flags) {
    return sys::call(SYS_preadv2, fd, parts, count, static_cast<long>(offset),
                     static_cast<long>(offset >> 32), flags);
}
word positional_preadv(int fd, const iovec *parts, int count, int64_t offset) {
    return offset < 0 ? -EINVAL : calls::preadv2(fd, parts, count, offset, 0);
}
size_t checked(size_t n, size_t room) {
    if (n > room)
        __chk_fail();
    return n;
}

// recvmmsg with the user's kind of timespec, which receives what is left.
template <class T>
word recvmmsg_with(int fd, mmsghdr *messages, unsigned count, int flags, T *timeout) {
    int64_t left_ns = 0;
    if (timeout && !to_ns(timeout, &left_ns))
        return -EINVAL;
    word r = calls::recvmmsg(fd, messages, count, flags, timeout ? &left_ns : nullptr);
    if (timeout && !sys::failed(r))
        from_ns(left_ns, timeout);
    return r;
}

word eventfd_value(word r) { return r == 8 || sys::failed(r) ? (r < 0 ? r : 0) : -EIO; }

} // namespace

CORUN_HOOK(ssize_t, read, (int fd, void *buffer, size_t n), (fd, buffer, n),
           sys::read(fd, buffer, n), calls::read(fd, buffer, n))
CORUN_HOOK(ssize_t, readv, (int fd, const iovec *parts, int count), (fd, parts, count),
           sys::call(SYS_readv, fd, parts, count), calls::readv(fd, parts, count))
CORUN_HOOK(ssize_t, recv, (int fd, void *buffer, size_t n, int flags), (fd, buffer, n, flags),
           sys::recvfrom(fd, buffer, n, flags, nullptr, nullptr),
           calls::recvfrom(fd, buffer, n, flags, nullptr, nullptr))
CORUN_HOOK(ssize_t, recvfrom,
           (int fd, void *buffer, size_t n, int flags, sockaddr *address, socklen_t *length),
           (fd, buffer, n, flags, address, length),
           sys::recvfrom(fd, buffer, n, flags, address, length),
           calls::recvfrom(fd, buffer, n, flags, address, length))
CORUN_HOOK(ssize_t, recvmsg, (int fd, msghdr *message, int flags), (fd, message, flags),
           sys::call(SYS_recvmsg, fd, message, flags), calls::recvmsg(fd, message, flags))
CORUN_HOOK(int, recvmmsg, (int fd, mmsghdr *messages, unsigned count, int flags, timespec *timeout),
           (fd, messages, count, flags, timeout),
           sys::call(SYS_recvmmsg, fd, messages, count, flags, timeout),
           recvmmsg_with(fd, messages, count, flags, timeout))
CORUN_HOOK(ssize_t, pread64, (int fd, void *buffer, size_t n, int64_t offset),
           (fd, buffer, n, offset), raw_pread(fd, buffer, n, offset),
           calls::pread(fd, buffer, n, offset))
CORUN_HOOK(ssize_t, preadv64, (int fd, const iovec *parts, int count, int64_t offset),
           (fd, parts, count, offset), raw_preadv(fd, parts, count, offset),
           positional_preadv(fd, parts, count, offset))
CORUN_HOOK(ssize_t, preadv64v2, (int fd, const iovec *parts, int count, int64_t offset, int flags),
           (fd, parts, count, offset, flags), raw_preadv2(fd, parts, count, offset, flags),
           calls::preadv2(fd, parts, count, offset, flags))
CORUN_HOOK(ssize_t, __read_chk, (int fd, void *buffer, size_t n, size_t room),
           (fd, buffer, n, room), sys::read(fd, buffer, checked(n, room)),
           calls::read(fd, buffer, checked(n, room)))
CORUN_HOOK(ssize_t, __recv_chk, (int fd, void *buffer, size_t n, size_t room, int flags),
           (fd, buffer, n, room, flags),
           sys::recvfrom(fd, buffer, checked(n, room), flags, nullptr, nullptr),
           calls::recvfrom(fd, buffer, checked(n, room), flags, nullptr, nullptr))
CORUN_HOOK(ssize_t, __recvfrom_chk,
           (int fd, void *buffer, size_t n, size_t room, int flags, sockaddr *address,
            socklen_t *length),
           (fd, buffer, n, room, flags, address, length),
           sys::recvfrom(fd, buffer, checked(n, room), flags, address, length),
           calls::recvfrom(fd, buffer, checked(n, room), flags, address, length))
CORUN_HOOK(ssize_t, __pread64_chk, (int fd, void *buffer, size_t n, int64_t offset, size_t room),
           (fd, buffer, n, offset, room), raw_pread(fd, buffer, checked(n, room), offset),
           calls::pread(fd, buffer, checked(n, room), offset))
CORUN_HOOK(int, eventfd_read, (int fd, uint64_t *value), (fd, value),
           eventfd_value(sys::read(fd, value, sizeof *value)),
           eventfd_value(calls::read(fd, value, sizeof *value)))

CORUN_HOOK_ALIAS(ssize_t, __read, read, (int, void *, size_t));
CORUN_HOOK_ALIAS(ssize_t, __recv, recv, (int, void *, size_t, int));
CORUN_HOOK_ALIAS(ssize_t, __pread64, pread64, (int, void *, size_t, int64_t));

#if defined(__i386__)
// off_t has 32 bits there, and a timespec with 64-bit seconds has a name of its own.
CORUN_HOOK(ssize_t, pread, (int fd, void *buffer, size_t n, long offset), (fd, buffer, n, offset),
           raw_pread(fd, buffer, n, offset), calls::pread(fd, buffer, n, offset))
CORUN_HOOK(ssize_t, preadv, (int fd, const iovec *parts, int count, long offset),
           (fd, parts, count, offset), raw_preadv(fd, parts, count, offset),
           positional_preadv(fd, parts, count, offset))
CORUN_HOOK(ssize_t, preadv2, (int fd, const iovec *parts, int count, long offset, int flags),
           (fd, parts, count, offset, flags), raw_preadv2(fd, parts, count, offset, flags),
           calls::preadv2(fd, parts, count, offset, flags))
CORUN_HOOK(ssize_t, __pread_chk, (int fd, void *buffer, size_t n, long offset, size_t room),
           (fd, buffer, n, offset, room), raw_pread(fd, buffer, checked(n, room), offset),
           calls::pread(fd, buffer, checked(n, room), offset))
CORUN_HOOK(int, __recvmmsg64,
           (int fd, mmsghdr *messages, unsigned count, int flags, timespec64 *timeout),
           (fd, messages, count, flags, timeout),
           sys::call(SYS_recvmmsg_time64, fd, messages, count, flags, timeout),
           recvmmsg_with(fd, messages, count, flags, timeout))
CORUN_HOOK(ssize_t, __recvmsg64, (int fd, msghdr *message, int flags), (fd, message, flags),
           sys::call(SYS_recvmsg, fd, message, flags), calls::recvmsg(fd, message, flags))
#else
CORUN_HOOK_ALIAS(ssize_t, pread, pread64, (int, void *, size_t, int64_t));
CORUN_HOOK_ALIAS(ssize_t, preadv, preadv64, (int, const iovec *, int, int64_t));
CORUN_HOOK_ALIAS(ssize_t, preadv2, preadv64v2, (int, const iovec *, int, int64_t, int));
CORUN_HOOK_ALIAS(ssize_t, __pread_chk, __pread64_chk, (int, void *, size_t, int64_t, size_t));
#endif

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(read, E),          CORUN_ENTRY(readv, E),           CORUN_ENTRY(recv, E),
    CORUN_ENTRY(recvfrom, E),      CORUN_ENTRY(recvmsg, E),         CORUN_ENTRY(recvmmsg, E),
    CORUN_ENTRY(pread64, E),       CORUN_ENTRY(preadv64, E),        CORUN_ENTRY(preadv64v2, E),
    CORUN_ENTRY(__read_chk, E),    CORUN_ENTRY(__recv_chk, E),      CORUN_ENTRY(__recvfrom_chk, E),
    CORUN_ENTRY(__pread64_chk, E), CORUN_ENTRY(eventfd_read, E),    CORUN_ALIAS_ENTRY(__read, E),
    CORUN_ALIAS_ENTRY(__recv, E),  CORUN_ALIAS_ENTRY(__pread64, E),
#if defined(__i386__)
    CORUN_ENTRY(pread, E),         CORUN_ENTRY(preadv, E),          CORUN_ENTRY(preadv2, E),
    CORUN_ENTRY(__pread_chk, E),   CORUN_ENTRY(__recvmmsg64, E),    CORUN_ENTRY(__recvmsg64, E),
#else
    CORUN_ALIAS_ENTRY(pread, E),
    CORUN_ALIAS_ENTRY(preadv, E),
    CORUN_ALIAS_ENTRY(preadv2, E),
    CORUN_ALIAS_ENTRY(__pread_chk, E),
#endif
};

} // namespace

CORUN_TABLE(receive_table, entries);

} // namespace corun::symbols
