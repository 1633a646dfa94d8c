// SPDX-License-Identifier: Apache-2.0
// What becomes of those who wait when a descriptor is closed, replaced, shared or forked, and what
// edges bring. Contract 22, 23, 25 and 38.
#include "tests/hooks/both.h"
#include "tests/hooks/net.h"

#include <chrono>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>

namespace {

using steady = std::chrono::steady_clock;
double seconds_since(steady::time_point begin) {
    return std::chrono::duration<double>(steady::now() - begin).count();
}

} // namespace

// contract 22: the one deliberate difference from the kernel
TEST(Hooks, CloseWakesTheWaiterWithEbadf) {
    for (int way = 0; way < 4; ++way) {
        int fd[2], error = 0;
        socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
        steady::time_point closed;
        double took = 1;
        go([&] {
            char c;
            long r = recv(fd[0], &c, 1, 0);
            error = r == -1 ? errno : 0;
            took = seconds_since(closed);
        });
        go([&] {
            co_yield_now();
            closed = steady::now();
            if (way == 0)
                close(fd[0]);
            else if (way == 1)
                fclose(fdopen(fd[0], "r"));
            else if (way == 2)
                close_range(fd[0], fd[0], 0);
            else
                dup2(1, fd[0]);
        });
        co_run();
        EXPECT_EQ(EBADF, error) << "way " << way;
        EXPECT_LT(took, 0.01);
        close(fd[1]);
        if (way == 3)
            close(fd[0]);
    }
}

TEST(Hooks, AnotherThreadsCloseWakesTheWaiter) { // contract 22
    int fd[2], error = 0;
    socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
    std::thread closer;
    go([&] {
        closer = std::thread([&] { close(fd[0]); });
        char c;
        error = recv(fd[0], &c, 1, 0) == -1 ? errno : 0;
    });
    co_run();
    closer.join();
    EXPECT_EQ(EBADF, error);
    close(fd[1]);
}

// contract 22: each round a reader waits on a number that was somebody else's a moment ago
TEST(Hooks, AReusedNumberNeverSeesTheOldOnesEvents) {
    int wrong = 0, rounds = 2000;
    in_coroutine([&] {
        for (int i = 0; i < rounds; ++i) {
            int old[2], fresh[2];
            socketpair(AF_UNIX, SOCK_STREAM, 0, old);
            stCoRoutine_t *reader = go([&] {
                char c;
                wrong += recv(old[0], &c, 1, 0) != -1 || errno != EBADF;
            });
            co_yield_now();
            int copy = i % 3 == 0 ? dup(old[0]) : -1; // keeps the old file alive in the epoll
            if (i % 2)
                send(old[1], "old", 3, 0);
            int number = old[0];
            if (i % 5 == 0)
                fclose(fdopen(number, "r"));
            else
                close(number);
            socketpair(AF_UNIX, SOCK_STREAM, 0, fresh);
            wrong += fresh[0] != number;
            char c = 0;
            wrong += recv(fresh[0], &c, 1, MSG_DONTWAIT) != -1 || errno != EAGAIN;
            stCoRoutine_t *newer = go([&] {
                char d = 0;
                wrong += recv(fresh[0], &d, 1, 0) != 1 || d != 'n';
            });
            if (copy >= 0)
                send(old[1], "old", 3, 0);
            co_yield_now();
            send(fresh[1], "n", 1, 0);
            co_join(reader, nullptr);
            co_join(newer, nullptr);
            co_release(reader);
            co_release(newer);
            if (copy >= 0)
                close(copy);
            close(old[1]), close(fresh[0]), close(fresh[1]);
        }
    });
    EXPECT_EQ(0, wrong);
}

// contract 22
TEST(Hooks, ADupOutlivesTheCloseOfTheOriginal) {
    int fd[2], error = 0;
    long got = 0;
    socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
    int copy = dup(fd[0]);
    go([&] {
        char c;
        error = recv(fd[0], &c, 1, 0) == -1 ? errno : 0;
    });
    go([&] {
        char c;
        got = recv(copy, &c, 1, 0);
    });
    go([&] {
        close(fd[0]);
        usleep(1000);
        send(fd[1], "x", 1, 0);
    });
    co_run();
    EXPECT_EQ(EBADF, error);
    EXPECT_EQ(1, got);
    close(copy), close(fd[1]);
}

