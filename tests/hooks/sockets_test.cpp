// SPDX-License-Identifier: Apache-2.0
// Contract 19 and 20 for sockets: what native threads see is what coroutines see.
#include "tests/hooks/both.h"
#include "tests/hooks/net.h"

#include <chrono>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

namespace {

constexpr int late_us = 10000; // long enough that the other side is waiting already

void set_limit(int fd, int which, long us) {
    timeval t{us / 1000000, us % 1000000};
    ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, which, &t, sizeof t));
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void conversation(side &s, int a, int b) {
    s.partner([b](side &p) {
        char buffer[64];
        long n = p.says("read", read(b, buffer, sizeof buffer));
        p.text("got", buffer, n);
        usleep(late_us);
        p.says("send", send(b, "answer", 6, MSG_NOSIGNAL));
        p.says("send", send(b, " late", 5, MSG_NOSIGNAL));
        p.says("shutdown", shutdown(b, SHUT_WR));
        p.says("read", read(b, buffer, sizeof buffer));
    });
    char buffer[64];
    s.says("write", write(a, "question", 8));
    s.says("recv all", recv(a, buffer, 11, MSG_WAITALL));
    s.text("got", buffer, 11);
    s.says("recv at end", recv(a, buffer, 9, 0));
    s.says("recv at end again", recv(a, buffer, 9, MSG_DONTWAIT));
    s.says("close", close(a));
    s.says("close twice", close(a));
    s.join();
    s.says("close", close(b));
}

} // namespace

// contract 19
TEST(HooksAgainstTheKernel, AConversationOverTcp) {
    expect_same([](side &s) {
        int fd[2];
        tcp_pair(fd);
        conversation(s, fd[0], fd[1]);
    });
}

