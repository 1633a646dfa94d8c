// SPDX-License-Identifier: Apache-2.0
// Waiting for one descriptor: who is woken, by what, and when nobody need wait.
#include "tests/loop/loop_fixture.h"

using namespace corun;

namespace {

using FdWait = LoopTest;

TEST_F(FdWait, ReaderSleepsUntilDataComes) {
    stream_pair p;
    std::string trace;
    go([&] {
        char c = 0;
        EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1);
        trace += c;
    });
    go([&] {
        trace += '.';
        EXPECT_EQ(send_now(p.b, "x"), 1);
    });
    co_run();
    EXPECT_EQ(trace, ".x");
}

//   first                second               writer
//   recv: waits
//                        recv: waits
//                                             send "1"
//   gets "1"
//                                             send "2"
//                        gets "2"
TEST_F(FdWait, TwoReadersOfOneDescriptorAreServedInTheOrderTheyCame) { // contract 23
    stream_pair p;
    std::string trace;
    for (const char *name : {"first", "second"})
        go([&, name] {
            char c = 0;
            EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1);
            trace += std::string(name) + c + ' ';
        });
    go([&] {
        for (const char *byte : {"1", "2"}) {
            EXPECT_EQ(send_now(p.b, byte), 1);
            co_sleep_ms(1);
        }
    });
    co_run();
    EXPECT_EQ(trace, "first1 second2 ");
}

//   first                second               third                writer
//   recv: waits          recv: waits          recv: waits
//                                                                  send "123": one edge
//   gets "1", wakes second
//                        gets "2", wakes third
//                                             gets "3"
TEST_F(FdWait, OneEdgeServesAsManyReadersAsThereAreBytes) { // contract 23
    stream_pair p;
    std::string trace;
    for (int i = 0; i < 3; ++i)
        go([&] {
            char c = 0;
            EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1);
            trace += c;
        });
    go([&] { EXPECT_EQ(send_now(p.b, "123"), 3); });
    co_run();
    EXPECT_EQ(trace, "123");
}

//   reader                writer                  peer
//   recv: waits
//                         send: waits (full)
//                                                 send "x"
//   gets "x"
//                                                 reads all
//                         sent
TEST_F(FdWait, ReaderAndWriterOfOneDescriptorDoNotWakeEachOther) { // contract 23
    stream_pair p;
    size_t left = fill(p.a);
    std::string trace;
    go([&] {
        char c = 0;
        EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1);
        trace += 'r';
    });
    go([&] {
        EXPECT_EQ(send_in_loop(p.a, "y", 1), 1);
        trace += 'w';
    });
    go([&] {
        EXPECT_EQ(send_now(p.b, "x"), 1);
        co_sleep_ms(2);
        EXPECT_EQ(trace, "r");
        std::vector<char> sink(left);
        for (long r; left > 0; left -= static_cast<size_t>(r)) {
            r = recv_in_loop(p.b, sink.data(), left);
            ASSERT_GT(r, 0);
        }
    });
    co_run();
    EXPECT_EQ(trace, "rw");
}

TEST_F(FdWait, ADeadlineEndsTheWaitAndLeavesTheDescriptorUsable) {
    stream_pair p;
    go([&] {
        char c = 0;
        EXPECT_EQ(recv_in_loop(p.a, &c, 1, deadline_in(ns_per_ms)), -ETIMEDOUT);
        EXPECT_EQ(send_now(p.b, "x"), 1);
        EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1);
    });
    co_run();
}

TEST_F(FdWait, AResetWakesReaderAndWriter) {
    tcp_pair p;
    fill(p.a);
    long read = 0, written = 0;
    go([&] {
        char c;
        read = recv_in_loop(p.a, &c, 1);
    });
    go([&] { written = send_in_loop(p.a, "x", 1); });
    go([&] {
        linger at_once{1, 0};
        EXPECT_EQ(setsockopt(p.b, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
        close_in_loop(&p.b);
    });
    co_run();
    EXPECT_TRUE(read == -ECONNRESET || written == -ECONNRESET); // reported once, to the first
    EXPECT_TRUE(read == 0 || read == -ECONNRESET) << read;
    EXPECT_TRUE(written == -EPIPE || written == -ECONNRESET) << written;
}

TEST_F(FdWait, OnlyEagainTellsThatATryIsUseless) {
    stream_pair p;
    go([&] {
        char c;
        EXPECT_TRUE(fd_may(p.a, fd_read)); // nothing is known yet
        EXPECT_EQ(send_now(p.b, "xy"), 2);
        EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1);
        EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1);
        EXPECT_TRUE(fd_may(p.a, fd_read)); // empty, but nobody has looked
        EXPECT_EQ(recv_in_loop(p.a, &c, 1, deadline_in(ns_per_ms)), -ETIMEDOUT);
        EXPECT_FALSE(fd_may(p.a, fd_read));
        EXPECT_TRUE(fd_may(p.a, fd_write));
    });
    co_run();
}

