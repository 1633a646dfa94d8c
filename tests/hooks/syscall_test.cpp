// SPDX-License-Identifier: Apache-2.0
// syscall() by other numbers than the futex's, and the parts of the standard library that stand on it.
#include "both.h"

#include <array>
#include <atomic>
#include <climits>
#include <csignal>
#include <fcntl.h>
#include <future>
#include <latch>
#include <mqueue.h>
#include <poll.h>
#include <semaphore>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

timespec ms(long n) { return {0, n * 1000000}; }

TEST(Syscall, EpollByNumber) {
    expect_same([](side &s) {
        int fd[2], ep = epoll_create1(0);
        s.says("pipe", pipe(fd));
        epoll_event e{EPOLLIN, {}}, got{};
        s.says("add", syscall(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, fd[0], &e));
        s.waited("epoll_wait", 3,
                 [&] { s.says("timeout", syscall(SYS_epoll_wait, ep, &got, 1, 3)); });
        s.partner([&](side &) {
            usleep(3000);
            (void)!write(fd[1], "x", 1);
        });
        s.says("epoll_wait", syscall(SYS_epoll_wait, ep, &got, 1, -1));
        s.says("events", got.events);
        s.join();
        s.says("epoll_pwait", syscall(SYS_epoll_pwait, ep, &got, 1, 10, nullptr, 8));
        s.says("bad mask size", syscall(SYS_epoll_pwait, ep, &got, 1, 10, &got, 5));
        int64_t limit[2] = {0, 2000000}, bad[2] = {0, -1}; // 64-bit seconds everywhere
        s.says("epoll_pwait2", syscall(SYS_epoll_pwait2, ep, &got, 1, limit, nullptr, 8));
        s.says("bad time", syscall(SYS_epoll_pwait2, ep, &got, 1, bad, nullptr, 8));
        s.says("no such", syscall(SYS_epoll_wait, -1, &got, 1, -1));
        close(fd[0]), close(fd[1]), close(ep);
    });
}

TEST(Syscall, SignalsAndChildrenByNumber) {
    expect_same([](side &s) {
        uint64_t usr1 = uint64_t{1} << (SIGUSR1 - 1), old = 0;
        s.says("mask", syscall(SYS_rt_sigprocmask, SIG_BLOCK, &usr1, &old, 8));
        timespec soon = ms(3);
        s.says("none", syscall(SYS_rt_sigtimedwait, &usr1, nullptr, &soon, 8));
        s.says("bad size", syscall(SYS_rt_sigtimedwait, &usr1, nullptr, &soon, 5));
        pid_t to = gettid();
        s.partner([to](side &) {
            usleep(3000);
            tgkill(getpid(), to, SIGUSR1);
        });
        s.says("comes", syscall(SYS_rt_sigtimedwait, &usr1, nullptr, nullptr, 8) == SIGUSR1);
        s.join();
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old, nullptr, 8);
        s.says("suspend, bad size", syscall(SYS_rt_sigsuspend, &usr1, 5));
        for (int by = 0; by < 2; ++by) {
            pid_t child = fork();
            if (child == 0) {
                usleep(3000);
                _exit(7);
            }
            int status = 0;
            siginfo_t info{};
            if (by == 0) {
                s.says("wait4", syscall(SYS_wait4, child, &status, 0, nullptr) == child);
                s.says("status", status);
            } else {
                s.says("waitid", syscall(SYS_waitid, P_PID, child, &info, WEXITED, nullptr));
                s.says("status", info.si_status);
            }
        }
        s.says("no child", syscall(SYS_wait4, -1, nullptr, 0, nullptr));
    });
}

