// SPDX-License-Identifier: Apache-2.0
// What the tests of the loop share: coroutines from lambdas, sockets, and calls on them written as
// loop/fd_events.h says.
//
//     TEST_F(FdWait, ...) {                       // using FdWait = LoopTest;
//         stream_pair p;
//         go([&] { got = recv_in_loop(p.a, buffer, 1); });
//         co_run();
//     }
//
// Every wait has a deadline, so that a lost wake-up is a failure and not a hang. TearDown proves that
// no coroutine, timer, registration, descriptor or block of the thread's slabs was left behind.
#pragma once

#include "co_routine/base/check.h"
#include "co_routine/base/raw_sys.h"
#include "co_routine/core/env.h"
#include "co_routine/loop/fd_events.h"
#include "co_routine/loop/loop.h"
#include "tests/support/bodies.h"
#include "tests/support/rounds.h"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <unistd.h>
#include <vector>

constexpr int64_t patience_ns = 10 * corun::ns_per_s;
inline int64_t soon() { return corun::deadline_in(patience_ns); }

inline constexpr corun::wait_kind test_wait{"test", true, corun::abandon_fd_wait};

// One attempt after another until it is not EAGAIN: the loop of fd_events.h.
template <class F>
long retry_in_loop(int fd, corun::fd_direction d, int64_t deadline_ns, F attempt) {
    for (;;) {
        if (corun::fd_may(fd, d)) {
            long r = attempt();
            if (r != -EAGAIN) {
                corun::fd_done(fd, d);
                return r;
            }
            corun::fd_saw_eagain(fd, d);
        }
        if (int e = corun::fd_wait(test_wait, fd, d, deadline_ns))
            return e;
    }
}

inline long recv_in_loop(int fd, void *buffer, size_t n, int64_t deadline_ns = soon()) {
    return retry_in_loop(fd, corun::fd_read, deadline_ns, [&] {
        return corun::sys::recvfrom(fd, buffer, n, MSG_DONTWAIT, nullptr, nullptr);
    });
}

// As recv on a TCP stream, where a short read says that the socket is empty.
inline long recv_tcp_in_loop(int fd, void *buffer, size_t n, int64_t deadline_ns = soon()) {
    return retry_in_loop(fd, corun::fd_read, deadline_ns, [&] {
        long r = corun::sys::recvfrom(fd, buffer, n, MSG_DONTWAIT, nullptr, nullptr);
        if (r > 0 && static_cast<size_t>(r) < n)
            corun::fd_saw_short_read(fd);
        return r;
    });
}

inline long send_in_loop(int fd, const void *buffer, size_t n, int64_t deadline_ns = soon()) {
    return retry_in_loop(fd, corun::fd_write, deadline_ns, [&] {
        return corun::sys::sendto(fd, buffer, n, MSG_DONTWAIT | MSG_NOSIGNAL, nullptr, 0);
    });
}

inline long accept_in_loop(int listener, int64_t deadline_ns = soon()) {
    return retry_in_loop(listener, corun::fd_read, deadline_ns, [&] {
        return corun::sys::call(SYS_accept4, listener, nullptr, nullptr, SOCK_CLOEXEC);
    });
}

// Without waiting, from anywhere.
inline long send_now(int fd, const void *buffer, size_t n, int flags = 0) {
    return corun::sys::sendto(fd, buffer, n, MSG_DONTWAIT | MSG_NOSIGNAL | flags, nullptr, 0);
}
inline long send_now(int fd, const char *text) { return send_now(fd, text, strlen(text)); }

// Fills a stream until it takes no more; returns how many bytes it took.
inline size_t fill(int fd) {
    static const char block[4096] = {};
    size_t sent = 0;
    for (long r; (r = send_now(fd, block, sizeof block)) > 0;)
        sent += static_cast<size_t>(r);
    return sent;
}

// As the hook of close does it.
inline void close_in_loop(int *fd) {
    if (*fd < 0)
        return;
    corun::fd_forget(*fd);
    corun::sys::close(*fd);
    corun::fd_renew(*fd);
    *fd = -1;
}

struct fd_pair {
    int a = -1, b = -1;
    fd_pair() = default;
    fd_pair(const fd_pair &) = delete;
    fd_pair &operator=(const fd_pair &) = delete;
    ~fd_pair() {
        close_in_loop(&a);
        close_in_loop(&b);
    }
};

struct stream_pair : fd_pair { // AF_UNIX
    stream_pair() {
        int fds[2];
        EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        a = fds[0], b = fds[1];
    }
};

