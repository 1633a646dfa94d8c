// SPDX-License-Identifier: Apache-2.0
// Contract 19 for the program's own epoll descriptors.
#include "tests/hooks/both.h"
#include "tests/hooks/late_signal.h"
#include "tests/hooks/net.h"

#include <chrono>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace {

constexpr int late_us = 5000;

void watch(int epoll, int fd, uint32_t events, uint64_t data) {
    epoll_event e{};
    e.events = events;
    e.data.u64 = data;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) != 0)
        abort();
}
void put(int fd) {
    uint64_t one = 1;
    if (write(fd, &one, sizeof one) != sizeof one)
        abort();
}
void take(int fd) {
    uint64_t n;
    if (read(fd, &n, sizeof n) != sizeof n)
        abort();
}

} // namespace

TEST(Epoll, LevelAndEdgeTriggered) {
    expect_same([](side &s) {
        int ep = epoll_create1(EPOLL_CLOEXEC), a = eventfd(0, 0), b = eventfd(0, 0);
        epoll_event events[4];
        s.says("nothing at once", epoll_wait(ep, events, 4, 0));
        watch(ep, a, EPOLLIN, 1);
        watch(ep, b, EPOLLIN | EPOLLET, 2);
        s.says("nothing in 5 ms", epoll_wait(ep, events, 4, 5));
        s.partner([=](side &) { usleep(late_us), put(a); });
        s.says("level", epoll_wait(ep, events, 4, -1));
        s.says("which", events[0].data.u64);
        s.join();
        s.says("still there", epoll_wait(ep, events, 4, 1000));
        s.says("which", events[0].data.u64);
        take(a);
        s.says("gone", epoll_wait(ep, events, 4, 2));
        s.partner([=](side &) { usleep(late_us), put(b); });
        s.says("edge", epoll_wait(ep, events, 4, 1000));
        s.says("which", events[0].data.u64);
        s.join();
        s.says("once", epoll_wait(ep, events, 4, 2));
        s.partner([=](side &) { usleep(late_us), put(b); });
        s.says("again", epoll_wait(ep, events, 4, 1000));
        s.join();
        put(a), put(b);
        s.says("one at a time", epoll_wait(ep, events, 1, 1000));
        s.says("the other", epoll_wait(ep, events, 1, 1000));
        close(a), close(b), close(ep);
    });
}

TEST(Epoll, OneShotIsArmedAnewWhileSomebodyWaits) {
    expect_same([](side &s) {
        int ep = epoll_create(1), a = eventfd(1, 0);
        epoll_event events[1];
        watch(ep, a, EPOLLIN | EPOLLONESHOT, 1);
        s.says("first", epoll_wait(ep, events, 1, 1000));
        s.says("spent", epoll_wait(ep, events, 1, 2));
        s.partner([=](side &) {
            usleep(late_us);
            epoll_event e{};
            e.events = EPOLLIN | EPOLLONESHOT;
            e.data.u64 = 7;
            epoll_ctl(ep, EPOLL_CTL_MOD, a, &e);
        });
        s.says("armed", epoll_wait(ep, events, 1, 1000));
        s.says("which", events[0].data.u64);
        s.join();
        s.partner([=](side &) {
            usleep(late_us);
            int b = eventfd(1, 0);
            watch(ep, b, EPOLLIN, 9);
        });
        s.says("added while waited for", epoll_wait(ep, events, 1, 1000));
        s.says("which", events[0].data.u64);
        s.join();
        close(a), close(ep);
    });
}

TEST(Epoll, BadArgumentsAndTimes) {
    expect_same([](side &s) {
        int ep = epoll_create1(0), a = eventfd(0, 0);
        epoll_event events[2];
        watch(ep, a, EPOLLIN, 1);
        s.says("size", epoll_create(0));
        s.says("flags", epoll_create1(1));
        s.says("bad fd", epoll_wait(-1, events, 2, 5));
        s.says("no epoll", epoll_wait(a, events, 2, 5));
        volatile int none_wanted = 0, negative = -1;
        s.says("none wanted", epoll_wait(ep, events, none_wanted, 5));
        s.says("negative", epoll_wait(ep, events, negative, 5));
        timespec t{0, 3000000}, bad{0, -1}, none{0, 0};
        s.says("pwait2", epoll_pwait2(ep, events, 2, &t, nullptr));
        s.says("kept", t.tv_nsec);
        s.says("bad time", epoll_pwait2(ep, events, 2, &bad, nullptr));
        s.says("at once", epoll_pwait2(ep, events, 2, &none, nullptr));
        auto begin = std::chrono::steady_clock::now();
        s.says("20 ms", epoll_wait(ep, events, 2, 20));
        s.says("not earlier",
               std::chrono::steady_clock::now() - begin >= std::chrono::milliseconds(20));
        s.partner([=](side &) { usleep(late_us), put(a); });
        s.says("for ever", epoll_pwait2(ep, events, 2, nullptr, nullptr));
        close(a), close(ep);
    });
}

