// SPDX-License-Identifier: Apache-2.0
// co_poll gives what poll(2) gives, and waits in the loop.
#include "tests/loop/loop_fixture.h"

using namespace corun;

namespace {

using Poll = LoopTest;

// A poll looks once more when its time is over, which would hide a lost wake-up.
int poll_all(pollfd *fds, nfds_t count, int timeout_ms = 5000) {
    int64_t too_late = now_ns() + 5000 * ns_per_ms;
    int r = co_poll(co_get_epoll_ct(), fds, count, timeout_ms);
    EXPECT_TRUE(r <= 0 || now_ns() < too_late) << "only the timeout ended it";
    return r;
}

// Waits for one descriptor; its revents, or -1 when the time was over.
int poll_one(int fd, short events, int timeout_ms = 5000) {
    pollfd f{fd, events, 0};
    int r = poll_all(&f, 1, timeout_ms);
    EXPECT_GE(r, 0);
    EXPECT_EQ(r, f.revents != 0);
    return r == 1 ? f.revents : -1;
}

// What a poll that sleeps first returns once `then` has happened.
#define EXPECT_POLL(fd, events, expected, then)                                                    \
    do {                                                                                           \
        go([&] { EXPECT_EQ(poll_one(fd, events), (expected)); });                                  \
        go([&] { then; });                                                                         \
        co_run();                                                                                  \
    } while (0)

TEST_F(Poll, ReportsDataRoomAndTheirBands) { // contract 23
    stream_pair p;
    EXPECT_POLL(p.a, POLLIN, POLLIN, send_now(p.b, "x"));
    EXPECT_EQ(poll_one(p.a, POLLIN | POLLOUT), POLLIN | POLLOUT);
    stream_pair q;
    EXPECT_POLL(q.a, POLLRDNORM, POLLRDNORM, send_now(q.b, "x"));
    stream_pair r;
    std::vector<char> sink(fill(r.a));
    auto drain = [&] {
        size_t left = sink.size();
        while (left > 0) {
            long n = recv_in_loop(r.b, sink.data(), left);
            ASSERT_GT(n, 0);
            left -= static_cast<size_t>(n);
        }
    };
    EXPECT_POLL(r.a, POLLOUT, POLLOUT, drain());
    fill(r.a);
    EXPECT_POLL(r.a, POLLWRNORM, POLLWRNORM, drain());
}

TEST_F(Poll, ReportsAnUrgentByteAsPri) { // contract 23
    tcp_pair p;
    EXPECT_POLL(p.a, POLLPRI, POLLPRI, send_now(p.b, "!", 1, MSG_OOB));
}

TEST_F(Poll, ReportsThatThePeerHasShutDown) { // contract 23
    tcp_pair p;
    EXPECT_POLL(p.a, POLLRDHUP, POLLRDHUP, shutdown(p.b, SHUT_WR));
}

TEST_F(Poll, ReportsHangUpUnasked) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    EXPECT_POLL(ends[0], 0, POLLHUP, close_in_loop(&ends[1]));
    close_in_loop(&ends[0]);
}

TEST_F(Poll, AClosedDescriptorIsInvalidAtOnce) { // contract 23
    stream_pair p;
    uint64_t before = stats_now().wakeups;
    go([&] {
        pollfd f[2] = {{19997, POLLIN, 0}, {p.a, POLLIN, 0}};
        EXPECT_EQ(co_poll(nullptr, f, 2, -1), 1);
        EXPECT_EQ(f[0].revents, POLLNVAL);
        EXPECT_EQ(f[1].revents, 0);
        EXPECT_EQ(stats_now().wakeups, before);
    });
    co_run();
}

TEST_F(Poll, NegativeDescriptorsAreIgnored) { // contract 23
    stream_pair p;
    go([&] {
        pollfd f[3] = {{-1, POLLIN, 77}, {p.a, POLLIN, 77}, {-5, POLLOUT, 77}};
        EXPECT_EQ(co_poll(nullptr, f, 3, -1), 1);
        EXPECT_EQ(f[0].revents, 0);
        EXPECT_EQ(f[1].revents, POLLIN);
        EXPECT_EQ(f[2].revents, 0);
    });
    go([&] { send_now(p.b, "x"); });
    co_run();
}

