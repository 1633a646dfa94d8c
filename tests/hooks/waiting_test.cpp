// SPDX-License-Identifier: Apache-2.0
// Contract 19 and 23 for poll, select and the sleeping functions.
#include "tests/hooks/both.h"
#include "tests/hooks/late_signal.h"
#include "tests/hooks/net.h"

#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/time.h>
#include <threads.h>

namespace {

constexpr int late_us = 10000;

double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

} // namespace

// contract 23
TEST(HooksAgainstTheKernel, Poll) {
    expect_same([](side &s) {
        int fd[2];
        tcp_pair(fd);
        pollfd p[4] = {{fd[0], POLLIN | POLLPRI | POLLRDHUP, 0}, {-1, POLLIN, 7}, {fd[0], 0, 0}};
        s.says("nothing at once", poll(p, 3, 0));
        s.says("revents of -1", p[1].revents);
        s.says("nothing in 5 ms", poll(p, 3, 5));
        s.partner([b = fd[1]](side &) { usleep(late_us), send(b, "x", 1, 0); });
        s.says("data", poll(p, 3, -1));
        s.says("revents", p[0].revents);
        s.join();
        char c;
        recv(fd[0], &c, 1, 0);
        s.partner([b = fd[1]](side &) { usleep(late_us), send(b, "u", 1, MSG_OOB); });
        s.says("urgent", poll(p, 3, 5000));
        s.says("revents", p[0].revents & POLLPRI);
        s.join();
        recv(fd[0], &c, 1, MSG_OOB);
        s.partner([b = fd[1]](side &) { usleep(late_us), shutdown(b, SHUT_WR); });
        p[0].events = POLLRDHUP;
        s.says("hang-up", poll(p, 1, 5000));
        s.says("revents", p[0].revents);
        s.join();
        close(fd[1]);
        p[0].events = POLLIN | POLLOUT;
        s.says("both", poll(p, 1, 5000));
        s.says("revents", p[0].revents);
        close(fd[0]);
        s.says("closed", poll(p, 1, -1));
        s.says("revents", p[0].revents);
        s.says("none", poll(nullptr, 0, 5));
#if !defined(__SANITIZE_ADDRESS__) // it looks at the array itself
        volatile nfds_t too_many = 1 << 30;
        s.says("too many", poll(p, too_many, 5));
#endif
        timespec t{0, 5000000}, bad{0, -1};
        s.says("ppoll", ppoll(nullptr, 0, &t, nullptr));
        s.says("ppoll keeps the timeout", t.tv_nsec);
        s.says("ppoll bad", ppoll(nullptr, 0, &bad, nullptr));
        sigset_t mask;
        sigemptyset(&mask);
        s.says("ppoll with mask", ppoll(nullptr, 0, &t, &mask));
        int plain[2];
        pipe(plain);
        FILE *file = tmpfile();
        pollfd q[3] = {{fileno(file), POLLIN | POLLOUT, 0}, {plain[0], POLLIN, 0}, {0, 0, 0}};
        s.says("a file is ready", poll(q, 2, -1));
        s.says("revents", q[0].revents);
        fclose(file);
        s.partner([w = plain[1]](side &) { usleep(late_us), close(w); });
        s.says("pipe", poll(q + 1, 1, -1));
        s.says("revents", q[1].revents);
        s.join();
        close(plain[0]);
    });
}

TEST(HooksAgainstTheKernel, Select) {
    expect_same([](side &s) {
        int fd[2];
        tcp_pair(fd);
        fd_set r, w, e;
        auto sets = [&] {
            FD_ZERO(&r);
            FD_ZERO(&w);
            FD_ZERO(&e);
            FD_SET(fd[0], &r);
            FD_SET(fd[0], &e);
        };
        int n = fd[0] + 1;
        sets();
        timeval t{0, 5000};
        s.says("nothing", select(n, &r, &w, &e, &t));
        s.says("cleared", FD_ISSET(fd[0], &r));
        s.says("no time left", t.tv_sec + t.tv_usec);
        s.partner([b = fd[1]](side &) { usleep(late_us), send(b, "x", 1, 0); });
        sets();
        t = {100, 0};
        s.says("data", select(n, &r, nullptr, &e, &t));
        s.says("r", FD_ISSET(fd[0], &r));
        s.says("e", FD_ISSET(fd[0], &e));
        s.says("time is left", t.tv_sec == 99);
        s.join();
        FD_SET(fd[0], &w);
        s.says("both", select(n, &r, &w, nullptr, nullptr));
        s.partner([b = fd[1]](side &) { usleep(late_us), send(b, "u", 1, MSG_OOB); });
        FD_ZERO(&e);
        FD_SET(fd[0], &e);
        s.says("urgent", select(n, nullptr, nullptr, &e, nullptr));
        s.join();
        s.says("sleep", select(0, nullptr, nullptr, nullptr, &(t = {0, 2000})));
        s.says("bad n", select(-1, nullptr, nullptr, nullptr, &(t = {0, 2000})));
        s.says("bad time", select(0, nullptr, nullptr, nullptr, &(t = {-1, 2000})));
        s.says("surplus", select(0, nullptr, nullptr, nullptr, &(t = {0, 1000})));
        timespec limit{0, 3000000};
        sigset_t mask;
        sigemptyset(&mask);
        sets();
        char c[4];
        recv(fd[0], c, 4, 0);
        recv(fd[0], c, 1, MSG_OOB);
        s.says("pselect", pselect(n, &r, nullptr, nullptr, &limit, nullptr));
        s.says("kept", limit.tv_nsec);
        s.says("pselect with mask", pselect(n, &r, nullptr, nullptr, &limit, &mask));
        close(fd[0]), close(fd[1]);
        sets();
        s.says("closed", select(n, &r, nullptr, nullptr, nullptr));
        // A hang-up of a pipe that nobody reads is no event for the write set alone... of a reader.
        int p[2];
        pipe(p);
        close(p[1]);
        FD_ZERO(&w);
        FD_SET(p[0], &w);
        s.says("reader in the write set", select(p[0] + 1, nullptr, &w, nullptr, &(t = {0, 9000})));
        close(p[0]);
    });
}