TEST_F(FdWait, AWarmConnectionCostsNoEpollCtl) {
    stream_pair p;
    constexpr int messages = 1000;
    uint64_t before = stats_now().epoll_calls;
    auto play = [](int fd, bool begins) {
        char c = 'x';
        for (int i = 0; i < messages; ++i) {
            if (begins) {
                ASSERT_EQ(send_in_loop(fd, &c, 1), 1);
            }
            ASSERT_EQ(recv_in_loop(fd, &c, 1), 1);
            if (!begins) {
                ASSERT_EQ(send_in_loop(fd, &c, 1), 1);
            }
        }
    };
    go([&] { play(p.a, true); });
    go([&] { play(p.b, false); });
    co_run();
    EXPECT_EQ(stats_now().epoll_calls - before, 2U);
    EXPECT_EQ(fd_registered_count(), 2U);
}

TEST_F(FdWait, MoreDescriptorsThanOneHarvestHoldsAreAllServed) {
    constexpr int count = 400; // epoll gives 128 events at a time
    std::vector<std::unique_ptr<stream_pair>> pairs;
    int served = 0;
    for (int i = 0; i < count; ++i) {
        pairs.push_back(std::make_unique<stream_pair>());
        go([&served, fd = pairs.back()->a] {
            char c;
            served += recv_in_loop(fd, &c, 1) == 1;
        });
    }
    go([&] {
        for (auto &p : pairs)
            EXPECT_EQ(send_now(p->b, "x"), 1);
    });
    co_run();
    EXPECT_EQ(served, count);
}

TEST_F(FdWait, WhatEpollDoesNotKnowIsNotWaitedFor) {
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    go([&] {
        EXPECT_EQ(fd_wait(test_wait, file, fd_read, soon()), -EPERM);
        EXPECT_EQ(fd_wait(test_wait, file, fd_read, soon()), -EPERM); // not the first time only
        EXPECT_EQ(fd_wait(test_wait, 19999, fd_read, soon()), -EBADF);
        EXPECT_EQ(fd_wait(test_wait, -1, fd_read, soon()), -EBADF);
    });
    co_run();
    EXPECT_EQ(fd_registered_count(), 0U);
    close_in_loop(&file);
}

TEST_F(FdWait, AnEarlyResumeLooksAgainAndGoesOnWaiting) {
    stream_pair p;
    long got = 0;
    stCoRoutine_t *reader = keep([&] {
        char c;
        got = recv_in_loop(p.a, &c, 1);
    });
    settle();
    for (int i = 0; i < 3; ++i)
        co_resume(reader);
    EXPECT_EQ(got, 0);
    EXPECT_EQ(send_now(p.b, "x"), 1);
    co_run();
    EXPECT_EQ(got, 1);
}

TEST_F(FdWait, TheThreadsOwnStackWaitsWhileCoroutinesRun) {
    stream_pair p;
    go([&] {
        co_sleep_ms(1);
        EXPECT_EQ(send_now(p.b, "x"), 1);
    });
    char c = 0;
    EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1);
    EXPECT_EQ(c, 'x');
}

TEST_F(FdWait, CanariesSurviveWhileTwoCoroutinesOfOneStackWait) { // contract 37
    stream_pair p[2];
    int intact = 0;
    for (int k = 0; k < 2; ++k)
        go_shared([&, k] {
            volatile char canary[2048];
            for (volatile char &c : canary)
                c = static_cast<char>('A' + k);
            char text[8] = {};
            for (int i = 0; i < 50; ++i) {
                ASSERT_EQ(recv_in_loop(p[k].a, text, 1), 1);
                ASSERT_EQ(text[0], 'a' + k);
            }
            bool good = true;
            for (volatile char &c : canary)
                good = good && c == 'A' + k;
            intact += good;
        });
    go([&] {
        for (int i = 0; i < 100; ++i) {
            EXPECT_EQ(send_now(p[i % 2].b, i % 2 ? "b" : "a"), 1);
            if (i % 3 == 0)
                co_sleep_ms(0);
        }
    });
    co_run();
    EXPECT_EQ(intact, 2);
}

} // namespace