TEST(HooksAgainstTheKernel, AConversationOverAUnixSocket) {
    expect_same([](side &s) {
        int fd[2];
        s.says("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
        conversation(s, fd[0], fd[1]);
    });
}

TEST(HooksAgainstTheKernel, ErrorsOfSocketCalls) {
    expect_same([](side &s) {
        char c[8];
        s.says("recv bad", recv(-1, c, 1, 0));
        s.says("read bad", read(-1, c, 1));
        s.says("send bad", send(100000, c, 1, 0));
        s.says("accept bad", accept(-1, nullptr, nullptr));
        s.says("connect bad", connect(-1, nullptr, 0));
        int p[2];
        s.says("pipe", pipe(p));
        s.says("recv not a socket", recv(p[0], c, 1, 0));
        s.says("accept not a socket", accept(p[0], nullptr, nullptr));
        close(p[0]), close(p[1]);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        s.says("recv not connected", recv(fd, c, 1, 0));
        s.says("send not connected", send(fd, c, 1, MSG_NOSIGNAL));
        s.says("accept not listening", accept(fd, nullptr, nullptr));
        s.says("accept4 bad flags", accept4(fd, nullptr, nullptr, 77));
        s.says("read nothing", read(fd, c, 0));
        s.says("recv oob", recv(fd, c, 1, MSG_OOB));
        sockaddr_in a = loopback(1);
        s.says("refused", connect(fd, any(&a), sizeof a)); // contract 24
        s.says("short address", connect(fd, any(&a), 3));
        s.says("no address", connect(fd, nullptr, 16));
        close(fd);
        int l = listener();
        socklen_t n = static_cast<socklen_t>(-5);
        fcntl(l, F_SETFL, O_NONBLOCK);
        s.says("accept, non-blocking", accept(l, any(&a), &n));
        close(l);
    });
}

TEST(HooksAgainstTheKernel, ResetAndBrokenPipe) {
    expect_same([](side &s) {
        int fd[2];
        tcp_pair(fd);
        linger off{1, 0};
        setsockopt(fd[1], SOL_SOCKET, SO_LINGER, &off, sizeof off);
        s.partner([b = fd[1]](side &p) {
            usleep(late_us);
            p.says("close", close(b)); // with a reset
        });
        char c[4];
        s.says("recv", recv(fd[0], c, 4, 0));
        s.says("recv", recv(fd[0], c, 4, 0));
        s.says("send", send(fd[0], c, 4, MSG_NOSIGNAL));
        s.says("send", send(fd[0], c, 4, MSG_NOSIGNAL));
        close(fd[0]);
    });
}

// A blocking send of more than fits returns when all of it is taken.
TEST(HooksAgainstTheKernel, ALargeSendIsWhole) {
    for (int family : {AF_UNIX, AF_INET})
        expect_same([family](side &s) {
            constexpr long total = 3 << 20;
            int fd[2];
            if (family == AF_UNIX)
                socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
            else
                tcp_pair(fd);
            s.partner([b = fd[1]](side &p) {
                std::vector<char> buffer(60000);
                long sum = 0, r, bytes = 0;
                while ((r = read(b, buffer.data(), buffer.size())) > 0)
                    for (long i = 0; i < r; ++i, ++bytes)
                        sum += buffer[i] * (bytes % 7);
                p.says("sum", sum);
                p.says("bytes", bytes);
            });
            std::vector<char> data(total);
            for (long i = 0; i < total; ++i)
                data[i] = static_cast<char>(i * 31 >> 3);
            s.says("send", send(fd[0], data.data(), total, 0));
            iovec parts[3] = {{data.data(), 5}, {data.data() + 5, 0}, {data.data() + 5, total - 5}};
            s.says("writev", writev(fd[0], parts, 3));
            msghdr m{};
            m.msg_iov = parts;
            m.msg_iovlen = 3;
            s.says("sendmsg", sendmsg(fd[0], &m, 0));
            close(fd[0]);
            s.join();
            close(fd[1]);
        });
}

TEST(HooksAgainstTheKernel, FlagsOfRecv) { // contract 20
    expect_same([](side &s) {
        int fd[2];
        tcp_pair(fd);
        char c[16] = {};
        s.says("dontwait", recv(fd[0], c, 4, MSG_DONTWAIT));
        s.partner([b = fd[1]](side &) {
            for (int i = 0; i < 4; ++i) {
                usleep(late_us / 4);
                send(b, "ab", 2, 0);
            }
        });
        s.says("peek all", recv(fd[0], c, 4, MSG_PEEK | MSG_WAITALL));
        s.text("peeked", c, 4);
        s.says("all", recv(fd[0], c, 8, MSG_WAITALL));
        s.text("got", c, 8);
        s.says("trunc", recv(fd[0], c, 4, MSG_DONTWAIT | MSG_TRUNC));
        s.join();
        send(fd[1], "xyz", 3, 0);
        s.says("peek", recv(fd[0], c, 2, MSG_PEEK));
        s.says("peek", recv(fd[0], c, 9, MSG_PEEK));
        s.says("recv", recv(fd[0], c, 9, 0));
        iovec parts[2] = {{c, 2}, {c + 2, 6}};
        msghdr m{};
        m.msg_iov = parts;
        m.msg_iovlen = 2;
        s.partner([b = fd[1]](side &) {
            for (int i = 0; i < 4; ++i) {
                usleep(late_us / 4);
                send(b, &"12345678"[2 * i], 2, 0);
            }
        });
        s.says("recvmsg all", recvmsg(fd[0], &m, MSG_WAITALL));
        s.text("got", c, 8);
        s.join();
        close(fd[0]), close(fd[1]);
    });
}

TEST(HooksAgainstTheKernel, NonBlockingStaysNonBlocking) { // contract 20
    expect_same([](side &s) {
        char c[4];
        int fd[2];
        s.says("pair", socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd));
        s.says("recv", recv(fd[0], c, 4, 0));
        s.says("read", read(fd[0], c, 4));
        s.says("flags", fcntl(fd[0], F_GETFL) & O_NONBLOCK);
        write(fd[1], "q", 1);
        s.says("recv", recv(fd[0], c, 4, 0));
        s.says("recv", recv(fd[0], c, 4, 0));
        close(fd[0]), close(fd[1]);

        socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
        int on = 1, copy = dup(fd[0]);
        s.says("FIONBIO", ioctl(copy, FIONBIO, &on));
        s.says("recv, set through the copy", recv(fd[0], c, 4, 0));
        s.says("F_SETFL", fcntl(fd[0], F_SETFL, fcntl(fd[0], F_GETFL) & ~O_NONBLOCK));
        s.partner([b = fd[1]](side &) { usleep(late_us), send(b, "z", 1, 0); });
        s.says("recv, cleared through the first", recv(copy, c, 4, 0));
        s.join();
        s.says("flags", fcntl(copy, F_GETFL));
        close(fd[0]), close(fd[1]), close(copy);

        int l = listener(SOCK_STREAM | SOCK_NONBLOCK);
        s.says("accept", accept(l, nullptr, nullptr));
        int a = client_of(port_of(l));
        int b = accept4(l, nullptr, nullptr, SOCK_NONBLOCK);
        s.says("recv on accepted", recv(b, c, 4, 0));
        close(a), close(b), close(l);
    });
}