TEST(Syscall, MessagesAndSemaphoresByNumber) {
    expect_same([](side &s) {
        mq_attr shape{};
        shape.mq_maxmsg = 1;
        shape.mq_msgsize = 8;
        mqd_t q = mq_open("/corun-by-number", O_RDWR | O_CREAT, 0600, &shape);
        mq_unlink("/corun-by-number");
        char text[8] = {};
        s.partner([q](side &p) {
            usleep(3000);
            p.says("send", syscall(SYS_mq_timedsend, q, "one", 3, 5, nullptr));
        });
        s.says("receive", syscall(SYS_mq_timedreceive, q, text, 8, nullptr, nullptr));
        s.text("message", text, 3);
        s.join();
        timespec past{1, 0}, bad{1, -1};
        s.says("late", syscall(SYS_mq_timedreceive, q, text, 8, nullptr, &past));
        s.says("bad time", syscall(SYS_mq_timedreceive, q, text, 8, nullptr, &bad));
        mq_close(q);
#if defined(SYS_msgrcv)
        struct {
            long type;
            char text[8];
        } m{1, "two"}, got{};
        long id = syscall(SYS_msgget, IPC_PRIVATE, 0600);
        s.partner([&](side &p) {
            usleep(3000);
            p.says("msgsnd", syscall(SYS_msgsnd, id, &m, 8, 0));
        });
        s.says("msgrcv", syscall(SYS_msgrcv, id, &got, 8, 0, 0));
        s.text("message", got.text, 3);
        s.join();
        msgctl(static_cast<int>(id), IPC_RMID, nullptr);
#endif
        int sem = semget(IPC_PRIVATE, 1, 0600);
        sembuf down{0, -1, 0}, up{0, 1, 0};
#if defined(SYS_semop)
        s.partner([&](side &p) {
            usleep(3000);
            p.says("up", syscall(SYS_semop, sem, &up, 1));
        });
        s.says("down", syscall(SYS_semop, sem, &down, 1));
        s.join();
        timespec soon = ms(3);
        s.says("in vain", syscall(SYS_semtimedop, sem, &down, 1, &soon));
#else
        s.partner([&](side &p) {
            usleep(3000);
            p.says("up", syscall(SYS_ipc, 1, sem, 1, 0, &up, 0));
        });
        s.says("down", syscall(SYS_ipc, 1, sem, 1, 0, &down, 0));
        s.join();
#endif
        semctl(sem, 0, IPC_RMID);
    });
}

TEST(Syscall, FilesByNumber) {
    expect_same([](side &s) {
        char path[] = "/var/tmp/corun-number-XXXXXX";
        int fd = mkstemp(path);
        long one = s.says("open", syscall(SYS_openat, AT_FDCWD, path, O_RDWR, 0)) >= 0 ? fd : -1;
        s.says("not there", syscall(SYS_openat, AT_FDCWD, "/none/such", O_RDWR, 0));
        s.says("mkdir", syscall(SYS_mkdir, path, 0700));
        s.says("fchmod", syscall(SYS_fchmod, one, 0640));
        s.says("access", syscall(SYS_access, path, R_OK));
        struct statx st {};
        s.says("statx", syscall(SYS_statx, AT_FDCWD, path, 0, STATX_MODE, &st));
        s.says("mode", st.stx_mode);
        st = {};
        s.says("statx self", syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_MODE, &st));
        s.says("mode", st.stx_mode);
        s.says("write", write(fd, "0123456789", 10));
        s.says("fsync", syscall(SYS_fsync, fd));
        s.says("fdatasync", syscall(SYS_fdatasync, -1));
        int p[2], two = open(path, O_RDWR);
        s.says("pipe", pipe(p));
        s.says("sendfile", syscall(SYS_sendfile, p[1], two, nullptr, 4));
        s.says("splice", syscall(SYS_splice, two, nullptr, p[1], nullptr, 3, 0));
        char text[16] = {};
        s.text("bytes", text, read(p[0], text, 16));
        s.says("flock", syscall(SYS_flock, fd, LOCK_EX));
        s.partner([fd](side &q) {
            usleep(3000);
            q.says("unlock", syscall(SYS_flock, fd, LOCK_UN));
        });
        s.says("waits", syscall(SYS_flock, two, LOCK_EX));
        s.join();
        s.says("rename", syscall(SYS_rename, path, path));
        s.says("unlink", syscall(SYS_unlink, path));
        s.says("readlink", syscall(SYS_readlink, path, text, 16));
        close(fd), close(two), close(p[0]), close(p[1]);
        for (int i = 3; i < 40; ++i) // what the first open gave
            if (fcntl(i, F_GETFL) >= 0 && syscall(SYS_statx, i, "", AT_EMPTY_PATH, 0, &st) == 0 &&
                st.stx_nlink == 0 && S_ISREG(st.stx_mode))
                close(i);
    });
}

#if defined(__i386__)
TEST(Syscall, SocketsThroughOneNumber) {
    expect_same([](side &s) {
        int fd[2];
        char text[8] = {};
        s.says("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
        s.partner([&](side &p) {
            usleep(3000);
            long send[] = {fd[1], reinterpret_cast<long>("abc"), 3, 0};
            p.says("send", syscall(SYS_socketcall, 9, send));
        });
        long recv[] = {fd[0], reinterpret_cast<long>(text), 8, 0};
        s.says("recv", syscall(SYS_socketcall, 10, recv));
        s.text("bytes", text, 3);
        s.join();
        s.says("bad", syscall(SYS_socketcall, 99, recv));
        s.says("bad address", syscall(SYS_socketcall, 10, nullptr));
        close(fd[0]), close(fd[1]);
    });
}
#endif

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
