// SPDX-License-Identifier: Apache-2.0
// Contract 19 and 24: accept and connect.
#include "tests/hooks/both.h"
#include "tests/hooks/net.h"

#include <fcntl.h>

namespace {

constexpr int late_us = 10000;

void set_limit(int fd, int which, long us) {
    timeval t{us / 1000000, us % 1000000};
    ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, which, &t, sizeof t));
}

} // namespace

TEST(HooksAgainstTheKernel, AcceptAndConnect) { // contract 24
    expect_same([](side &s) {
        int l = listener();
        int port = port_of(l);
        s.partner([port](side &p) {
            for (int i = 0; i < 3; ++i) {
                usleep(late_us / 2);
                int fd = socket(AF_INET, SOCK_STREAM, 0);
                sockaddr_in a = loopback(port);
                p.says("connect", connect(fd, any(&a), sizeof a));
                p.says("connect again", connect(fd, any(&a), sizeof a));
                write(fd, "hi", 2);
                close(fd);
            }
        });
        for (int i = 0; i < 3; ++i) {
            sockaddr_in a{};
            socklen_t n = i == 1 ? 4 : sizeof a;
            int fd = i == 2 ? accept4(l, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)
                            : accept(l, any(&a), &n);
            s.says("accepted", fd >= 0);
            s.says("length", n);
            s.says("family", a.sin_family);
            s.says("address", ntohl(a.sin_addr.s_addr));
            s.says("flags", fcntl(fd, F_GETFL));
            s.says("cloexec", fcntl(fd, F_GETFD));
            char c[4];
            if (i < 2)
                s.says("read", recv(fd, c, 2, MSG_WAITALL));
            close(fd);
        }
        close(l);
    });
}

TEST(HooksAgainstTheKernel, AUnixBacklogThatIsFullIsWaitedFor) { // contract 24
    expect_same([](side &s) {
        sockaddr_un at{};
        at.sun_family = AF_UNIX;
        snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "corun-backlog-%d-%d", getpid(),
                 s.coroutines());
        const sockaddr *name = reinterpret_cast<sockaddr *>(&at);
        int l = socket(AF_UNIX, SOCK_STREAM, 0);
        bind(l, name, sizeof at);
        listen(l, 0);
        int first = socket(AF_UNIX, SOCK_STREAM, 0), second = socket(AF_UNIX, SOCK_STREAM, 0);
        s.says("first", connect(first, name, sizeof at));
        int third = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        s.says("full, non-blocking", connect(third, name, sizeof at));
        set_limit(second, SO_SNDTIMEO, 30000);
        s.says("full, with a limit", connect(second, name, sizeof at));
        set_limit(second, SO_SNDTIMEO, 0);
        s.partner([l](side &p) {
            usleep(late_us);
            int fd = accept(l, nullptr, nullptr);
            p.says("accepted", fd >= 0);
            close(fd);
        });
        s.says("second", connect(second, name, sizeof at));
        s.join();
        close(l), close(first), close(second), close(third);
    });
}

// A listener whose queue is full drops the handshake: from here it looks like a host that is silent.
TEST(HooksAgainstTheKernel, ABlackHoleEndsByTheTimeLimit) { // contract 24
    expect_same([](side &s) {
        int l = listener(SOCK_STREAM, 0), filler[4];
        for (int &fd : filler) {
            fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
            sockaddr_in a = loopback(port_of(l));
            connect(fd, any(&a), sizeof a);
        }
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        set_limit(fd, SO_SNDTIMEO, 50000);
        sockaddr_in a = loopback(port_of(l));
        s.says("connect", connect(fd, any(&a), sizeof a));
        s.says("flags", fcntl(fd, F_GETFL) & O_NONBLOCK);
        close(fd), close(l);
        for (int f : filler)
            close(f);
    });
}