TEST(HooksAgainstTheKernel, TimeLimitsOfSockets) { // contract 20
    expect_same([](side &s) {
        int fd[2];
        char c[4];
        socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
        set_limit(fd[0], SO_RCVTIMEO, 50000);
        auto begin = std::chrono::steady_clock::now();
        s.says("recv", recv(fd[0], c, 4, 0));
        double took = seconds_since(begin);
        s.says("at least 50 ms", took >= 0.049);
        EXPECT_LT(took, 0.5);
        write(fd[1], "ab", 2);
        s.says("recv all cut short", recv(fd[0], c, 4, MSG_WAITALL));
        s.says("readv", read(fd[0], c, 4));
        set_limit(fd[0], SO_RCVTIMEO, 0); // for ever
        s.partner([b = fd[1]](side &) { usleep(70000), write(b, "d", 1); });
        s.says("recv without limit", recv(fd[0], c, 4, 0));
        s.join();
        set_limit(fd[0], SO_SNDTIMEO, 30000);
        std::vector<char> big(4 << 20);
        long r = send(fd[0], big.data(), big.size(), 0);
        s.says("send is partial", r > 0 && r < static_cast<long>(big.size()));
        s.says("send into a full socket", send(fd[0], big.data(), big.size(), 0));
        close(fd[0]), close(fd[1]);
        int l = listener();
        set_limit(l, SO_RCVTIMEO, 30000);
        s.says("accept with limit", accept(l, nullptr, nullptr));
        close(l);
    });
}

TEST(Hooks, ASilentPeerIsWaitedForLongerThanASecond) { // contract 20: libco gives up after 1 s
    int fd[2];
    tcp_pair(fd);
    long got = 0;
    auto begin = std::chrono::steady_clock::now();
    go([&] {
        char c[4];
        got = recv(fd[0], c, 4, 0);
    });
    go([&] {
        sleep(3);
        send(fd[1], "x", 1, 0);
    });
    co_run();
    EXPECT_EQ(1, got);
    EXPECT_GE(seconds_since(begin), 2.9);
    close(fd[0]), close(fd[1]);
}

TEST(HooksAgainstTheKernel, Datagrams) {
    expect_same([](side &s) {
        int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0);
        sockaddr_in at = loopback(), from{};
        bind(b, any(&at), sizeof at);
        at = loopback(port_of(b));
        s.partner([=](side &p) mutable {
            usleep(late_us);
            p.says("sendto", sendto(a, "datagram", 8, 0, any(&at), sizeof at));
            p.says("sendto", sendto(a, "", 0, 0, any(&at), sizeof at));
            iovec parts[2] = {{const_cast<char *>("one"), 3}, {const_cast<char *>("three"), 5}};
            mmsghdr two[2] = {};
            for (int i = 0; i < 2; ++i) {
                two[i].msg_hdr.msg_iov = &parts[i];
                two[i].msg_hdr.msg_iovlen = 1;
                two[i].msg_hdr.msg_name = &at;
                two[i].msg_hdr.msg_namelen = sizeof at;
            }
            p.says("sendmmsg", sendmmsg(a, two, 2, 0));
        });
        char c[16];
        socklen_t n = sizeof from;
        s.says("recvfrom", recvfrom(b, c, 4, 0, any(&from), &n));
        s.says("length", n);
        s.says("family", from.sin_family);
        s.says("recvfrom", recvfrom(b, c, 4, 0, nullptr, nullptr));
        char d[2][8];
        iovec parts[2] = {{d[0], 8}, {d[1], 8}};
        mmsghdr two[2] = {};
        for (int i = 0; i < 2; ++i) {
            two[i].msg_hdr.msg_iov = &parts[i];
            two[i].msg_hdr.msg_iovlen = 1;
        }
        timespec limit{5, 0};
        s.says("recvmmsg", recvmmsg(b, two, 2, 0, &limit));
        s.says("first", two[0].msg_len);
        s.says("second", two[1].msg_len);
        s.says("time is left", limit.tv_sec >= 4);
        limit = {0, -1};
        s.says("bad limit", recvmmsg(b, two, 2, 0, &limit));
        s.says("dontwait", recvmmsg(b, two, 2, MSG_DONTWAIT, nullptr));
        s.join();
        close(a), close(b);
    });
}

