// SPDX-License-Identifier: Apache-2.0
// Calls made through io_uring: loop/uring.h.
#include "co_routine/loop/uring.h"

#include "co_routine/core/cancel.h"
#include "co_routine/loop/fd_events.h"
#include "tests/loop/in_loop.h"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <cstring>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace corun;

namespace {

constexpr wait_kind accept_kind{"accept", true, nullptr};
constexpr wait_kind connect_kind{"connect", true, nullptr};
constexpr wait_kind poll_kind{"poll", true, nullptr};

struct listener {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    listener() {
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr *>(&address), length), 0);
        EXPECT_EQ(listen(fd, 64), 0);
        EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr *>(&address), &length), 0);
    }
    ~listener() { shut(); }
    void shut() {
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    int connect_to() const {
        int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        EXPECT_EQ(connect(s, reinterpret_cast<const sockaddr *>(&address), sizeof address), 0);
        return s;
    }
};

int64_t accept_one(int fd, int64_t deadline = no_deadline) {
    return uring_accept(accept_kind, fd, nullptr, SOCK_CLOEXEC, deadline);
}

class Uring : public testing::Test {
  protected:
    void SetUp() override {
        uring_request nothing;
        nothing.opcode = IORING_OP_NOP;
        if (uring_call(poll_kind, nothing, no_deadline, nullptr) == -ENOSYS)
            GTEST_SKIP() << "no io_uring here";
    }
    void TearDown() override { EXPECT_EQ(uring_in_flight(), 0U); }
};

// contract 38: each of two acceptors gets one of two connections.
TEST_F(Uring, TwoAcceptorsGetOneConnectionEach) {
    listener server;
    int64_t got[2] = {-1, -1};
    for (int64_t &g : got)
        go([&] { g = accept_one(server.fd); });
    ASSERT_TRUE(run_until([] { return uring_in_flight() == 2; }));
    int clients[2] = {server.connect_to(), server.connect_to()};
    co_run();
    for (int i : {0, 1}) {
        EXPECT_GE(got[i], 0);
        close(static_cast<int>(got[i]));
        close(clients[i]);
    }
}

TEST_F(Uring, AcceptGivesThePeersAddressIntoASharedStack) {
    listener server;
    stShareStack_t *stack = co_alloc_sharestack(1, 256 * 1024);
    uint16_t ports[2] = {};
    socklen_t lengths[2] = {};
    int64_t got[2] = {-1, -1};
    for (int i : {0, 1})
        go(
            [&, i] {
                peer_address peer;
                got[i] = uring_accept(accept_kind, server.fd, &peer, 0, no_deadline);
                ports[i] = reinterpret_cast<sockaddr_in *>(peer.at())->sin_port;
                lengths[i] = peer.length;
            },
            nullptr, stack);
    ASSERT_TRUE(run_until([] { return uring_in_flight() == 2; }));
    int clients[2] = {server.connect_to(), server.connect_to()};
    co_run();
    for (int i : {0, 1}) {
        sockaddr_in peer{};
        socklen_t length = sizeof peer;
        EXPECT_EQ(
            getpeername(static_cast<int>(got[i]), reinterpret_cast<sockaddr *>(&peer), &length), 0);
        EXPECT_EQ(ports[i], peer.sin_port);
        EXPECT_EQ(lengths[i], sizeof(sockaddr_in));
        close(static_cast<int>(got[i]));
        close(clients[i]);
    }
    EXPECT_EQ(co_release_sharestack(stack), 0);
}

TEST_F(Uring, AConnectionThatWaitsIsAcceptedWithoutParking) {
    listener server;
    int client = server.connect_to();
    uint64_t switches = 1;
    int64_t got = -1;
    go([&] {
        uint64_t before = current_env()->counts.switches;
        got = accept_one(server.fd);
        switches = current_env()->counts.switches - before;
    });
    co_run();
    EXPECT_GE(got, 0);
    EXPECT_EQ(switches, 0U);
    close(static_cast<int>(got));
    close(client);
}

TEST_F(Uring, ConnectReachesAListenerAndIsRefusedWithoutOne) {
    listener server;
    int sockets[2] = {socket(AF_INET, SOCK_STREAM, 0), socket(AF_INET, SOCK_STREAM, 0)};
    int64_t results[2] = {1, 1};
    auto connect_it = [&](int i) {
        results[i] =
            uring_connect(connect_kind, sockets[i], reinterpret_cast<sockaddr *>(&server.address),
                          sizeof server.address, no_deadline);
    };
    go([&] {
        connect_it(0);
        server.shut();
        connect_it(1);
    });
    co_run();
    EXPECT_EQ(results[0], 0);
    EXPECT_EQ(results[1], -ECONNREFUSED);
    for (int s : sockets)
        close(s);
}

