// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/dispatch_parts.h"

#include "co_hook/calls/kernel_time.h"

#include <cerrno>
#if defined(__i386__)
#include <linux/net.h>
#endif

namespace corun::calls {
namespace {

word raw_recvmmsg(const word (&a)[6], bool time64) {
    auto *at = as<void *>(a[4]);
    int64_t ns;
    if (int e = read_kernel_time(at, time64, &ns))
        return e;
    word r = calls::recvmmsg(as<int>(a[0]), as<mmsghdr *>(a[1]), as<unsigned>(a[2]), as<int>(a[3]),
                             at ? &ns : nullptr);
    if (at && r > 0 && !write_kernel_time(at, time64, ns))
        return -EFAULT;
    return r;
}

} // namespace

bool dispatch_socket_call(long nr, const word (&a)[6], word *result) {
    int fd = as<int>(a[0]);
    switch (nr) {
    case SYS_recvfrom:
        *result = calls::recvfrom(fd, as<void *>(a[1]), as<size_t>(a[2]), as<int>(a[3]),
                                  as<sockaddr *>(a[4]), as<socklen_t *>(a[5]));
        return true;
    case SYS_recvmsg:
        return *result = calls::recvmsg(fd, as<msghdr *>(a[1]), as<int>(a[2])), true;
    case SYS_recvmmsg:
        return *result = raw_recvmmsg(a, words_are_long), true;
    case SYS_sendto:
        *result = calls::sendto(fd, as<const void *>(a[1]), as<size_t>(a[2]), as<int>(a[3]),
                                as<const sockaddr *>(a[4]), as<socklen_t>(a[5]));
        return true;
    case SYS_sendmsg:
        return *result = calls::sendmsg(fd, as<const msghdr *>(a[1]), as<int>(a[2])), true;
    case SYS_sendmmsg:
        *result = calls::sendmmsg(fd, as<mmsghdr *>(a[1]), as<unsigned>(a[2]), as<int>(a[3]));
        return true;
    case SYS_accept4:
        *result = calls::accept4(fd, as<sockaddr *>(a[1]), as<socklen_t *>(a[2]), as<int>(a[3]));
        return true;
    case SYS_connect:
        return *result = calls::connect(fd, as<const sockaddr *>(a[1]), as<socklen_t>(a[2])), true;
#if defined(__i386__)
    case SYS_recvmmsg_time64:
        return *result = raw_recvmmsg(a, true), true;
#else
    case SYS_accept:
        return *result = calls::accept4(fd, as<sockaddr *>(a[1]), as<socklen_t *>(a[2]), 0), true;
#endif
    default:
        return false;
    }
}

#if defined(__i386__)
word unpack_socketcall(const word (&a)[6], long *nr, word (&words)[6]) {
    constexpr struct {
        int number, words;
        long nr;
    } known[] = {{SYS_SOCKET, 3, SYS_socket},         {SYS_SOCKETPAIR, 4, SYS_socketpair},
                 {SYS_SETSOCKOPT, 5, SYS_setsockopt}, {SYS_CONNECT, 3, SYS_connect},
                 {SYS_ACCEPT, 3, SYS_accept4},        {SYS_ACCEPT4, 4, SYS_accept4},
                 {SYS_SEND, 4, SYS_sendto},           {SYS_SENDTO, 6, SYS_sendto},
                 {SYS_RECV, 4, SYS_recvfrom},         {SYS_RECVFROM, 6, SYS_recvfrom},
                 {SYS_SENDMSG, 3, SYS_sendmsg},       {SYS_RECVMSG, 3, SYS_recvmsg},
                 {SYS_SENDMMSG, 4, SYS_sendmmsg},     {SYS_RECVMMSG, 5, SYS_recvmmsg}};
    for (const auto &k : known) {
        if (k.number != a[0])
            continue;
        const auto *given = as<const word *>(a[1]);
        if (!can_read(given, static_cast<size_t>(k.words) * sizeof(word)))
            return -EFAULT;
        for (int i = 0; i < 6; ++i)
            words[i] = i < k.words ? given[i] : 0;
        *nr = k.nr;
        break;
    }
    return 0;
}
#endif

} // namespace corun::calls
