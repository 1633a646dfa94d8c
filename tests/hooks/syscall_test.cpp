// SPDX-License-Identifier: Apache-2.0
// syscall() by other numbers than the futex's, and the parts of the standard library that stand on it.
#include "both.h"

#include <array>
#include <atomic>
#include <climits>
#include <fcntl.h>
#include <future>
#include <latch>
#include <linux/futex.h>
#include <poll.h>
#include <semaphore>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

// ---- What else comes through syscall() -----------------------------------------------------------

TEST(Syscall, MeansTheSameAsTheCallsName) {
    expect_same([](side &s) {
        int fd[2];
        s.says("socketpair", syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, fd));
        s.partner([&](side &p) {
            syscall(SYS_nanosleep, std::array{timespec{0, 2000000}}.data(), nullptr);
            p.says("write", syscall(SYS_write, fd[1], "abc", 3));
            iovec part{const_cast<char *>("defg"), 4};
            p.says("writev", syscall(SYS_writev, fd[1], &part, 1));
            p.says("shutdown", syscall(SYS_shutdown, fd[1], SHUT_WR));
        });
        char buffer[16];
        pollfd wanted{fd[0], POLLIN, 0};
#if defined(SYS_poll)
        s.says("poll", syscall(SYS_poll, &wanted, 1, -1));
        s.says("revents", wanted.revents);
#endif
        long n = s.says("read", syscall(SYS_read, fd[0], buffer, 3));
        s.text("bytes", buffer, n);
        n = s.says("recvfrom",
                   syscall(SYS_recvfrom, fd[0], buffer, 4, MSG_WAITALL, nullptr, nullptr));
        s.text("bytes", buffer, n);
        s.says("end", syscall(SYS_read, fd[0], buffer, sizeof buffer));
        timespec limit{0, 3000000};
        s.says("ppoll", syscall(SYS_ppoll, nullptr, 0, &limit, nullptr, 0));
        s.says("nothing left", limit.tv_nsec);
        s.says("bad mask size", syscall(SYS_ppoll, nullptr, 0, &limit, fd, 5));
        s.says("pselect6", syscall(SYS_pselect6, 0, nullptr, nullptr, nullptr, &limit, nullptr));
        s.says("bad time", syscall(SYS_nanosleep, std::array{timespec{0, -1}}.data(), nullptr));
        s.says("dup2", syscall(SYS_dup2, fd[1], fd[1]) == fd[1]);
        s.says("dup3 onto itself", syscall(SYS_dup3, fd[1], fd[1], 0));
        s.says("F_GETFL", syscall(SYS_fcntl, fd[0], F_GETFL, 0));
        s.join();
        s.says("close", syscall(SYS_close, fd[0]));
        s.says("close", syscall(SYS_close, fd[1]));
        s.says("closed", syscall(SYS_close, fd[1]));
        s.says("gettid", syscall(SYS_gettid) == gettid());
        s.says("no such call", syscall(100000));
    });
}

TEST(Syscall, ACloseWakesWhoWaitsOnTheDescriptor) { // contract 22
    in_coroutine([] {
        int fd[2];
        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
        char byte;
        stCoRoutine_t *reader = go([&] {
            EXPECT_EQ(read(fd[0], &byte, 1), -1);
            EXPECT_EQ(errno, EBADF);
        });
        co_yield_now();
        EXPECT_EQ(syscall(SYS_close, fd[0]), 0);
        co_join(reader, nullptr);
        co_release(reader);
        close(fd[1]);
    });
}

TEST(Syscall, OffsetsOf64Bits) {
    expect_same([](side &s) {
        int fd = memfd_create("offsets", 0);
        constexpr int64_t far = (int64_t{5} << 32) + 7;
#if defined(__i386__)
#define OFFSET static_cast<long>(far), static_cast<long>(far >> 32)
#else
#define OFFSET far
#endif
        char buffer[4] = {};
        iovec part{buffer, 3};
        s.says("pwrite64", syscall(SYS_pwrite64, fd, "xyz", 3, OFFSET));
        s.says("pread64", syscall(SYS_pread64, fd, buffer, 3, OFFSET));
        s.text("bytes", buffer, 3);
        s.says("preadv", syscall(SYS_preadv, fd, &part, 1, static_cast<long>(far),
                                 static_cast<long>(far >> 16 >> 16)));
        s.text("bytes", buffer, 3);
        close(fd);
#undef OFFSET
    });
}

