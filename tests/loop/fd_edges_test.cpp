// SPDX-License-Identifier: Apache-2.0
// Edges come once: what one edge may carry, and who uses it when the one it woke does not.
#include "tests/loop/loop_fixture.h"

using namespace corun;

namespace {

using FdEdges = LoopTest;

//   first                 second               third                fourth
//                                              sleeps until t
//   recv: waits until t+1
//                         recv: waits
//                                                                   runs until t+2
//   (both deadlines are over: third is ready, then first)
//                                              send "x", an edge: it is spent on first
//   ETIMEDOUT, hands it on
//                         gets "x"
TEST_F(FdEdges, AWaiterThatTimesOutHandsItsWakeOn) { // contract 38
    static constexpr wait_kind nap{"test", false, nullptr};
    stream_pair p;
    int64_t t = deadline_in(2 * ns_per_ms);
    long first = 1, second = 0;
    stCoRoutine_t *one = nullptr;
    go([&] {
        EXPECT_EQ(park(nap, {}, t), -ETIMEDOUT);
        EXPECT_TRUE(one->has(flag_timed_out));
        EXPECT_EQ(send_now(p.b, "x"), 1);
        harvest_edges();
    });
    one = keep([&] {
        char c;
        first = recv_in_loop(p.a, &c, 1, t + 1);
    });
    go([&] {
        char c;
        second = recv_in_loop(p.a, &c, 1, deadline_in(2 * ns_per_s));
    });
    go([&] {
        while (now_ns() < t + 2) {
        }
    });
    co_run();
    EXPECT_EQ(first, -ETIMEDOUT);
    EXPECT_EQ(second, 1);
}

//   first                 second               third
//   recv: waits           recv: waits
//                                              send "x", an edge: it is spent on first
//                                              co_cancel(first)
//   ECANCELED, hands it on
//                         gets "x"
TEST_F(FdEdges, ACancelledWaiterHandsItsWakeOn) { // contract 38
    stream_pair p;
    long second = 0;
    stCoRoutine_t *first = keep([&] {
        char c;
        EXPECT_EQ(co_cancel_mode(CO_CANCEL_ERRNO), CO_CANCEL_UNWIND);
        EXPECT_EQ(recv_in_loop(p.a, &c, 1), -ECANCELED);
    });
    go([&] {
        char c;
        second = recv_in_loop(p.a, &c, 1);
    });
    go([&] {
        EXPECT_EQ(send_now(p.b, "x"), 1);
        harvest_edges();
        EXPECT_EQ(co_cancel(first), 0);
    });
    co_run();
    EXPECT_EQ(second, 1);
}

//   first                 second               third
//   recv: waits           recv: waits
//                                              send "x", an edge: it is spent on first
//                                              co_release(first): it never runs again
//                         gets "x"
TEST_F(FdEdges, AReleasedWaiterHandsItsWakeOn) { // contract 38
    stream_pair p;
    long second = 0;
    stCoRoutine_t *first = keep([&] {
        char c;
        recv_in_loop(p.a, &c, 1);
        ADD_FAILURE() << "it was released";
    });
    go([&] {
        char c;
        second = recv_in_loop(p.a, &c, 1, deadline_in(2 * ns_per_s));
    });
    go([&] {
        EXPECT_EQ(send_now(p.b, "x"), 1);
        harvest_edges();
        release(first);
    });
    co_run();
    EXPECT_EQ(second, 1);
}

//   first                 second               clients
//   accept: waits         accept: waits
//                                              connect, connect: one edge
//   gets one, wakes second
//                         gets the other
TEST_F(FdEdges, TwoConnectionsInOneEdgeReachTwoParkedAcceptors) { // contract 38
    tcp_listener listener;
    std::vector<int> accepted, clients;
    for (int i = 0; i < 2; ++i)
        go([&] { accepted.push_back(static_cast<int>(accept_in_loop(listener.fd))); });
    go([&] {
        for (int i = 0; i < 2; ++i)
            clients.push_back(listener.connected());
    });
    co_run();
    ASSERT_EQ(accepted.size(), 2U);
    for (int fd : accepted) {
        EXPECT_GE(fd, 0);
        close_in_loop(&fd);
    }
    for (int fd : clients)
        close_in_loop(&fd);
}

TEST_F(FdEdges, DataAndTheEndHarvestedInOneEdgeAreBothSeen) { // contract 38
    tcp_pair p;
    go([&] {
        char buffer[64];
        EXPECT_EQ(recv_tcp_in_loop(p.a, buffer, sizeof buffer), 5);
        EXPECT_EQ(recv_tcp_in_loop(p.a, buffer, sizeof buffer, deadline_in(2 * ns_per_s)), 0);
    });
    go([&] {
        EXPECT_EQ(send_now(p.b, "hello"), 5);
        EXPECT_EQ(shutdown(p.b, SHUT_WR), 0);
    });
    co_run();
}

TEST_F(FdEdges, TheEndAfterAShortReadIsAnEdgeOfItsOwn) { // contract 38
    tcp_pair p;
    go([&] {
        char buffer[64];
        EXPECT_EQ(recv_tcp_in_loop(p.a, buffer, sizeof buffer), 5);
        EXPECT_FALSE(fd_may(p.a, fd_read));
        EXPECT_EQ(recv_tcp_in_loop(p.a, buffer, sizeof buffer), 0);
    });
    go([&] {
        EXPECT_EQ(send_now(p.b, "hello"), 5);
        co_sleep_ms(2);
        EXPECT_EQ(shutdown(p.b, SHUT_WR), 0);
    });
    co_run();
}

TEST_F(FdEdges, UnixDataCutWhereADescriptorWasSentIsReadToItsEnd) { // contract 38
    stream_pair p;
    char control[CMSG_SPACE(sizeof(int))] = {};
    auto message = [&](iovec *data) {
        msghdr m{};
        m.msg_iov = data;
        m.msg_iovlen = 1;
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        return m;
    };
    std::string got;
    go([&] {
        for (int i = 0; i < 2; ++i) {
            char buffer[64];
            iovec data{buffer, sizeof buffer};
            int64_t deadline = deadline_in(2 * ns_per_s);
            long r = retry_in_loop(p.a, fd_read, deadline, [&] {
                msghdr m = message(&data);
                long n = sys::call(SYS_recvmsg, p.a, &m, MSG_DONTWAIT);
                if (n > 0)
                    for (cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(c), sizeof fd);
                        sys::close(fd);
                        got += '+';
                    }
                return n;
            });
            ASSERT_EQ(r, 3);
            got.append(buffer, 3);
        }
    });
    go([&] { // a recv ends behind a message that carries descriptors
        char text[] = "abc";
        iovec data{text, 3};
        msghdr m = message(&data);
        cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &p.b, sizeof(int));
        EXPECT_EQ(sys::call(SYS_sendmsg, p.b, &m, MSG_DONTWAIT), 3);
        EXPECT_EQ(send_now(p.b, "def"), 3);
    });
    co_run();
    EXPECT_EQ(got, "+abcdef");
}

TEST_F(FdEdges, DataBehindAnUrgentByteIsReadToItsEnd) { // contract 38
    tcp_pair p;
    std::string got;
    go([&] {
        while (got.size() < 6) { // the first recv stops before the mark
            char buffer[64];
            long r = recv_tcp_in_loop(p.a, buffer, sizeof buffer, deadline_in(2 * ns_per_s));
            ASSERT_GT(r, 0);
            got.append(buffer, static_cast<size_t>(r));
        }
    });
    go([&] {
        EXPECT_EQ(send_now(p.b, "abc", 3), 3);
        EXPECT_EQ(send_now(p.b, "!", 1, MSG_OOB), 1);
        EXPECT_EQ(send_now(p.b, "def", 3), 3);
    });
    co_run();
    EXPECT_EQ(got, "abcdef");
}

} // namespace
