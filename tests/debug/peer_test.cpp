// SPDX-License-Identifier: Apache-2.0
// Who is at the other end, in words.
#include "co_routine/debug/peer.h"

#include <arpa/inet.h>
#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

std::string peer_of(int fd) {
    char text[160] = "";
    unsigned n = corun::format_peer(text, sizeof text, fd);
    EXPECT_EQ(strlen(text), n);
    return text;
}

struct socket_fd {
    int fd;
    explicit socket_fd(int family, int type = SOCK_STREAM) : fd(socket(family, type, 0)) {}
    explicit socket_fd(const socket_fd &listener, int)
        : fd(accept(listener.fd, nullptr, nullptr)) {}
    ~socket_fd() { close(fd); }
    socket_fd(const socket_fd &) = delete;
    socket_fd &operator=(const socket_fd &) = delete;
};

template <class A> int port_of(int fd, A *address) {
    socklen_t n = sizeof *address;
    EXPECT_EQ(0, getsockname(fd, reinterpret_cast<sockaddr *>(address), &n));
    return ntohs(reinterpret_cast<sockaddr_in *>(address)->sin_port); // where sin6_port is, too
}

template <class A> void listens_and_accepts(int family, A address, const std::string &host) {
    socket_fd listener(family), client(family);
    if (bind(listener.fd, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0)
        GTEST_SKIP() << host << " is not there";
    EXPECT_EQ("", peer_of(listener.fd));
    ASSERT_EQ(0, listen(listener.fd, 1));
    int port = port_of(listener.fd, &address);
    EXPECT_EQ("listening on " + host + ":" + std::to_string(port), peer_of(listener.fd));
    EXPECT_EQ("", peer_of(client.fd));
    ASSERT_EQ(0, connect(client.fd, reinterpret_cast<sockaddr *>(&address), sizeof address));
    EXPECT_EQ(host + ":" + std::to_string(port), peer_of(client.fd));
    socket_fd accepted(listener, 0);
    EXPECT_EQ(host + ":" + std::to_string(port_of(client.fd, &address)), peer_of(accepted.fd));
}

TEST(Peer, OfInternetSockets) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listens_and_accepts(AF_INET, address, "127.0.0.1");
}

TEST(Peer, OfInternetSocketsOfVersion6) {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    listens_and_accepts(AF_INET6, address, "[::1]");
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &address.sin6_addr);
    listens_and_accepts(AF_INET6, address, "127.0.0.1");
}

TEST(Peer, OfLocalSockets) {
    std::string path = "/tmp/corun-peer-" + std::to_string(getpid());
    for (const std::string &name : {path, std::string(1, '\0') + path}) {
        socket_fd listener(AF_UNIX), client(AF_UNIX);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        memcpy(address.sun_path, name.data(), name.size());
        auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
        ASSERT_EQ(0, bind(listener.fd, reinterpret_cast<sockaddr *>(&address), bytes));
        ASSERT_EQ(0, listen(listener.fd, 1));
        ASSERT_EQ(0, connect(client.fd, reinterpret_cast<sockaddr *>(&address), bytes));
        std::string shown = name[0] ? name : "@" + path;
        EXPECT_EQ("listening on " + shown, peer_of(listener.fd));
        EXPECT_EQ(shown, peer_of(client.fd));
    }
    unlink(path.c_str());
    int pair[2];
    ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    EXPECT_EQ("a local socket", peer_of(pair[0]));
    close(pair[0]);
    close(pair[1]);
}

TEST(Peer, OfWhatIsNoSocketIsNothing) {
    int file = open("/dev/null", O_RDONLY);
    EXPECT_EQ("", peer_of(file));
    close(file);
    EXPECT_EQ("", peer_of(-1));
}

} // namespace
