// SPDX-License-Identifier: Apache-2.0
// The write side.
#include "co_hook/symbols/hook.h"

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_WRITE;

word raw_pwrite(int fd, const void *buffer, size_t n, int64_t offset) {
    return sys::call(SYS_pwrite64, fd, buffer, n, static_cast<long>(offset),
                     static_cast<long>(offset >> 32));
}
word raw_pwritev(int fd, const iovec *parts, int count, int64_t offset) {
    return sys::call(SYS_pwritev, fd, parts, count, static_cast<long>(offset),
                     static_cast<long>(offset >> 32));
}
word raw_pwritev2(int fd, const iovec *parts, int count, int64_t offset, int flags) {
    return sys::call(SYS_pwritev2, fd, parts, count, static_cast<long>(offset),
                     static_cast<long>(offset >> 32), flags);
}
word positional_pwritev(int fd, const iovec *parts, int count, int64_t offset) {
    return offset < 0 ? -EINVAL : calls::pwritev2(fd, parts, count, offset, 0);
}
word eventfd_done(word r) { return r == 8 || sys::failed(r) ? (r < 0 ? r : 0) : -EIO; }

} // namespace

CORUN_HOOK(ssize_t, write, (int fd, const void *buffer, size_t n), (fd, buffer, n),
           sys::write(fd, buffer, n), calls::write(fd, buffer, n))
CORUN_HOOK(ssize_t, writev, (int fd, const iovec *parts, int count), (fd, parts, count),
           sys::call(SYS_writev, fd, parts, count), calls::writev(fd, parts, count))
CORUN_HOOK(ssize_t, send, (int fd, const void *buffer, size_t n, int flags), (fd, buffer, n, flags),
           sys::sendto(fd, buffer, n, flags, nullptr, 0),
           calls::sendto(fd, buffer, n, flags, nullptr, 0))
CORUN_HOOK(ssize_t, sendto,
           (int fd, const void *buffer, size_t n, int flags, const sockaddr *address,
            socklen_t length),
           (fd, buffer, n, flags, address, length),
           sys::sendto(fd, buffer, n, flags, address, length),
           calls::sendto(fd, buffer, n, flags, address, length))
CORUN_HOOK(ssize_t, sendmsg, (int fd, const msghdr *message, int flags), (fd, message, flags),
           sys::call(SYS_sendmsg, fd, message, flags), calls::sendmsg(fd, message, flags))
CORUN_HOOK(int, sendmmsg, (int fd, mmsghdr *messages, unsigned count, int flags),
           (fd, messages, count, flags), sys::call(SYS_sendmmsg, fd, messages, count, flags),
           calls::sendmmsg(fd, messages, count, flags))
CORUN_HOOK(ssize_t, pwrite64, (int fd, const void *buffer, size_t n, int64_t offset),
           (fd, buffer, n, offset), raw_pwrite(fd, buffer, n, offset),
           calls::pwrite(fd, buffer, n, offset))
CORUN_HOOK(ssize_t, pwritev64, (int fd, const iovec *parts, int count, int64_t offset),
           (fd, parts, count, offset), raw_pwritev(fd, parts, count, offset),
           positional_pwritev(fd, parts, count, offset))
CORUN_HOOK(ssize_t, pwritev64v2, (int fd, const iovec *parts, int count, int64_t offset, int flags),
           (fd, parts, count, offset, flags), raw_pwritev2(fd, parts, count, offset, flags),
           calls::pwritev2(fd, parts, count, offset, flags))
CORUN_HOOK(int, eventfd_write, (int fd, uint64_t value), (fd, value),
           eventfd_done(sys::write(fd, &value, sizeof value)),
           eventfd_done(calls::write(fd, &value, sizeof value)))

CORUN_HOOK_ALIAS(ssize_t, __write, write, (int, const void *, size_t));
CORUN_HOOK_ALIAS(ssize_t, __send, send, (int, const void *, size_t, int));
CORUN_HOOK_ALIAS(int, __sendmmsg, sendmmsg, (int, mmsghdr *, unsigned, int));
CORUN_HOOK_ALIAS(ssize_t, __pwrite64, pwrite64, (int, const void *, size_t, int64_t));

#if defined(__i386__)
CORUN_HOOK(ssize_t, pwrite, (int fd, const void *buffer, size_t n, long offset),
           (fd, buffer, n, offset), raw_pwrite(fd, buffer, n, offset),
           calls::pwrite(fd, buffer, n, offset))
CORUN_HOOK(ssize_t, pwritev, (int fd, const iovec *parts, int count, long offset),
           (fd, parts, count, offset), raw_pwritev(fd, parts, count, offset),
           positional_pwritev(fd, parts, count, offset))
CORUN_HOOK(ssize_t, pwritev2, (int fd, const iovec *parts, int count, long offset, int flags),
           (fd, parts, count, offset, flags), raw_pwritev2(fd, parts, count, offset, flags),
           calls::pwritev2(fd, parts, count, offset, flags))
CORUN_HOOK_ALIAS(ssize_t, __sendmsg64, sendmsg, (int, const msghdr *, int));
CORUN_HOOK_ALIAS(int, __sendmmsg64, sendmmsg, (int, mmsghdr *, unsigned, int));
#else
CORUN_HOOK_ALIAS(ssize_t, pwrite, pwrite64, (int, const void *, size_t, int64_t));
CORUN_HOOK_ALIAS(ssize_t, pwritev, pwritev64, (int, const iovec *, int, int64_t));
CORUN_HOOK_ALIAS(ssize_t, pwritev2, pwritev64v2, (int, const iovec *, int, int64_t, int));
#endif

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(write, E),
    CORUN_ENTRY(writev, E),
    CORUN_ENTRY(send, E),
    CORUN_ENTRY(sendto, E),
    CORUN_ENTRY(sendmsg, E),
    CORUN_ENTRY(sendmmsg, E),
    CORUN_ENTRY(pwrite64, E),
    CORUN_ENTRY(pwritev64, E),
    CORUN_ENTRY(pwritev64v2, E),
    CORUN_ENTRY(eventfd_write, E),
    CORUN_ALIAS_ENTRY(__write, E),
    CORUN_ALIAS_ENTRY(__send, E),
    CORUN_ALIAS_ENTRY(__sendmmsg, E),
    CORUN_ALIAS_ENTRY(__pwrite64, E),
#if defined(__i386__)
    CORUN_ENTRY(pwrite, E),
    CORUN_ENTRY(pwritev, E),
    CORUN_ENTRY(pwritev2, E),
    CORUN_ALIAS_ENTRY(__sendmsg64, E),
    CORUN_ALIAS_ENTRY(__sendmmsg64, E),
#else
    CORUN_ALIAS_ENTRY(pwrite, E),
    CORUN_ALIAS_ENTRY(pwritev, E),
    CORUN_ALIAS_ENTRY(pwritev2, E),
#endif
};

} // namespace

CORUN_TABLE(send_table, entries);

} // namespace corun::symbols