TEST_F(Poll, NoDescriptorsIsASleep) { // contract 23
    std::string trace;
    go([&] {
        int64_t begin = now_ns();
        EXPECT_EQ(co_poll(nullptr, nullptr, 0, 5), 0);
        EXPECT_GE(now_ns() - begin, 5 * ns_per_ms);
        trace += 'p';
    });
    go([&] { trace += 'o'; });
    co_run();
    EXPECT_EQ(trace, "op");
}

TEST_F(Poll, WithoutATimeoutItWaitsForEver) { // contract 23
    stCoRoutine_t *co = keep([&] {
        co_poll(nullptr, nullptr, 0, -1);
        ADD_FAILURE() << "nothing ends this but a cancel";
    });
    go([&] {
        co_sleep_ms(5);
        EXPECT_EQ(co->state, co_state::parked);
        EXPECT_EQ(co->deadline_ns, no_deadline);
        EXPECT_EQ(co_cancel(co), 0);
    });
    co_run();
}

TEST_F(Poll, WithATimeoutOfZeroItOnlyLooks) { // contract 23
    stream_pair p;
    go([&] {
        co_stats before = stats_now();
        EXPECT_EQ(poll_one(p.a, POLLIN, 0), -1);
        send_now(p.b, "x");
        EXPECT_EQ(poll_one(p.a, POLLIN, 0), POLLIN);
        EXPECT_EQ(stats_now().switches, before.switches);
        EXPECT_EQ(stats_now().epoll_calls, before.epoll_calls);
    });
    co_run();
}

TEST_F(Poll, ATimeoutClearsWhatStoodInTheArray) {
    stream_pair p;
    go([&] {
        pollfd f[2] = {{p.a, POLLIN, 77}, {p.b, POLLIN, 77}};
        EXPECT_EQ(co_poll(nullptr, f, 2, 2), 0);
        EXPECT_EQ(f[0].revents, 0);
        EXPECT_EQ(f[1].revents, 0);
    });
    co_run();
}

TEST_F(Poll, ManyPollersOfOneDescriptorAreAllWoken) { // contract 23
    stream_pair p;
    int woken = 0;
    for (int i = 0; i < 100; ++i)
        go([&] { woken += poll_one(p.a, POLLIN) == POLLIN; });
    go([&] { send_now(p.b, "x"); });
    co_run();
    EXPECT_EQ(woken, 100);
}

//   poller               reader               writer
//   poll: waits          recv: waits
//                                             send "x"
//                        gets "x": nothing is left
//   sees nothing, waits
//                                             send "y"
//   POLLIN
TEST_F(Poll, APollerAndAReaderShareADescriptor) { // contract 23
    stream_pair p;
    bool polled = false;
    go([&] {
        char c;
        EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1);
        EXPECT_FALSE(polled);
    });
    go([&] {
        EXPECT_EQ(poll_one(p.a, POLLIN), POLLIN);
        polled = true;
    });
    go([&] {
        send_now(p.b, "x");
        co_sleep_ms(2);
        EXPECT_FALSE(polled);
        send_now(p.b, "y");
    });
    co_run();
    EXPECT_TRUE(polled);
}

TEST_F(Poll, TheSameDescriptorTwiceInOneArray) {
    stream_pair p;
    go([&] {
        pollfd f[2] = {{p.a, POLLIN, 0}, {p.a, POLLRDNORM, 0}};
        EXPECT_EQ(poll_all(f, 2), 2);
        EXPECT_EQ(f[0].revents, POLLIN);
        EXPECT_EQ(f[1].revents, POLLRDNORM);
    });
    go([&] { send_now(p.b, "x"); });
    co_run();
}

TEST_F(Poll, AThousandDescriptorsOfWhichTheLastIsReady) {
    std::vector<std::unique_ptr<stream_pair>> pairs;
    std::vector<pollfd> f;
    for (int i = 0; i < 1000; ++i) {
        pairs.push_back(std::make_unique<stream_pair>());
        f.push_back({pairs.back()->a, POLLIN, 0});
    }
    go([&] {
        EXPECT_EQ(poll_all(f.data(), f.size()), 1);
        EXPECT_EQ(f.back().revents, POLLIN);
    });
    go([&] { send_now(pairs.back()->b, "x"); });
    co_run();
}