// ---- What stands on it ---------------------------------------------------------------------------

TEST(StandardLibrary, AtomicWaitBetweenCoroutines) {
    expect_same([](side &s) {
        std::atomic<int> turn{0};
        s.partner([&](side &p) {
            for (int i = 0; i < 50; ++i) {
                turn.wait(2 * i);
                p.says("my turn", turn.load());
                turn = 2 * i + 2;
                turn.notify_all();
            }
        });
        for (int i = 0; i < 50; ++i) {
            turn = 2 * i + 1;
            turn.notify_all();
            turn.wait(2 * i + 1);
        }
        s.join();
    });
}

TEST(StandardLibrary, AtomicWaitOfAnotherSize) {
    in_coroutine([] { // libstdc++ waits on a word of its own for these
        std::atomic<int64_t> big{1};
        std::atomic<bool> flag{false};
        stCoRoutine_t *co = go([&] {
            big.wait(1);
            flag = true;
            flag.notify_one();
        });
        usleep(1000);
        big = 2;
        big.notify_one();
        flag.wait(false);
        co_join(co, nullptr);
        co_release(co);
    });
}

TEST(StandardLibrary, SemaphoreAndLatch) {
    in_coroutine([] {
        std::counting_semaphore<100> items{0};
        std::latch all{4};
        int taken = 0;
        for (int i = 0; i < 3; ++i)
            go([&] {
                for (int k = 0; k < 100; ++k) {
                    items.acquire();
                    ++taken;
                }
                all.count_down();
            });
        for (int k = 0; k < 300; ++k)
            items.release();
        all.arrive_and_wait();
        EXPECT_EQ(taken, 300);
        EXPECT_FALSE(items.try_acquire_for(std::chrono::milliseconds(2)));
    });
}

TEST(StandardLibrary, PromiseFulfilledByACoroutine) {
    expect_same([](side &s) {
        std::promise<int> promise;
        std::future<int> future = promise.get_future();
        s.partner([&](side &) {
            usleep(3000);
            promise.set_value(42);
        });
        s.says("not yet",
               future.wait_for(std::chrono::milliseconds(0)) == std::future_status::ready);
        s.says("get", future.get());
        s.join();
        std::promise<void> never;
        std::future<void> hopeless = never.get_future();
        s.says("timeout",
               hopeless.wait_for(std::chrono::milliseconds(3)) == std::future_status::timeout);
    });
}

TEST(StandardLibrary, AsyncOnAThreadAndDeferred) {
    in_coroutine([] {
        int ticks = 0;
        bool over = false;
        stCoRoutine_t *ticking = go([&] {
            for (; !over; ++ticks)
                usleep(500);
        });
        std::future<int> thread = std::async(std::launch::async, [] {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            return 7;
        });
        std::future<int> later = std::async(std::launch::deferred, [] {
            usleep(1000);
            return 8;
        });
        thread.wait();
        EXPECT_GT(ticks, 3);
        EXPECT_EQ(later.get() + thread.get(), 15);
        over = true;
        co_join(ticking, nullptr);
        co_release(ticking);
    });
}

TEST(StandardLibrary, AStaticLocalWhoseInitialiserWaits) {
    in_coroutine([] {
        int made = 0, ended = 0;
        auto use = [&] {
            static int value = [&] {
                usleep(2000);
                return ++made;
            }();
            EXPECT_EQ(value, 1);
            ++ended;
        };
        for (int i = 0; i < 5; ++i)
            go(use);
        use();
        usleep(5000);
        EXPECT_EQ(made, 1);
        EXPECT_EQ(ended, 6);
    });
}

} // namespace
