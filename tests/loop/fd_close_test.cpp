// SPDX-License-Identifier: Apache-2.0
// A descriptor is closed, replaced or used again while somebody waits for it.
#include "tests/loop/loop_fixture.h"

using namespace corun;

namespace {

using FdClose = LoopTest;

// The file at number `at` becomes what `from` is, as the hook of dup2 does it.
void replace(int from, int at) {
    fd_forget(at);
    ASSERT_EQ(sys::call(SYS_dup2, from, at), at);
    fd_renew(at);
}

//   reader               closer
//   recv: waits
//                        fd_forget, close: the reader is ready
//   EBADF, in the next turn
TEST_F(FdClose, WakesTheReaderAtOnceWithEbadf) { // contract 22
    stream_pair p;
    long result = 0;
    go([&] {
        char c;
        result = recv_in_loop(p.a, &c, 1);
    });
    go([&] {
        close_in_loop(&p.a);
        EXPECT_EQ(result, 0);
        co_yield_now(); // one turn: nothing had to be waited for
        EXPECT_EQ(result, -EBADF);
    });
    co_run();
}

TEST_F(FdClose, WakesAllReadersWritersPollersAndWatchers) { // contract 22
    stream_pair p;
    fill(p.a);
    int woken = 0;
    for (int i = 0; i < 2; ++i) {
        go([&] {
            char c;
            woken += recv_in_loop(p.a, &c, 1) == -EBADF;
        });
        go([&] { woken += send_in_loop(p.a, "x", 1) == -EBADF; });
        go([&] {
            pollfd f{p.a, POLLIN, 0};
            woken += co_poll(nullptr, &f, 1, 5000) == 1 && f.revents == POLLNVAL;
        });
        go([&] {
            ASSERT_EQ(fd_watch(p.a), 0);
            int r = park(test_wait, {.fd = p.a}, soon());
            woken += fd_unwatch() && r == 0;
        });
    }
    go([&] { close_in_loop(&p.a); });
    co_run();
    EXPECT_EQ(woken, 8);
}

//   old                  new                  closer
//   recv(n): waits
//                                             close n; another socket gets the number n
//                        recv(n): waits
//                                             data for the other socket
//   EBADF                gets the data
TEST_F(FdClose, ANumberThatIsUsedAgainIsANewDescriptor) { // contract 22
    stream_pair p, q;
    int n = p.a;
    long old_result = 0, new_result = 0;
    go([&] {
        char c;
        old_result = recv_in_loop(n, &c, 1);
    });
    go([&] {
        close_in_loop(&p.a);
        ASSERT_EQ(sys::call(SYS_dup2, q.a, n), n);
        p.a = n;
        go([&] {
            char c;
            new_result = recv_in_loop(n, &c, 1);
        });
        co_sleep_ms(1);
        EXPECT_EQ(send_now(q.b, "x"), 1);
    });
    co_run();
    EXPECT_EQ(old_result, -EBADF);
    EXPECT_EQ(new_result, 1);
}

TEST_F(FdClose, AnEventOfTheFormerOwnerOfANumberIsDropped) { // contract 22
    stream_pair p, q;
    int n = p.a, tries = 0;
    go([&] {
        char c;
        EXPECT_EQ(recv_in_loop(n, &c, 1, deadline_in(ns_per_ms)), -ETIMEDOUT);
        uint32_t former = env()->event_loop->descriptors.find(static_cast<size_t>(n))->generation;
        replace(q.a, n);
        go([&] {
            co_sleep_ms(1);
            fd_handle_event(env(), n, former, EPOLLIN); // harvested before, handled after
            co_sleep_ms(1);
            EXPECT_EQ(send_now(q.b, "x"), 1);
        });
        EXPECT_EQ(retry_in_loop(n, fd_read, soon(),
                                [&] {
                                    ++tries;
                                    return sys::recvfrom(n, &c, 1, MSG_DONTWAIT, nullptr, nullptr);
                                }),
                  1);
    });
    co_run();
    EXPECT_EQ(tries, 2); // once at first, once when there was data
}

//   Each round: n has data that nobody has harvested; it is closed, and a new, empty socket gets
//   its number. The wait for the new one may end only when its own data has come.
TEST_F(FdClose, ReuseOfANumberHammered) { // contract 22
    int stale = 0, served = 0;
    go([&] {
        for (int i = 0; i < rounds(20000); ++i) {
            auto old = std::make_unique<stream_pair>();
            int n = old->a, copy = -1;
            if (i % 2)
                copy = dup(n); // the old file lives on, and so would its place in the epoll
            char c;
            fd_entry *e;
            ASSERT_EQ(fd_register(env(), n, &e), 0);
            ASSERT_EQ(send_now(old->b, "o"), 1);
            if (i % 3)
                co_yield_now();
            stream_pair fresh;
            replace(fresh.a, n);
            ASSERT_EQ(send_now(old->b, "p"), i % 2 ? 1 : -EPIPE);
            go([&] {
                co_yield_now();
                ASSERT_EQ(send_now(fresh.b, "n"), 1);
            });
            ASSERT_EQ(fd_wait(test_wait, n, fd_read, soon()), 0);
            long r = sys::recvfrom(n, &c, 1, MSG_DONTWAIT, nullptr, nullptr);
            stale += r == -EAGAIN;
            served += r == 1 && c == 'n';
            close_in_loop(&copy);
            co_yield_now();
        }
    });
    co_run();
    EXPECT_EQ(stale, 0);
    EXPECT_EQ(served, rounds(20000));
}

TEST_F(FdClose, ADuplicateHasItsOwnWaiters) { // contract 22
    stream_pair p;
    long original = 0, copied = 0;
    int copy = dup(p.a);
    go([&] {
        char c;
        original = recv_in_loop(p.a, &c, 1);
    });
    go([&] {
        char c;
        copied = recv_in_loop(copy, &c, 1);
    });
    go([&] {
        close_in_loop(&p.a);
        co_yield_now();
        EXPECT_EQ(original, -EBADF);
        EXPECT_EQ(copied, 0);
        EXPECT_EQ(send_now(p.b, "x"), 1);
    });
    co_run();
    EXPECT_EQ(copied, 1);
    close_in_loop(&copy);
}

TEST_F(FdClose, Dup2OverAWaitedDescriptorEndsTheWait) { // contract 22
    stream_pair p, q;
    long result = 0, next = 0;
    go([&] {
        char c;
        result = recv_in_loop(p.a, &c, 1);
        next = recv_in_loop(p.a, &c, 1); // of the other socket
    });
    go([&] {
        replace(q.a, p.a);
        co_sleep_ms(1);
        EXPECT_EQ(result, -EBADF);
        EXPECT_EQ(send_now(q.b, "x"), 1);
    });
    co_run();
    EXPECT_EQ(next, 1);
}

// The poller has not run when the number means another file already: what it waits for is that file.
TEST_F(FdClose, APollOfAReplacedNumberGoesOnWithTheNewFile) { // contract 22
    stream_pair p, q;
    int result = -1;
    go([&] {
        pollfd f{p.a, POLLIN, 0};
        result = co_poll(nullptr, &f, 1, 2000);
    });
    go([&] {
        replace(q.a, p.a);
        co_sleep_ms(1);
        EXPECT_EQ(send_now(q.b, "x"), 1);
        co_sleep_ms(500); // long before the timeout, which looks once more
        EXPECT_EQ(result, 1);
    });
    co_run();
    EXPECT_EQ(result, 1);
}

// The waiter may run, on another thread, before the closer has come to close.
TEST_F(FdClose, APollerIsToldEvenWhileTheFileIsOpen) { // contract 22
    stream_pair p;
    int woken = 0;
    go([&] {
        pollfd f[2] = {{p.b, POLLIN, 0}, {p.a, POLLIN, 0}};
        woken = co_poll(nullptr, f, 2, 5000);
        EXPECT_EQ(f[0].revents, 0);
        EXPECT_EQ(f[1].revents, POLLNVAL);
    });
    go([&] {
        fd_forget(p.a);
        co_yield_now();
        co_yield_now();
        EXPECT_EQ(woken, 1);
        close_in_loop(&p.a);
    });
    co_run();
}

//   poller, reader       replacer
//                        fd_forget
//   begin to wait: the old file is registered
//                        dup2, fd_renew: the new one is
TEST_F(FdClose, AWaitThatBeginsInBetweenIsMovedToTheNewFile) { // contract 22
    stream_pair p, q;
    int polled = 0;
    long received = 0;
    go([&] {
        fd_forget(p.a);
        go([&] {
            pollfd f{p.a, POLLIN, 0};
            polled = co_poll(nullptr, &f, 1, 5000);
        });
        go([&] {
            char c;
            received = recv_in_loop(p.a, &c, 1);
        });
        co_yield_now();
        co_yield_now();
        ASSERT_EQ(sys::call(SYS_dup2, q.a, p.a), p.a);
        fd_renew(p.a);
        EXPECT_EQ(send_now(q.b, "xy"), 2); // the reader leaves one to the poller
        co_sleep_ms(500);                  // long before the timeout, which looks once more
        EXPECT_EQ(polled, 1);
        EXPECT_EQ(received, 1);
    });
    co_run();
}

//   reader               closer
//                        fd_forget
//   begins to wait: the old file is registered
//                        close, fd_renew: EBADF
TEST_F(FdClose, AWaitThatBeginsInBetweenEndsWithTheClose) { // contract 22
    stream_pair p;
    int n = p.a;
    long received = 0;
    go([&] {
        fd_forget(n);
        go([&] {
            char c;
            received = recv_in_loop(n, &c, 1);
        });
        co_yield_now();
        close_in_loop(&p.a);
        co_yield_now();
        EXPECT_EQ(received, -EBADF);
    });
    co_run();
}

TEST_F(FdClose, OfWhatNobodyWaitsForIsHarmless) {
    fd_forget(-1);
    fd_forget(19998);
    stream_pair p;
    fd_forget(p.a);
    fd_forget(p.a);
    go([&] {
        char c;
        EXPECT_EQ(recv_in_loop(p.a, &c, 1, deadline_in(ns_per_ms)), -ETIMEDOUT);
        fd_forget(p.a);
        fd_forget(p.a);
        EXPECT_EQ(send_now(p.b, "x"), 1);
        EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1);
    });
    co_run();
}

TEST_F(FdClose, AWatcherThatIsWokenOtherwiseLearnsThatNothingWasClosed) {
    stream_pair p;
    coroutine *watcher = nullptr;
    go([&] {
        watcher = env()->running;
        ASSERT_EQ(fd_watch(p.a), 0);
        EXPECT_EQ(park(test_wait, {.fd = p.a}, soon()), 0);
        EXPECT_FALSE(fd_unwatch());
    });
    go([&] { unpark(watcher); });
    co_run();
}

} // namespace