TEST_F(Poll, ARegularFileIsAlwaysReady) {
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    stream_pair p;
    go([&] {
        EXPECT_EQ(poll_one(file, POLLIN | POLLOUT), POLLIN | POLLOUT);
        pollfd f[2] = {{file, 0, 0}, {p.a, POLLIN, 0}}; // nothing is asked of it: the other counts
        EXPECT_EQ(poll_all(f, 2), 1);
        EXPECT_EQ(f[1].revents, POLLIN);
    });
    go([&] { send_now(p.b, "x"); });
    co_run();
    close_in_loop(&file);
}

TEST_F(Poll, ABadArrayIsEfault) {
    go([&] {
        errno = 0;
        EXPECT_EQ(co_poll(nullptr, reinterpret_cast<pollfd *>(8), 1, 5000), -1);
        EXPECT_EQ(errno, EFAULT);
    });
    co_run();
}

TEST_F(Poll, ACancelledPollerLeavesNothingBehind) {
    stream_pair p;
    bool unwound = false;
    struct on_unwind {
        bool *flag;
        ~on_unwind() { *flag = true; }
    };
    stCoRoutine_t *co = keep([&] {
        on_unwind u{&unwound};
        poll_one(p.a, POLLIN);
        ADD_FAILURE() << "it was cancelled";
    });
    go([&] {
        co_cancel(co);
        co_join(co, nullptr);
        EXPECT_TRUE(unwound);
        send_now(p.b, "x"); // an edge for nobody
        co_sleep_ms(1);
    });
    co_run();
}

TEST_F(Poll, AReleasedPollerLeavesNothingBehind) {
    stream_pair p;
    stCoRoutine_t *co = keep([&] { poll_one(p.a, POLLIN); });
    go([&] {
        release(co);
        send_now(p.b, "x");
        co_sleep_ms(1);
    });
    co_run();
}

TEST_F(Poll, AfterAnotherKindOfWait) {
    stream_pair p;
    co_sem_t sem;
    co_sem_init(&sem, 0);
    co_chan_t *ch;
    ASSERT_EQ(co_chan_create(&ch, sizeof(int), 0), 0);
    go([&] {
        EXPECT_EQ(co_sem_wait(&sem), 0);
        EXPECT_EQ(poll_one(p.b, POLLOUT), POLLOUT); // at once
        int item = 0;
        EXPECT_EQ(co_chan_recv(ch, &item), 0);
        EXPECT_EQ(poll_one(p.a, POLLIN), POLLIN); // after a wait
    });
    go([&] {
        co_yield_now();
        co_sem_post(&sem);
        int item = 1;
        EXPECT_EQ(co_chan_send(ch, &item), 0);
        co_yield_now();
        send_now(p.b, "x");
    });
    co_run();
    co_chan_destroy(ch);
}

TEST_F(Poll, OnTheThreadsOwnStack) {
    stream_pair p;
    go([&] {
        co_sleep_ms(1);
        send_now(p.b, "x");
    });
    EXPECT_EQ(poll_one(p.a, POLLIN), POLLIN);
    EXPECT_EQ(poll_one(p.b, POLLIN, 2), -1);
}

// The array stands at the same address in both: it may be read and written only while its owner is in.
TEST_F(Poll, ArraysOnASharedStackAreReadAndWrittenByTheirOwnersOnly) { // contract 37
    stream_pair p[2];
    int intact = 0;
    for (int k = 0; k < 2; ++k)
        go_shared([&, k] {
            pollfd f[3] = {{-1 - k, static_cast<short>(k + 1), 0}, {p[k].a, POLLIN, 0}, {-7, 0, 0}};
            for (int i = 0; i < 50; ++i) {
                f[1].revents = 0;
                ASSERT_EQ(poll_all(f, 3), 1);
                ASSERT_EQ(f[1].revents, POLLIN);
                ASSERT_EQ(f[1].fd, p[k].a);
                char c;
                ASSERT_EQ(recv_in_loop(p[k].a, &c, 1), 1);
            }
            intact += f[0].fd == -1 - k && f[0].events == k + 1 && f[2].fd == -7;
        });
    go([&] {
        for (int i = 0; i < 100; ++i) {
            EXPECT_EQ(send_now(p[i % 2].b, "x"), 1);
            co_sleep_ms(0);
        }
    });
    co_run();
    EXPECT_EQ(intact, 2);
}

} // namespace
