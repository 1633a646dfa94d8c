// SPDX-License-Identifier: Apache-2.0
// Sockets on 127.0.0.1 for tests.
#pragma once

#include <arpa/inet.h>
#include <cstdlib>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

inline sockaddr_in loopback(int port = 0) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons(static_cast<uint16_t>(port));
    return a;
}
inline sockaddr *any(sockaddr_in *a) { return reinterpret_cast<sockaddr *>(a); }
inline int port_of(int fd) {
    sockaddr_in a{};
    socklen_t n = sizeof a;
    getsockname(fd, any(&a), &n);
    return ntohs(a.sin_port);
}
inline int listener(int type = SOCK_STREAM, int backlog = 64) {
    int fd = socket(AF_INET, type, 0);
    sockaddr_in a = loopback();
    if (bind(fd, any(&a), sizeof a) != 0 || listen(fd, backlog) != 0)
        abort();
    return fd;
}
inline int client_of(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in a = loopback(port);
    if (connect(fd, any(&a), sizeof a) != 0)
        abort();
    return fd;
}
// Two ends of a TCP connection.
inline void tcp_pair(int fd[2]) {
    int l = listener();
    fd[0] = client_of(port_of(l));
    fd[1] = accept(l, nullptr, nullptr);
    close(l);
}