// The receiver's queue is full and the sender is not connected: epoll calls it writable for ever.
TEST(HooksAgainstTheKernel, AUnixDatagramWaitsForRoomInTheQueue) {
    expect_same([](side &s) {
        sockaddr_un at{};
        at.sun_family = AF_UNIX;
        snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "corun-test-%d-%d", getpid(),
                 s.coroutines());
        int a = socket(AF_UNIX, SOCK_DGRAM, 0), b = socket(AF_UNIX, SOCK_DGRAM, 0);
        s.says("bind", bind(b, reinterpret_cast<sockaddr *>(&at), sizeof at));
        s.partner([b](side &p) {
            usleep(late_us);
            char c[4];
            long sum = 0;
            for (int i = 0; i < 100; ++i)
                sum += recv(b, c, sizeof c, 0);
            p.says("received", sum);
        });
        long sum = 0;
        for (int i = 0; i < 100; ++i)
            sum += sendto(a, "abc", 3, 0, reinterpret_cast<sockaddr *>(&at), sizeof at);
        s.says("sent", sum);
        s.join();
        close(a), close(b);
    });
}

TEST(HooksAgainstTheKernel, RecordsOfSeqpacket) {
    expect_same([](side &s) {
        int fd[2];
        socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd);
        s.partner(
            [b = fd[1]](side &) { usleep(late_us), write(b, "record", 6), write(b, "2", 1); });
        char c[3];
        iovec part{c, 3};
        msghdr m{};
        m.msg_iov = &part;
        m.msg_iovlen = 1;
        s.says("recvmsg", recvmsg(fd[0], &m, 0));
        s.says("cut", m.msg_flags & MSG_TRUNC);
        s.says("read", read(fd[0], c, 3));
        s.join();
        close(fd[0]), close(fd[1]);
    });
}

TEST(HooksAgainstTheKernel, DescriptorsPassedAlong) {
    expect_same([](side &s) {
        int fd[2], p[2];
        socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
        pipe(p);
        s.partner([=](side &q) {
            usleep(late_us);
            char c = 'c';
            iovec part{&c, 1};
            alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
            msghdr m{};
            m.msg_iov = &part;
            m.msg_iovlen = 1;
            m.msg_control = control;
            m.msg_controllen = sizeof control;
            cmsghdr *h = CMSG_FIRSTHDR(&m);
            h->cmsg_level = SOL_SOCKET;
            h->cmsg_type = SCM_RIGHTS;
            h->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(h), &p[0], sizeof(int));
            q.says("sendmsg", sendmsg(fd[1], &m, 0));
            close(p[0]);
            usleep(late_us);
            q.says("write", write(p[1], "through", 7));
        });
        char c[8];
        iovec part{c, 8};
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
        msghdr m{};
        m.msg_iov = &part;
        m.msg_iovlen = 1;
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        s.says("recvmsg", recvmsg(fd[0], &m, 0));
        s.says("control", m.msg_controllen);
        int passed = -1;
        memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof passed);
        s.says("read", read(passed, c, 7));
        s.text("got", c, 7);
        s.join();
        close(passed), close(p[1]), close(fd[0]), close(fd[1]);
    });
}
