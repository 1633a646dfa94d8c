// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/peer.h"

#include "co_routine/base/check.h"
#include "co_routine/base/raw_sys.h"

#include <cstddef>
#include <netinet/in.h>
#include <sys/un.h>

namespace corun {
namespace {

union any_address {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_un local;
    sockaddr_storage room;
};

unsigned in_order(uint16_t of_network) { return __builtin_bswap16(of_network); }

bool is_v4_in_v6(const in6_addr &a) {
    for (int i = 0; i < 12; ++i)
        if (a.s6_addr[i] != (i < 10 ? 0 : 0xff))
            return false;
    return true;
}

unsigned format_v4(char *out, unsigned size, const unsigned char *a, uint16_t port) {
    return format_line(out, size, "%u.%u.%u.%u:%u", unsigned{a[0]}, unsigned{a[1]}, unsigned{a[2]},
                       unsigned{a[3]}, in_order(port));
}

// The longest row of zeros is left out.
unsigned format_v6(char *out, unsigned size, const in6_addr &a, uint16_t port) {
    if (is_v4_in_v6(a))
        return format_v4(out, size, a.s6_addr + 12, port);
    int best = -1, longest = 1;
    for (int i = 0; i < 8; ++i) {
        int n = 0;
        while (i + n < 8 && a.s6_addr16[i + n] == 0)
            ++n;
        if (n > longest) {
            best = i;
            longest = n;
        }
    }
    unsigned n = format_line(out, size, "[");
    for (int i = 0; i < 8; ++i) {
        if (i == best) {
            n += format_line(out + n, size - n, "::");
            i += longest - 1;
            continue;
        }
        bool first = i == 0 || i == best + longest;
        n += format_line(out + n, size - n, first ? "%x" : ":%x", in_order(a.s6_addr16[i]));
    }
    return n + format_line(out + n, size - n, "]:%u", in_order(port));
}

unsigned format_address(char *out, unsigned size, const any_address &a, unsigned bytes) {
    if (bytes >= sizeof a.v4 && a.any.sa_family == AF_INET)
        return format_v4(out, size, reinterpret_cast<const unsigned char *>(&a.v4.sin_addr.s_addr),
                         a.v4.sin_port);
    if (bytes >= sizeof a.v6 && a.any.sa_family == AF_INET6)
        return format_v6(out, size, a.v6.sin6_addr, a.v6.sin6_port);
    if (a.any.sa_family != AF_UNIX)
        return 0;
    size_t path = bytes - offsetof(sockaddr_un, sun_path);
    if (bytes <= offsetof(sockaddr_un, sun_path) || path >= sizeof a.local.sun_path)
        return format_line(out, size, "a local socket");
    bool is_abstract = a.local.sun_path[0] == '\0';
    char name[sizeof a.local.sun_path + 1] = {};
    for (size_t i = is_abstract; i < path && a.local.sun_path[i]; ++i)
        name[i - is_abstract] = a.local.sun_path[i];
    return format_line(out, size, is_abstract ? "@%s" : "%s", name);
}

bool is_listening(int fd) {
    int yes = 0, bytes = sizeof yes;
    return sys::call(SYS_getsockopt, fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &bytes) == 0 && yes;
}

} // namespace

unsigned format_peer(char *out, unsigned size, int fd) {
    any_address a{};
    unsigned bytes = sizeof a;
    if (sys::call(SYS_getpeername, fd, &a, &bytes) == 0)
        return format_address(out, size, a, bytes);
    bytes = sizeof a;
    if (!is_listening(fd) || sys::call(SYS_getsockname, fd, &a, &bytes) != 0)
        return 0;
    unsigned n = format_line(out, size, "listening on ");
    return n + format_address(out + n, size - n, a, bytes);
}

} // namespace corun
