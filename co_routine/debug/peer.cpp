// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/peer.h"

#include "co_routine/base/check.h"
#include "co_routine/base/raw_sys.h"

#include <arpa/inet.h>
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

unsigned format_internet(char *out, unsigned size, int family, const void *address, uint16_t port) {
    char shown[INET6_ADDRSTRLEN] = "";
    inet_ntop(family, address, shown, sizeof shown);
    return format_line(out, size, family == AF_INET ? "%s:%u" : "[%s]:%u", shown,
                       unsigned{ntohs(port)});
}

unsigned format_address(char *out, unsigned size, const any_address &a, unsigned bytes) {
    if (bytes >= sizeof a.v4 && a.any.sa_family == AF_INET)
        return format_internet(out, size, AF_INET, &a.v4.sin_addr, a.v4.sin_port);
    if (bytes >= sizeof a.v6 && a.any.sa_family == AF_INET6) {
        constexpr size_t v4_in_v6 = 12; // where it stands
        const in6_addr &v6 = a.v6.sin6_addr;
        bool is_v4 = IN6_IS_ADDR_V4MAPPED(&v6);
        return format_internet(out, size, is_v4 ? AF_INET : AF_INET6,
                               v6.s6_addr + (is_v4 ? v4_in_v6 : 0), a.v6.sin6_port);
    }
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
