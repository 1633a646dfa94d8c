// SPDX-License-Identifier: Apache-2.0
// fork: the child's events are its own, and the parent loses none.
#include "tests/loop/loop_fixture.h"

#include <sys/wait.h>

using namespace corun;

namespace {

// TSan's runtime forgets the other fibers in a child that was forked on one, and with them who ran
// before whom: what it reports there is not so.
class Fork : public LoopTest {
    void SetUp() override {
        LoopTest::SetUp();
        if (CO_TSAN)
            GTEST_SKIP() << "TSan does not know forks inside a fiber";
    }
};
using ForkOutsideACoroutine = LoopTest;

// In the child: what is not true is its exit status, so that the parent can say where.
#define CHILD_CHECK(condition)                                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            _exit(__LINE__ % 250 + 1);                                                             \
    } while (0)

// The child that has not ended by then is killed: a lost event is a failure, not a hang.
pid_t fork_with_alarm() {
    pid_t pid = fork();
    if (pid == 0)
        alarm(20);
    return pid;
}

void expect_success(pid_t child) {
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 0) << "the line, modulo 250, plus 1";
}

//   parent: reader       parent: forker                       child: forker
//   recv(a): waits
//                        fork
//                        waits for the child                  closes its copy of a
//                                                             recv(c): waits in its own epoll
//                                                             send to the parent's reader
//   gets it
TEST_F(Fork, TheChildsEventsAreItsOwnAndTheParentLosesNone) { // contract 25
    stream_pair p, q;
    long got = 0;
    go([&] {
        char c;
        got = recv_in_loop(p.a, &c, 1);
        EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1); // and goes on
    });
    go([&] {
        char c;
        EXPECT_EQ(recv_in_loop(q.a, &c, 1, deadline_in(ns_per_ms)), -ETIMEDOUT); // registered
        pid_t child = fork_with_alarm();
        if (child == 0) {
            CHILD_CHECK(co_get_epoll_ct() != nullptr); // opened when it is needed, not by fork
            int epoll = env()->event_loop->epoll_fd;
            CHILD_CHECK(fd_is_reserved(epoll) && fd_registered_count() == 0);
            close_in_loop(&p.a);
            stream_pair own;
            int64_t deadline = deadline_in(ns_per_ms);
            CHILD_CHECK(recv_in_loop(own.a, &c, 1, deadline) == -ETIMEDOUT);
            CHILD_CHECK(send_now(own.b, "x") == 1);
            CHILD_CHECK(recv_in_loop(own.a, &c, 1) == 1);
            CHILD_CHECK(send_now(p.b, "y") == 1);
            CHILD_CHECK(send_now(q.b, "z") == 1);
            CHILD_CHECK(recv_in_loop(q.a, &c, 1) == 1); // shared with the parent: ours as well
            _exit(0);
        }
        expect_success(child);
        co_sleep_ms(1);
        EXPECT_EQ(got, 1);
        EXPECT_EQ(send_now(q.b, "z"), 1);
        EXPECT_EQ(recv_in_loop(q.a, &c, 1), 1);
        EXPECT_EQ(send_now(p.b, "y"), 1);
    });
    co_run();
}

TEST_F(Fork, OnlyTheForkingCoroutineLivesInTheChild) { // contract 25
    stream_pair p;
    int ran = 0;
    stCoRoutine_t *sleeper = keep([&] {
        co_sleep_ms(1);
        ++ran;
    });
    go([&] {
        char c;
        recv_in_loop(p.a, &c, 1);
        ++ran;
    });
    go([&] {
        co_yield_now();
        ++ran;
        co_yield_now();
    });
    go([&] {
        pid_t child = fork_with_alarm();
        if (child == 0) {
            CHILD_CHECK(send_now(p.b, "x") == 1);
            co_sleep_ms(5);
            CHILD_CHECK(ran == 0);
            CHILD_CHECK(env()->live == 1);
            CHILD_CHECK(co_wake(sleeper) == ESRCH);
            co_release(sleeper);
            go([&] { ran = 100; }); // and it can make others
            co_sleep_ms(1);
            CHILD_CHECK(ran == 100);
            _exit(0);
        }
        expect_success(child);
    });
    co_run();
    EXPECT_EQ(ran, 3);
}

TEST_F(Fork, RunReturnsInTheChildToo) { // contract 25
    bool in_child = false;
    pid_t child = -1;
    go([] { co_sleep_ms(30); });
    go([&] {
        co_sleep_ms(1);
        child = fork_with_alarm();
        in_child = child == 0;
    });
    co_run();
    if (in_child)
        _exit(0);
    expect_success(child);
}

// The thread's own stack goes on in the child, whatever it waits for.
TEST_F(Fork, TheThreadsOwnStackGoesOnWaitingInTheChild) { // contract 25
    constexpr int kinds = 4;
    for (int kind = 0; kind < kinds; ++kind) {
        SCOPED_TRACE(kind);
        stream_pair p;
        bool in_child = false;
        pid_t child = -1;
        go([&] {
            co_sleep_ms(1);
            child = fork_with_alarm();
            in_child = child == 0;
            co_sleep_ms(20);
            if (!in_child)
                expect_success(child); // it has read its byte: the sockets are the same ones
            send_now(p.b, "x");
        });
        int64_t begin = now_ns();
        char c;
        pollfd f{p.a, POLLIN, 0};
        long r = -1;
        switch (kind) {
        case 0:
            r = recv_in_loop(p.a, &c, 1) - 1;
            break;
        case 1:
            r = recv_in_loop(p.a, &c, 1, no_deadline) - 1;
            break;
        case 2:
            r = co_poll(nullptr, &f, 1, 5000) - 1;
            if (now_ns() - begin >= 5 * ns_per_s)
                r = -2; // only the timeout ended it
            recv_in_loop(p.a, &c, 1);
            break;
        case 3:
            r = co_sleep_ms(40);
            if (now_ns() - begin < 40 * ns_per_ms)
                r = -2;
            break;
        }
        if (in_child)
            _exit(r == 0 ? 0 : 200 + kind);
        EXPECT_EQ(r, 0);
        co_run();
    }
}

TEST_F(ForkOutsideACoroutine, TheChildStartsAfresh) { // contract 25
    stream_pair p;
    long got = 0;
    go([&] {
        char c;
        got = recv_in_loop(p.a, &c, 1);
    });
    settle();
    pid_t child = fork_with_alarm();
    if (child == 0) {
        co_run(); // nobody lives here
        bool ran = false;
        go([&] {
            char c;
            CHILD_CHECK(send_now(p.b, "x") == 1);
            CHILD_CHECK(recv_in_loop(p.a, &c, 1) == 1);
            ran = true;
        });
        co_run();
        CHILD_CHECK(ran);
        _exit(0);
    }
    expect_success(child);
    EXPECT_EQ(send_now(p.b, "x"), 1);
    co_run();
    EXPECT_EQ(got, 1);
}

TEST_F(Fork, AChildOfAChildHasEventsOfItsOwnToo) { // contract 25
    go([&] {
        pid_t child = fork_with_alarm();
        if (child == 0) {
            pid_t grandchild = fork_with_alarm();
            if (grandchild == 0) {
                stream_pair p;
                char c;
                go([&] { send_now(p.b, "x"); });
                CHILD_CHECK(recv_in_loop(p.a, &c, 1) == 1);
                _exit(0);
            }
            int status = -1;
            CHILD_CHECK(waitpid(grandchild, &status, 0) == grandchild && status == 0);
            CHILD_CHECK(co_sleep_ms(1) == 0);
            _exit(0);
        }
        expect_success(child);
    });
    co_run();
}

} // namespace