// A signal that the mask of ppoll lets in ends the wait, although the thread blocks it.
TEST(HooksAgainstTheKernel, TheMaskOfPpollLetsASignalIn) {
    expect_a_signal_let_in([](side &s, const sigset_t *none) {
        timespec limit{5, 0};
        s.says("ppoll", ppoll(nullptr, 0, &limit, none));
    });
}

TEST(HooksAgainstTheKernel, Sleeping) {
    expect_same([](side &s) {
        auto begin = std::chrono::steady_clock::now();
        timespec t{0, 5000000}, left{7, 7}, bad{0, 1000000000}, negative{-1, 0};
        s.says("nanosleep", nanosleep(&t, &left));
        s.says("left untouched", left.tv_sec);
        s.says("usleep", usleep(5000));
        s.says("sleep", sleep(0));
        s.says("clock", clock_nanosleep(CLOCK_MONOTONIC, 0, &t, nullptr));
        s.says("realtime", clock_nanosleep(CLOCK_REALTIME, 0, &t, &left));
        timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 5000000;
        if (until.tv_nsec >= 1000000000)
            ++until.tv_sec, until.tv_nsec -= 1000000000;
        s.says("absolute", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr));
        s.says("past", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr));
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 5000000;
        if (until.tv_nsec >= 1000000000)
            ++until.tv_sec, until.tv_nsec -= 1000000000;
        s.says("absolute", clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, nullptr));
        s.says("thrd_sleep", thrd_sleep(&t, nullptr));
        s.says("took long enough", seconds_since(begin) >= 0.034);
        s.says("bad", nanosleep(&bad, nullptr));
        s.says("negative", nanosleep(&negative, nullptr));
        s.says("bad", clock_nanosleep(CLOCK_MONOTONIC, 0, &bad, nullptr));
        s.says("bad clock", clock_nanosleep(99, 0, &t, nullptr));
        s.says("thread clock", clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &t, nullptr));
        s.says("no such clock", clock_nanosleep(CLOCK_MONOTONIC_COARSE, 0, &t, nullptr));
        s.says("thrd_sleep bad", thrd_sleep(&bad, nullptr) < -1);
    });
}

TEST(Hooks, SleepersSleepAtTheSameTime) {
    auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 50; ++i)
        go([] { usleep(50000); });
    co_run();
    EXPECT_LT(seconds_since(begin), 1.0); // one after the other would be 2.5 s
}

// contract 29, the errno part
TEST(Hooks, ErrnoIsEachCoroutinesOwn) {
    int wrong = 0;
    for (int i = 0; i < 8; ++i)
        go([i, &wrong] {
            int mine = i % 2 ? EBADF : EINVAL;
            for (int k = 0; k < 50; ++k) {
                errno = 0;
                timespec bad{0, -1};
                int r = i % 2 ? static_cast<int>(read(-1, &bad, 1)) : nanosleep(&bad, nullptr);
                wrong += r != -1;
                co_yield_now();
                wrong += errno != mine;
                usleep(10);
                wrong += errno != mine;
            }
        });
    co_run();
    EXPECT_EQ(0, wrong);
}

TEST(Hooks, EachCoroutineHasItsOwnCopyOfListedVariables) {
    const char *names[] = {"CORUN_TEST_A", "CORUN_TEST_B"};
    co_set_env_list(names, 2);
    setenv("CORUN_TEST_A", "process", 1);
    setenv("CORUN_TEST_C", "process", 1);
    for (int i = 0; i < 4; ++i)
        go([i] {
            EXPECT_STREQ("process", getenv("CORUN_TEST_A"));
            std::string mine = "value " + std::to_string(i);
            EXPECT_EQ(0, setenv("CORUN_TEST_A", mine.c_str(), 1));
            EXPECT_EQ(0, setenv("CORUN_TEST_A", "another", 0));
            co_yield_now();
            EXPECT_STREQ(mine.c_str(), getenv("CORUN_TEST_A"));
            EXPECT_EQ(nullptr, getenv("CORUN_TEST_B"));
            EXPECT_EQ(0, unsetenv("CORUN_TEST_A"));
            EXPECT_STREQ("process", getenv("CORUN_TEST_A"));
            setenv("CORUN_TEST_C", "shared", 1);
            co_disable_hook_sys();
            EXPECT_FALSE(co_is_enable_sys_hook());
            EXPECT_STREQ("process", getenv("CORUN_TEST_A"));
        });
    co_run();
    EXPECT_STREQ("process", getenv("CORUN_TEST_A"));
    EXPECT_STREQ("shared", getenv("CORUN_TEST_C"));
}

TEST(Hooks, WithHooksOffACallIsTheKernels) {
    int order = 0, other = 0;
    go([&] {
        co_disable_hook_sys();
        usleep(3000); // stops the thread
        order = other;
    });
    go([&] { other = 1; });
    co_run();
    EXPECT_EQ(0, order);
}