struct tcp_listener {
    int fd;
    sockaddr_in address{};
    tcp_listener() : fd(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr *>(&address), length), 0);
        EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr *>(&address), &length), 0);
        EXPECT_EQ(listen(fd, 16), 0);
    }
    ~tcp_listener() { close_in_loop(&fd); }
    int connected() const { // to it; the kernel completes it without our accept
        int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        EXPECT_EQ(connect(s, reinterpret_cast<const sockaddr *>(&address), sizeof address), 0);
        return s;
    }
};

struct tcp_pair : fd_pair {
    tcp_pair() {
        tcp_listener listener;
        a = listener.connected();
        b = static_cast<int>(corun::sys::call(SYS_accept4, listener.fd, nullptr, nullptr, 0));
        EXPECT_GE(b, 0);
    }
};

inline size_t open_descriptors() {
    size_t count = 0;
    if (DIR *d = opendir("/proc/self/fd")) {
        while (readdir(d))
            ++count;
        closedir(d);
    }
    return count;
}

// Takes what epoll has now and hands it out, before anybody else has run.
inline void harvest_edges() {
    corun::co_env *env = corun::current_env();
    epoll_event events[16];
    long n =
        corun::sys::call(SYS_epoll_pwait, env->event_loop->epoll_fd, events, 16, 0, nullptr, 0);
    ASSERT_GT(n, 0);
    for (long i = 0; i < n; ++i)
        corun::fd_handle_event(env, static_cast<int>(events[i].data.u64 & 0xFFFFFFFF),
                               static_cast<uint32_t>(events[i].data.u64 >> 32), events[i].events);
}

inline co_stats stats_now() {
    co_stats s;
    EXPECT_EQ(co_get_stats(&s), 0);
    return s;
}

class LoopTest : public ::testing::Test {
  protected:
    void SetUp() override {
        warm_up();
        descriptors_ = open_descriptors();
        registered_ = corun::fd_registered_count();
        held_bytes_ = env()->slab.held_bytes();
    }

    void TearDown() override {
        for (stCoRoutine_t *co : kept_)
            co_release(co);
        if (stacks_) {
            EXPECT_EQ(co_release_sharestack(stacks_), 0);
        }
        for (int i = 0; i < 5; ++i)
            co_yield_now();
        co_stats s = stats_now();
        EXPECT_EQ(s.now_fresh + s.now_ready + s.now_yielded + s.now_parked + s.now_ended, 0U);
        EXPECT_EQ(env()->live, 0U);
        EXPECT_TRUE(env()->event_loop->timers.empty());
        EXPECT_EQ(corun::fd_registered_count(), registered_);
        EXPECT_EQ(open_descriptors(), descriptors_);
        EXPECT_EQ(env()->slab.held_bytes(), held_bytes_);
    }

    static corun::co_env *env() { return corun::current_env(); }

    void go(std::function<void()> body) { bodies_.go(std::move(body), nullptr, false); }

    // To be cancelled, resumed or released by the test.
    stCoRoutine_t *keep(std::function<void()> body) {
        kept_.push_back(bodies_.go(std::move(body), nullptr, true));
        return kept_.back();
    }

    // On the one shared stack of this test, together with every other one made by this.
    void go_shared(std::function<void()> body) {
        if (!stacks_)
            stacks_ = co_alloc_sharestack(1, 64 * 1024);
        kept_.push_back(bodies_.go(std::move(body), stacks_, true));
    }

    void release(stCoRoutine_t *co) {
        std::erase(kept_, co);
        co_release(co);
    }

    // Lets those that are ready run, and those that they make ready, until all wait.
    static void settle() {
        for (int i = 0; i < 10; ++i)
            co_yield_now();
    }

  private:
    // The loop and the pools of both kinds of stack are made once and kept: before we count.
    void warm_up() {
        ASSERT_NE(co_get_epoll_ct(), nullptr);
        keep([] {});
        go_shared([] {});
        co_run();
        for (stCoRoutine_t *co : kept_)
            co_release(co);
        kept_.clear();
        EXPECT_EQ(co_release_sharestack(stacks_), 0);
        stacks_ = nullptr;
    }

    coroutine_bodies bodies_;
    std::vector<stCoRoutine_t *> kept_;
    stShareStack_t *stacks_ = nullptr;
    size_t descriptors_ = 0, registered_ = 0, held_bytes_ = 0;
};
