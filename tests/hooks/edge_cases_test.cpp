// SPDX-License-Identifier: Apache-2.0
// Calls that once differed from the kernel's, each by its name.
#include "both.h"

#include <array>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

// A socket on loopback, and its address.
int bound_udp(sockaddr_in *address) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    *address = {};
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof *address;
    EXPECT_EQ(0, bind(fd, reinterpret_cast<sockaddr *>(address), length));
    EXPECT_EQ(0, getsockname(fd, reinterpret_cast<sockaddr *>(address), &length));
    return fd;
}

TEST(HooksAgainstTheKernel, WritevOfNothingOnAMessageSocketSendsNothing) {
    for (int type : {SOCK_DGRAM, SOCK_SEQPACKET})
        expect_same([=](side &s) {
            int fd[2];
            char byte = 'x', buffer[8];
            s.says("socketpair", socketpair(AF_UNIX, type, 0, fd));
            std::array<iovec, 2> nothing{{{&byte, 0}, {&byte, 0}}};
            s.says("writev of empty parts", writev(fd[1], nothing.data(), 2));
            s.says("writev of no parts", writev(fd[1], nothing.data(), 0));
            s.says("write of nothing", write(fd[1], &byte, 0));
            s.says("nothing came", recv(fd[0], buffer, sizeof buffer, MSG_DONTWAIT));
            s.says("again", recv(fd[0], buffer, sizeof buffer, MSG_DONTWAIT));
            s.says("send of nothing", send(fd[1], &byte, 0, 0));
            s.says("is a message", recv(fd[0], buffer, sizeof buffer, MSG_DONTWAIT));
            s.says("the only one", recv(fd[0], buffer, sizeof buffer, MSG_DONTWAIT));
            close(fd[0]), close(fd[1]);
        });
    expect_same([](side &s) {
        sockaddr_in address;
        int to = bound_udp(&address), from = socket(AF_INET, SOCK_DGRAM, 0);
        char byte = 'x', buffer[8];
        s.says("connect", connect(from, reinterpret_cast<sockaddr *>(&address), sizeof address));
        iovec nothing{&byte, 0};
        s.says("writev", writev(from, &nothing, 1));
        s.says("came", recv(to, buffer, sizeof buffer, MSG_DONTWAIT));
        s.says("write", write(from, &byte, 0));
        s.says("came", recv(to, buffer, sizeof buffer, MSG_DONTWAIT));
        close(to), close(from);
    });
}

TEST(HooksAgainstTheKernel, ATooShortWriteIntoAnEventfd) {
    expect_same([](side &s) {
        int fd = eventfd(0, 0);
        uint64_t one = 1;
        s.says("nothing", write(fd, &one, 0));
        s.says("too short", write(fd, &one, 7));
        s.says("enough", write(fd, &one, 8));
        s.says("longer", write(fd, std::array<uint64_t, 2>{1, 1}.data(), 16));
        s.says("read too short", read(fd, &one, 7));
        s.says("read", read(fd, &one, 8));
        s.says("both", one);
        close(fd);
    });
}

TEST(HooksAgainstTheKernel, AWriteIntoATimerfd) {
    expect_same([](side &s) {
        int fd = timerfd_create(CLOCK_MONOTONIC, 0);
        uint64_t value = 1;
        s.says("not armed", write(fd, &value, 8));
        s.says("nothing", write(fd, &value, 0));
        itimerspec soon{{0, 0}, {0, 1000000}};
        timerfd_settime(fd, 0, &soon, nullptr);
        s.says("read", read(fd, &value, 8)); // it was waited for
        s.says("after a wait", write(fd, &value, 8));
        iovec part{&value, 8};
        s.says("writev", writev(fd, &part, 1));
        s.says("too short", read(fd, &value, 7));
        close(fd);
    });
}

TEST(HooksAgainstTheKernel, ReadingAMessageSocketThatIsShutDown) {
    expect_same([](side &s) {
        int fd[2];
        char buffer[8];
        s.says("socketpair", socketpair(AF_UNIX, SOCK_DGRAM, 0, fd));
        s.says("send", send(fd[1], "one", 3, 0));
        s.says("shutdown", shutdown(fd[0], SHUT_RD));
        s.says("recv", recv(fd[0], buffer, sizeof buffer, 0));
        s.says("then", recv(fd[0], buffer, sizeof buffer, 0));
        s.says("read", read(fd[0], buffer, sizeof buffer));
        s.says("send", send(fd[1], "two", 3, MSG_NOSIGNAL));
        close(fd[0]), close(fd[1]);
    });
    expect_same([](side &s) {
        sockaddr_in address;
        char buffer[8];
        int to = bound_udp(&address), from = socket(AF_INET, SOCK_DGRAM, 0);
        connect(from, reinterpret_cast<sockaddr *>(&address), sizeof address);
        s.says("not connected", shutdown(to, SHUT_RD));
        s.says("shutdown", shutdown(from, SHUT_RD));
        s.says("recv", recv(from, buffer, sizeof buffer, 0));
        s.says("recvfrom", recvfrom(from, buffer, sizeof buffer, 0, nullptr, nullptr));
        s.says("read", read(from, buffer, sizeof buffer));
        s.says("send", send(from, "x", 1, 0));
        s.says("arrives", recv(to, buffer, sizeof buffer, 0));
        close(to), close(from);
    });
    // Shut down while somebody waits.
    expect_same([](side &s) {
        int fd[2];
        char buffer[8];
        socketpair(AF_UNIX, SOCK_DGRAM, 0, fd);
        s.partner([=](side &p) {
            usleep(5000);
            p.says("shutdown", shutdown(fd[0], SHUT_RD));
        });
        s.says("recv", recv(fd[0], buffer, sizeof buffer, 0));
        s.join();
        close(fd[0]), close(fd[1]);
    });
}

} // namespace
