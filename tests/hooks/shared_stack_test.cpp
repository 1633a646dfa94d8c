// SPDX-License-Identifier: Apache-2.0
// Contract 37: two coroutines on one shared stack; while one is parked, the other's bytes stand where
// its buffers were. Nothing may be written there on its behalf.
#include "tests/hooks/canaries.h"
#include "tests/hooks/net.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/select.h>

TEST(SharedStackHooks, RecvmsgFillsTheRightCoroutinesBuffers) {
    int fd[2][2];
    for (auto &pair : fd)
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    stCoRoutine_t *feeder = go([&] {
        for (int i = 0; i < 5; ++i)
            for (auto &pair : fd) {
                usleep(500);
                send(pair[1], "0123456789", 10, 0);
            }
    });
    on_one_stack([&](int k) {
        char first[4] = {}, second[6] = {};
        iovec parts[2] = {{first, 4}, {second, 6}};
        msghdr m{};
        m.msg_iov = parts;
        m.msg_iovlen = 2;
        EXPECT_EQ(10, recvmsg(fd[k][0], &m, MSG_WAITALL));
        EXPECT_EQ(0, memcmp(first, "0123", 4));
        EXPECT_EQ(0, memcmp(second, "456789", 6));
    });
    co_release(feeder);
    for (auto &pair : fd)
        close(pair[0]), close(pair[1]);
}

TEST(SharedStackHooks, PollAndSelectWriteTheRightArrays) {
    int fd[2][2];
    for (auto &pair : fd)
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    stCoRoutine_t *feeder = go([&] {
        for (int i = 0; i < 20; ++i)
            for (auto &pair : fd) {
                usleep(500);
                send(pair[1], "x", 1, 0);
            }
    });
    on_one_stack([&](int k) {
        char c;
        pollfd p[8];
        for (pollfd &q : p)
            q = {-1, POLLIN, 0};
        p[5].fd = fd[k][0];
        EXPECT_EQ(1, poll(p, 8, 5000));
        EXPECT_EQ(POLLIN, p[5].revents);
        EXPECT_EQ(1, recv(fd[k][0], &c, 1, 0));
        EXPECT_EQ(0, poll(p, 5, 2));
        fd_set r;
        FD_ZERO(&r);
        FD_SET(fd[k][0], &r);
        timeval t{5, 0};
        EXPECT_EQ(1, select(fd[k][0] + 1, &r, nullptr, nullptr, &t));
        EXPECT_TRUE(FD_ISSET(fd[k][0], &r));
        EXPECT_EQ(1, recv(fd[k][0], &c, 1, 0));
    });
    co_release(feeder);
    for (auto &pair : fd)
        close(pair[0]), close(pair[1]);
}

TEST(SharedStackHooks, AnOffloadedPreadOf64KiB) {
    char path[] = "/var/tmp/corun-cold-XXXXXX";
    int fd = mkstemp(path);
    constexpr size_t piece = 65536;
    std::vector<unsigned char> data(10 * piece);
    for (size_t i = 0; i < data.size(); ++i)
        data[i] = static_cast<unsigned char>(i / 256 * 7 + i);
    ASSERT_EQ(static_cast<long>(data.size()), write(fd, data.data(), data.size()));
    ASSERT_EQ(0, fsync(fd));
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    co_stats before{}, after{};
    co_get_stats(&before);
    size_t next = 0;
    on_one_stack([&](int) {
        unsigned char buffer[piece];
        size_t at = next++ % 10 * piece;
        EXPECT_EQ(static_cast<long>(piece), pread(fd, buffer, piece, static_cast<off_t>(at)));
        EXPECT_EQ(0, memcmp(buffer, data.data() + at, piece));
    });
    co_get_stats(&after);
    close(fd);
    unlink(path);
    if (after.offloads == before.offloads)
        GTEST_SKIP() << "the file did not leave the page cache";
}

TEST(SharedStackHooks, AcceptAndConnectWithAddressesOnTheStack) {
    int l = listener(), port = port_of(l);
    on_one_stack([&](int k) {
        sockaddr_in a{};
        if (k == 0) {
            socklen_t n = sizeof a;
            int fd = accept(l, any(&a), &n);
            EXPECT_GE(fd, 0);
            EXPECT_EQ(AF_INET, a.sin_family);
            EXPECT_EQ(sizeof a, n);
            close(fd);
        } else {
            usleep(1000);
            a = loopback(port);
            int fd = socket(AF_INET, SOCK_STREAM, 0);
            EXPECT_EQ(0, connect(fd, any(&a), sizeof a));
            char c;
            EXPECT_EQ(0, recv(fd, &c, 1, 0));
            close(fd);
        }
    });
    close(l);
}