// contract 38: what a cancelled acceptor would have got goes to the next.
TEST_F(Uring, ACancelledAcceptTakesNoConnectionAway) {
    listener server;
    stCoRoutine_t *first;
    int64_t got = -1;
    go([&] { leave_wait(static_cast<int>(-accept_one(server.fd))); }, &first);
    ASSERT_TRUE(run_until([] { return uring_in_flight() == 1; }));
    go([&] { got = accept_one(server.fd); });
    ASSERT_TRUE(run_until([] { return uring_in_flight() == 2; }));
    ASSERT_EQ(co_cancel(first), 0);
    void *result = nullptr;
    ASSERT_EQ(co_join(first, &result), 0);
    EXPECT_EQ(result, CO_CANCELED);
    co_release(first);
    EXPECT_EQ(uring_in_flight(), 1U);
    int client = server.connect_to();
    co_run();
    EXPECT_GE(got, 0);
    close(static_cast<int>(got));
    close(client);
}

// The cancel and the connection meet before the acceptor runs: it keeps what it has.
TEST_F(Uring, AConnectionThatCameBeforeTheCancelIsNotLost) {
    listener server;
    stCoRoutine_t *acceptor;
    int64_t got = -1;
    go(
        [&] {
            co_cancel_mode(CO_CANCEL_ERRNO);
            got = accept_one(server.fd);
        },
        &acceptor);
    ASSERT_TRUE(run_until([] { return uring_in_flight() == 1; }));
    int client = server.connect_to();
    ASSERT_EQ(co_cancel(acceptor), 0);
    ASSERT_EQ(co_join(acceptor, nullptr), 0);
    co_release(acceptor);
    EXPECT_GE(got, 0);
    close(static_cast<int>(got));
    close(client);
}

TEST_F(Uring, ClosingTheListenerEndsAcceptWithEbadf) {
    listener server;
    int64_t got = 0;
    go([&] { got = accept_one(server.fd); });
    ASSERT_TRUE(run_until([] { return uring_in_flight() == 1; }));
    fd_forget(server.fd);
    server.shut();
    co_run();
    EXPECT_EQ(got, -EBADF);
}

TEST_F(Uring, ADeadlineEndsAccept) {
    listener server;
    int64_t got = 0;
    go([&] { got = accept_one(server.fd, deadline_in_ms(5)); });
    co_run();
    EXPECT_EQ(got, -ETIMEDOUT);
}

TEST_F(Uring, AReleasedCoroutinesRequestIsCancelled) {
    listener server;
    stCoRoutine_t *acceptor;
    go([&] { accept_one(server.fd); }, &acceptor);
    ASSERT_TRUE(run_until([] { return uring_in_flight() == 1; }));
    co_release(acceptor);
    EXPECT_EQ(uring_in_flight(), 0U);
}

TEST_F(Uring, AThreadMayEndWithARequestInFlight) {
    listener server;
    std::thread([&] {
        go([&] { accept_one(server.fd); });
        EXPECT_TRUE(run_until([] { return uring_in_flight() == 1; }));
    }).join();
    int64_t got = -1;
    go([&] { got = accept_one(server.fd); });
    ASSERT_TRUE(run_until([] { return uring_in_flight() == 1; }));
    int client = server.connect_to();
    co_run();
    EXPECT_GE(got, 0);
    close(static_cast<int>(got));
    close(client);
}

// More than both rings hold: the kernel keeps what does not fit.
TEST_F(Uring, AThousandRequestsCompleteAtOnce) {
    constexpr int many = 1000;
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    int good = 0;
    for (int i = 0; i < many; ++i)
        go([&] {
            uring_request request;
            request.opcode = IORING_OP_POLL_ADD;
            request.fd = fds[0];
            request.op_flags = POLLIN;
            good += uring_call(poll_kind, request, no_deadline, nullptr) == POLLIN;
        });
    ASSERT_TRUE(run_until([&] { return uring_in_flight() == many; }));
    ASSERT_EQ(write(fds[1], "x", 1), 1);
    co_run();
    EXPECT_EQ(good, many);
    close(fds[0]);
    close(fds[1]);
}

// The child's io_uring is its own; the parent's request is not touched, and gets its connection.
TEST_F(Uring, AForkedChildHasARingOfItsOwn) {
    listener server;
    int64_t got = -1;
    int status = -1;
    go([&] { got = accept_one(server.fd); });
    ASSERT_TRUE(run_until([] { return uring_in_flight() == 1; }));
    go([&] {
        pid_t child = fork();
        if (child == 0) {
            if (uring_in_flight() != 0)
                _exit(1);
            int s = socket(AF_INET, SOCK_STREAM, 0);
            int64_t r =
                uring_connect(connect_kind, s, reinterpret_cast<sockaddr *>(&server.address),
                              sizeof server.address, no_deadline);
            _exit(r == 0 ? 0 : 2);
        }
        waitpid(child, &status, 0);
    });
    co_run();
    EXPECT_GE(got, 0);
    close(static_cast<int>(got));
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(Uring, AnOpcodeTheKernelDoesNotKnowIsEnosys) {
    uring_request request;
    request.opcode = 63;
    EXPECT_EQ(uring_call(poll_kind, request, no_deadline, nullptr), -ENOSYS);
}

TEST(UringMissing, SaysSoAndMakesNoRing) {
    std::thread([] { // a thread whose ring does not exist yet
        uring_pretend_missing(true);
        listener server;
        EXPECT_EQ(accept_one(server.fd), -ENOSYS);
        EXPECT_EQ(current_env()->event_loop->ring, nullptr);
        uring_pretend_missing(false);
    })
        .join();
}

} // namespace