// contract 23
TEST(HooksAgainstTheKernel, TwoReadersAndAWriterOnOneDescriptor) {
    expect_same([](side &s) {
        int fd[2];
        tcp_pair(fd);
        for (int i = 0; i < 2; ++i)
            s.partner([a = fd[0]](side &p) {
                char c;
                p.says("recv", recv(a, &c, 1, 0));
                p.says("recv", recv(a, &c, 1, 0));
            });
        s.partner([a = fd[0]](side &p) {
            std::vector<char> big(3 << 20);
            p.says("send", send(a, big.data(), big.size(), 0));
        });
        s.partner([b = fd[1]](side &p) {
            usleep(5000);
            for (int i = 0; i < 4; ++i)
                send(b, "x", 1, 0);
            std::vector<char> buffer(1 << 16);
            long bytes = 0;
            while (bytes < 3 << 20)
                bytes += recv(b, buffer.data(), buffer.size(), 0);
            p.says("bytes", bytes);
        });
        s.join();
        close(fd[0]), close(fd[1]);
    });
}

// contract 25
TEST(Hooks, AfterForkTheChildsEventsAreItsOwn) {
    int fd[2], own[2], status = -1;
    socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
    int got = 0;
    go([&] {
        char c;
        for (int i = 0; i < 10; ++i)
            got += recv(fd[0], &c, 1, 0) == 1;
    });
    go([&] {
        co_yield_now();
        pid_t child = fork();
        if (child == 0) {
            // The same descriptors, but only this coroutine; what arrives for the parent is not ours.
            char c = 0;
            int ok = socketpair(AF_UNIX, SOCK_STREAM, 0, own) == 0;
            stCoRoutine_t *writer = go([&] { usleep(2000), send(own[1], "q", 1, 0); });
            ok = ok && recv(own[0], &c, 1, 0) == 1 && c == 'q';
            co_join(writer, nullptr);
            close(fd[0]);
            _exit(ok ? 0 : 1);
        }
        for (int i = 0; i < 10; ++i) {
            usleep(1000);
            send(fd[1], "p", 1, 0);
        }
        int r;
        while ((r = waitpid(child, &status, WNOHANG)) == 0)
            usleep(1000);
    });
    co_run();
    EXPECT_EQ(10, got);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(0, WEXITSTATUS(status));
    close(fd[0]), close(fd[1]);
}

// contract 38: a short read may not be taken for "empty" when the end came with the data
TEST(Hooks, DataAndFinHarvestedTogether) {
    for (int round = 0; round < 200; ++round) {
        int fd[2];
        tcp_pair(fd);
        std::string log;
        go([&] {
            char c[16];
            long r;
            while ((r = recv(fd[0], c, sizeof c, 0)) > 0)
                log += std::to_string(r);
            log += r == 0 ? " end" : " error";
        });
        go([&] {
            co_yield_now(); // the reader is parked
            send(fd[1], "abc", 3, 0);
            close(fd[1]);
        });
        co_run();
        ASSERT_EQ("3 end", log);
        close(fd[0]);
    }
}

