// SPDX-License-Identifier: Apache-2.0
/*
 * net.h - a listening socket on 127.0.0.1 for the echo servers that corun is compared with.
 *
 *     int listener = perf::listen_on_loopback(0, &port);    // 0: the kernel chooses
 *     perf::announce(port);
 *
 * Rules
 *  - Every echo server prints "listening on 127.0.0.1:PORT" as its first line: the programs that
 *    start it wait for that.
 *  - A baseline must make the kernel's own calls. perf::require_native_calls() ends a program that
 *    was linked with corun by mistake, whose read and write would pass through the hooks.
 */
#ifndef CORUN_PERF_NET_H
#define CORUN_PERF_NET_H

#include <arpa/inet.h>
#include <cstdio>
#include <cstdlib>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

extern "C" __attribute__((weak)) void *co_self(void); // there only when corun is linked in

namespace perf {

// The bytes that each server reads at once. The same in all of them, or their memory per connection
// could not be compared.
constexpr size_t echo_buffer_bytes = 1024;

inline void require_native_calls(const char *program) {
    if (co_self != nullptr) {
        fprintf(stderr, "%s: linked with corun; a baseline must not be\n", program);
        exit(2);
    }
}

// -1 with errno. *port receives the port that was bound.
inline int listen_on_loopback(int wanted_port, int *port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(wanted_port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (bind(fd, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0 ||
        listen(fd, 4096) != 0 ||
        getsockname(fd, reinterpret_cast<sockaddr *>(&address), &length) != 0) {
        close(fd);
        return -1;
    }
    *port = ntohs(address.sin_port);
    return fd;
}

inline void announce(int port) {
    printf("listening on 127.0.0.1:%d\n", port);
    fflush(stdout);
}

} // namespace perf

#endif
