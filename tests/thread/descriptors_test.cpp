// SPDX-License-Identifier: Apache-2.0
// Descriptors that several threads know, and what a thread leaves behind.
#include "tests/thread/threads_fixture.h"

#include <sys/wait.h>

using namespace corun;

namespace {

using CrossClose = ThreadsTest;
using ThreadEnd = ThreadsTest;
using CrossFork = ThreadsTest;

bool is_parked(const std::atomic<stCoRoutine_t *> &co) {
    if (!co.load())
        return false;
    loop *l = __atomic_load_n(&co.load()->env->event_loop, __ATOMIC_ACQUIRE);
    return l && __atomic_load_n(&l->sleeping, __ATOMIC_SEQ_CST) == 1;
}

//   thread 1             thread 2              this thread
//   recv(n): waits       recv(n): waits
//                                              fd_forget, close
//   EBADF                EBADF
TEST_F(CrossClose, WakesTheWaitersOfAllThreads) { // contract 22
    for (int i = 0; i < rounds(400) + 20; ++i) {
        stream_pair p;
        std::atomic<int> woken{0};
        std::atomic<stCoRoutine_t *> co[2] = {};
        auto reader = [&](int k) {
            co[k] = co_self();
            char c;
            woken += recv_in_loop(p.a, &c, 1) == -EBADF;
        };
        int n = p.a;
        loop_thread one([&] { reader(0); }), two([&] { reader(1); });
        ASSERT_TRUE(eventually([&] { return is_parked(co[0]) && is_parked(co[1]); }));
        fd_forget(n);
        sys::close(n);
        fd_renew(n);
        one.join();
        two.join();
        p.a = -1;
        EXPECT_EQ(woken, 2);
    }
}

TEST_F(CrossClose, WakesAPollerOfAnotherThread) { // contract 22
    stream_pair p;
    std::atomic<stCoRoutine_t *> co{nullptr};
    int result = 0;
    short revents = 0;
    loop_thread t([&] {
        co = co_self();
        pollfd f{p.a, POLLIN, 0};
        int64_t begin = now_ns();
        result = co_poll(nullptr, &f, 1, 5000);
        EXPECT_LT(now_ns() - begin, 5 * ns_per_s);
        revents = f.revents;
    });
    ASSERT_TRUE(eventually([&] { return is_parked(co); }));
    int n = p.a;
    fd_forget(n);
    sys::close(n);
    fd_renew(n);
    t.join();
    p.a = -1;
    EXPECT_EQ(result, 1);
    EXPECT_EQ(revents, POLLNVAL);
}

//   Thread 1 waits for number n; this thread gives n to another socket, again and again, and sends
//   to the new one: the next wait must see it, by recv and by poll alike.
TEST_F(CrossClose, ReuseOfANumberHammered) { // contract 22
    stream_pair first;
    int n = first.a;
    std::atomic<int> generation{0}, taken{0};
    std::atomic<bool> over{false};
    loop_thread t([&] {
        for (int mine = 1; !over; ++mine) {
            while (generation < mine && !over)
                co_yield_now();
            if (over)
                return;
            char c = 0;
            long r;
            if (mine % 2) {
                do
                    r = recv_in_loop(n, &c, 1, deadline_in(5 * ns_per_s));
                while (r == -EBADF); // told of the replacement
            } else {
                pollfd f{n, POLLIN, 0};
                int64_t begin = now_ns();
                do
                    r = co_poll(nullptr, &f, 1, 5000);
                while (f.revents == POLLNVAL); // told of the replacement
                if (now_ns() - begin >= 5 * ns_per_s)
                    r = -ETIMEDOUT;
                else
                    sys::recvfrom(n, &c, 1, MSG_DONTWAIT, nullptr, nullptr);
            }
            EXPECT_EQ(r, 1) << "round " << mine;
            if (r != 1)
                over = true;
            taken = mine;
        }
    });
    for (int i = 1; i <= rounds(2000) && !over; ++i) {
        stream_pair fresh;
        fd_forget(n);
        ASSERT_EQ(sys::call(SYS_dup2, fresh.a, n), n);
        fd_renew(n);
        generation = i;
        for (int k = i % 50; k > 0; --k)
            std::this_thread::yield(); // it waits already, or not yet
        ASSERT_EQ(send_now(fresh.b, "x"), 1);
        ASSERT_TRUE(eventually([&] { return taken == i || over; }));
    }
    EXPECT_EQ(taken, rounds(2000));
    over = true;
    t.join();
}

//   thread 1                             this thread
//   knows n, runs on without waiting
//                                        gives n to another socket, tells thread 1
//   recv(n), fd_watch(n): the new one
//                                        sends to it
//   gets it: the news from before is not about this socket
TEST_F(CrossClose, NewsOfAFormerOwnerDoesNotEndAWaitForTheNewOne) { // contract 22
    for (bool watches : {false, true}) {
        stream_pair p, q;
        int n = p.a;
        std::atomic<int> stage{0};
        loop_thread t([&] {
            char c;
            EXPECT_EQ(recv_in_loop(n, &c, 1, deadline_in(ns_per_ms)), -ETIMEDOUT);
            stage = 1;
            EXPECT_TRUE(eventually([&] { return stage == 2; })); // no turn of the loop in between
            if (watches) {
                ASSERT_EQ(fd_watch(n), 0);
                EXPECT_EQ(park(test_wait, {.fd = n}, deadline_in(5 * ns_per_ms)), -ETIMEDOUT);
                EXPECT_FALSE(fd_unwatch());
            } else {
                EXPECT_EQ(fd_wait(test_wait, n, fd_read, soon()), 0);
            }
        });
        ASSERT_TRUE(eventually([&] { return stage == 1; }));
        fd_forget(n);
        ASSERT_EQ(sys::call(SYS_dup2, q.a, n), n);
        stage = 2;
        EXPECT_EQ(send_now(q.b, "x"), 1);
        t.join();
    }
}

// dup2 wants the numbers that a sleeping loop stands on.
TEST_F(CrossClose, TheRuntimesDescriptorsMoveUnderASleepingLoop) {
    stream_pair p;
    std::atomic<stCoRoutine_t *> co{nullptr}, yielded{nullptr};
    std::atomic<int> got{0};
    std::atomic<bool> over{false};
    loop_thread t(
        [&] {
            co = co_self();
            char c;
            got += recv_in_loop(p.a, &c, 1) == 1;
            got += recv_in_loop(p.a, &c, 1) == 1;
            while (!over) // we look into its loop until then
                co_sleep_ms(1);
        },
        [&] {
            yielded = co_self();
            co_yield_ct();
            ++got;
        });
    ASSERT_TRUE(eventually([&] { return is_parked(co) && yielded; }));
    loop *l = __atomic_load_n(&co.load()->env->event_loop, __ATOMIC_ACQUIRE);
    int taken[] = {__atomic_load_n(&l->epoll_fd, __ATOMIC_ACQUIRE),
                   __atomic_load_n(&l->wake_fd, __ATOMIC_ACQUIRE)};
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd : taken) {
        EXPECT_TRUE(fd_is_reserved(fd));
        EXPECT_TRUE(fd_vacate(fd));
        EXPECT_FALSE(fd_is_reserved(fd));
        ASSERT_EQ(sys::call(SYS_dup2, null_fd, fd), fd);
    }
    EXPECT_EQ(send_now(p.b, "x"), 1); // it still sleeps in the old number
    EXPECT_TRUE(eventually([&] { return got == 1 && is_parked(co); }));
    EXPECT_EQ(co_wake(yielded), 0); // through the eventfd that moved
    EXPECT_TRUE(eventually([&] { return got == 2 && is_parked(co); }));
    EXPECT_EQ(send_now(p.b, "x"), 1);
    EXPECT_TRUE(eventually([&] { return got == 3; }));
    over = true;
    t.join();
    for (int fd : taken)
        sys::close(fd);
    sys::close(null_fd);
}