// contract 38: AF_UNIX cuts a read where rights were attached, with more behind the cut
TEST(Hooks, AnScmBoundaryIsNoEnd) {
    int fd[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
    long got = 0;
    go([&] {
        char c[64];
        while (got < 6) {
            long r = read(fd[0], c, sizeof c);
            if (r <= 0)
                break;
            got += r;
        }
    });
    go([&] {
        co_yield_now();
        for (int i = 0; i < 3; ++i) {
            char c[2] = {'a', 'b'};
            iovec part{c, 2};
            alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
            msghdr m{};
            m.msg_iov = &part;
            m.msg_iovlen = 1;
            m.msg_control = control;
            m.msg_controllen = sizeof control;
            cmsghdr *h = CMSG_FIRSTHDR(&m);
            h->cmsg_level = SOL_SOCKET;
            h->cmsg_type = SCM_RIGHTS;
            h->cmsg_len = CMSG_LEN(sizeof(int));
            int zero = 0;
            memcpy(CMSG_DATA(h), &zero, sizeof zero);
            ASSERT_EQ(2, sendmsg(fd[1], &m, 0));
        }
    });
    co_run();
    EXPECT_EQ(6, got);
    close(fd[0]), close(fd[1]);
}

// contract 38: the stream stops in front of an urgent byte, and goes on behind it
TEST(Hooks, AnUrgentByteInTheStream) {
    int fd[2];
    tcp_pair(fd);
    std::string got;
    go([&] {
        char c[16];
        while (got.size() < 6) {
            long r = recv(fd[0], c, sizeof c, 0);
            if (r <= 0)
                break;
            got.append(c, r);
        }
    });
    go([&] {
        co_yield_now();
        send(fd[1], "abc", 3, 0);
        send(fd[1], "!", 1, MSG_OOB);
        send(fd[1], "def", 3, 0);
    });
    co_run();
    EXPECT_EQ("abcdef", got);
    close(fd[0]), close(fd[1]);
}

// contract 38: two connections may make one event
TEST(Hooks, TwoConnectionsWakeTwoAcceptors) {
    for (bool blocking : {true, false}) {
        int l = listener(), port = port_of(l), accepted = 0;
        if (!blocking)
            fcntl(l, F_SETFL, O_NONBLOCK);
        for (int i = 0; i < 2; ++i)
            go([&] {
                int fd = -1;
                while ((fd = accept(l, nullptr, nullptr)) < 0 && errno == EAGAIN) {
                    pollfd p{l, POLLIN, 0};
                    poll(&p, 1, -1);
                }
                accepted += fd >= 0;
                close(fd);
            });
        go([&] {
            usleep(2000);
            std::thread([&] { // both are there before the loop looks
                for (int i = 0; i < 2; ++i)
                    close(client_of(port));
            })
                .join();
        });
        co_run();
        EXPECT_EQ(2, accepted);
        close(l);
    }
}

// contract 38 and 12: a cancelled waiter hands its wake on, and its destructors run
TEST(Hooks, ACancelledWaiterHandsItsWakeOn) {
    struct counter {
        int *n;
        ~counter() { ++*n; }
    };
    for (int round = 0; round < 4; ++round) {
        int fd[2], unwound = 0;
        long got = 0;
        socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
        stCoRoutine_t *first = go([&] {
            counter c{&unwound};
            char b;
            recv(fd[0], &b, 1, 0);
        });
        go([&] {
            char b;
            got = recv(fd[0], &b, 1, 0);
        });
        go([&] {
            co_yield_now();
            send(fd[1], "x", 1, 0);
            pollfd p{fd[0], POLLIN, 0}; // harvests the edge: it wakes the first one, which is
            poll(&p, 1, 0);
            co_yield_now();
            co_cancel(first); // cancelled before it runs, or after: somebody gets the byte
        });
        std::thread end([&] {
            ::usleep(20000);
            send(fd[1], "y", 1, 0); // so that a lost wake-up fails and does not hang
        });
        co_run();
        end.join();
        EXPECT_EQ(1, got);
        EXPECT_EQ(1, unwound);
        void *result = nullptr;
        co_join(first, &result);
        co_release(first);
        close(fd[0]), close(fd[1]);
    }
}

// A library's descriptors are not the program's to close.
TEST(Hooks, TheRuntimesOwnDescriptorsSurviveCloseAndDup2) {
    int p[2];
    pipe(p);
    in_coroutine([&] {
        usleep(100); // the loop exists
        int survivors = 0;
        for (int fd = 3; fd < 2048; ++fd) {
            char target[64] = {}, link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            if (readlink(link, target, sizeof target - 1) < 0 || !strstr(target, "eventpoll"))
                continue;
            if (close(fd) == -1 && errno == EBADF)
                ++survivors;
            EXPECT_EQ(fd, dup2(p[0], fd)); // it moves out of the way
            usleep(100);
            close(fd);
            break;
        }
        EXPECT_EQ(1, survivors);
        usleep(100);
        go([&] { usleep(500), write(p[1], "x", 1); });
        char c;
        EXPECT_EQ(1, read(p[0], &c, 1));
    });
    close(p[0]), close(p[1]);
}

TEST(Hooks, ClosefromLeavesTheLoopAlive) {
    pid_t child = fork();
    if (child == 0) {
        bool ok = false;
        in_coroutine([&] {
            usleep(100);
            closefrom(3);
            int p[2];
            ok = pipe(p) == 0;
            go([&] { usleep(500), write(p[1], "x", 1); });
            char c;
            ok = ok && read(p[0], &c, 1) == 1;
        });
        _exit(ok ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(0, status);
}

// One warm request costs a recv and a send: counted by the loop's own calls to epoll_ctl.
TEST(Hooks, AWarmConnectionIsRegisteredOnce) {
    int fd[2];
    tcp_pair(fd);
    co_stats before{}, after{};
    go([&] {
        char c[64];
        long r;
        while ((r = recv(fd[0], c, sizeof c, 0)) > 0)
            send(fd[0], c, r, 0);
    });
    go([&] {
        char c[64];
        for (int i = 0; i < 100; ++i) {
            if (i == 10)
                co_get_stats(&before);
            send(fd[1], "request", 7, 0);
            EXPECT_EQ(7, recv(fd[1], c, sizeof c, 0));
        }
        co_get_stats(&after);
        close(fd[1]);
    });
    co_run();
    EXPECT_EQ(before.epoll_calls, after.epoll_calls);
    close(fd[0]);
}