TEST(Epoll, TheMaskOfPwaitLetsASignalIn) {
    expect_a_signal_let_in([](side &s, const sigset_t *none) {
        int ep = epoll_create1(0);
        epoll_event events[1];
        s.says("pwait", epoll_pwait(ep, events, 1, 5000, none));
        close(ep);
    });
}

TEST(Epoll, SeveralCoroutinesOnOneDescriptor) {
    int ep = epoll_create1(0), fd[8], got = 0;
    for (int &f : fd) {
        f = eventfd(0, 0);
        watch(ep, f, EPOLLIN | EPOLLONESHOT, static_cast<uint64_t>(f));
    }
    for (int i = 0; i < 8; ++i)
        go([&] {
            epoll_event e;
            EXPECT_EQ(1, epoll_wait(ep, &e, 1, 5000));
            ++got;
        });
    go([&] {
        usleep(late_us);
        for (int f : fd)
            put(f); // all before anybody runs: one edge may stand for all of them
    });
    co_run();
    EXPECT_EQ(8, got);
    for (int f : fd)
        close(f);
    close(ep);
}

// The one deliberate difference to the kernel, which leaves it asleep.
TEST(Epoll, ClosedWhileWaitedFor) {
    int ep = epoll_create1(0);
    stCoRoutine_t *waiter = go([=] {
        epoll_event e;
        EXPECT_EQ(-1, epoll_wait(ep, &e, 1, 5000));
        EXPECT_EQ(EBADF, errno);
    });
    go([=] {
        usleep(late_us);
        close(ep);
    });
    auto begin = std::chrono::steady_clock::now();
    co_run();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3));
    co_release(waiter);
}

// The kernel lets epolls stand in epolls, five deep: the loop's own would be the sixth.
TEST(Epoll, NestedAsDeepAsTheKernelAllows) {
    in_coroutine([] {
        int ep[5], a = eventfd(0, 0);
        for (int &e : ep)
            e = epoll_create1(0);
        epoll_event e{};
        e.events = EPOLLIN;
        ASSERT_EQ(0, epoll_ctl(ep[0], EPOLL_CTL_ADD, a, &e));
        int deepest = 0;
        for (int i = 1; i < 5; ++i)
            if (epoll_ctl(ep[i], EPOLL_CTL_ADD, ep[i - 1], &e) == 0)
                deepest = i;
        stCoRoutine_t *other = go([=] {
            usleep(late_us);
            put(a);
        });
        EXPECT_EQ(1, epoll_wait(ep[deepest], &e, 1, 5000));
        co_join(other, nullptr);
        co_release(other);
        for (int f : ep)
            close(f);
        close(a);
    });
}

// contract 37
TEST(Epoll, EventsOnASharedStack) {
    stShareStack_t *stack = co_alloc_sharestack(1, 128 * 1024);
    int fd[2][2], wrong = 0;
    for (auto &f : fd) {
        f[0] = epoll_create1(0), f[1] = eventfd(0, 0);
        watch(f[0], f[1], EPOLLIN, static_cast<uint64_t>(f[1]));
    }
    for (int i = 0; i < 2; ++i)
        go(
            [&, i] {
                char before[256];
                epoll_event e[4];
                char after[256];
                memset(before, i, sizeof before), memset(after, i, sizeof after);
                for (int n = 0; n < 20; ++n) {
                    memset(e, 0xEE, sizeof e);
                    wrong += epoll_wait(fd[i][0], e, 4, 5000) != 1;
                    wrong += e[0].data.u64 != static_cast<uint64_t>(fd[i][1]);
                    take(fd[i][1]);
                }
                for (size_t k = 0; k < sizeof before; ++k)
                    wrong += before[k] != i || after[k] != i;
            },
            stack);
    go([&] {
        for (int n = 0; n < 20; ++n) {
            usleep(100);
            put(fd[0][1]), put(fd[1][1]);
            usleep(100);
        }
    });
    co_run();
    EXPECT_EQ(0, wrong);
    for (auto &f : fd)
        close(f[0]), close(f[1]);
}