size_t epolls_of_this_process() {
    size_t count = 0;
    for (int fd = 0; fd < 1024; ++fd) {
        char path[64], target[64] = {};
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, target, sizeof target - 1) > 0)
            count += strcmp(target, "anon_inode:[eventpoll]") == 0;
    }
    return count;
}

TEST_F(ThreadEnd, AThreadHasOneEpollAndItEndsWithIt) {
    size_t before = epolls_of_this_process();
    std::atomic<bool> over{false};
    std::atomic<int> up{0};
    auto body = [&] {
        stream_pair p;
        char c;
        EXPECT_EQ(recv_in_loop(p.a, &c, 1, deadline_in(ns_per_ms)), -ETIMEDOUT);
        ++up;
        while (!over)
            co_sleep_ms(1);
    };
    loop_thread a(body), b(body), c(body);
    ASSERT_TRUE(eventually([&] { return up == 3; }));
    EXPECT_EQ(epolls_of_this_process(), before + 3);
    over = true;
    a.join();
    b.join();
    c.join();
    EXPECT_EQ(epolls_of_this_process(), before);
}

TEST_F(ThreadEnd, WhatWaitsIsDroppedWithItsThread) {
    stream_pair p;
    size_t before = open_descriptors();
    for (int i = 0; i < rounds(200) + 10; ++i) {
        std::thread([&] {
            coroutine_bodies made;
            made.go(
                [&] { // both wait for ever
                    char c;
                    recv_in_loop(p.a, &c, 1);
                },
                nullptr, false);
            made.go(
                [&] {
                    pollfd f{p.a, POLLIN, 0};
                    co_poll(nullptr, &f, 1, 60000);
                },
                nullptr, false);
            made.go([] { co_sleep_ms(60000); }, nullptr, false);
            made.go([] { co_yield_ct(); }, nullptr, false);
            for (int k = 0; k < 3; ++k)
                co_yield_now();
            EXPECT_EQ(stats_now().now_parked, 3U);
        }).join();
    }
    EXPECT_EQ(open_descriptors(), before);
    close_in_loop(&p.a); // their registrations are gone with them
}

TEST_F(CrossFork, ForksOfOneThreadDoNotDisturbTheLoopsOfOthers) { // contract 25
    stream_pair p;
    std::atomic<bool> over{false};
    std::atomic<int> beats{0};
    auto play = [&](int fd, bool begins) {
        char c = 'x';
        while (true) {
            if (begins && send_in_loop(fd, over ? "!" : "x", 1) != 1)
                return;
            if (recv_in_loop(fd, &c, 1) != 1) {
                ADD_FAILURE() << "an event was lost";
                return;
            }
            ++beats;
            if (!begins && send_in_loop(fd, &c, 1) != 1)
                return;
            if (c == '!')
                return;
        }
    };
    loop_thread one([&] { play(p.a, true); }), two([&] { play(p.b, false); });
    for (int i = 0; i < 30; ++i) {
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            stream_pair own;
            char c;
            go([&] { send_now(own.b, "x"); });
            _exit(recv_in_loop(own.a, &c, 1) == 1 ? 0 : 1);
        }
        int status = -1;
        EXPECT_EQ(waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
    }
    int seen = beats;
    EXPECT_TRUE(eventually([&] { return beats > seen + 10; }));
    over = true;
    one.join();
    two.join();
}

} // namespace
