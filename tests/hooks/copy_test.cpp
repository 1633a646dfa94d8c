// SPDX-License-Identifier: Apache-2.0
// Contract 19 for copies inside the kernel: sendfile, splice, tee, vmsplice, copy_file_range.
#include "tests/hooks/both.h"

#include <csignal>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

constexpr int late_us = 5000;

struct pattern_file {
    char path[40] = "/var/tmp/corun-copy-XXXXXX";
    int fd;
    explicit pattern_file(size_t n) : fd(mkstemp(path)) {
        // Opened by a hooked call: UBSan's run time makes pipes that it closes by raw system calls.
        close(fd);
        fd = open(path, O_RDWR);
        std::string data;
        for (size_t i = 0; i < n; ++i)
            data += static_cast<char>('a' + i % 23);
        EXPECT_EQ(static_cast<ssize_t>(n), write(fd, data.data(), n));
        lseek(fd, 0, SEEK_SET);
    }
    ~pattern_file() {
        close(fd);
        unlink(path);
    }
    pattern_file(const pattern_file &) = delete;
    pattern_file &operator=(const pattern_file &) = delete;
};

// Reads to the end; the number of bytes, or -1 where one is wrong.
long drain(int fd, size_t start = 0) {
    std::vector<char> buffer(10000);
    size_t at = start;
    ssize_t n;
    bool wrong = false;
    while ((n = read(fd, buffer.data(), buffer.size())) > 0)
        for (ssize_t i = 0; i < n; ++i, ++at)
            wrong |= buffer[static_cast<size_t>(i)] != static_cast<char>('a' + at % 23);
    return wrong ? -1 : static_cast<long>(at - start);
}

} // namespace

TEST(HooksAgainstTheKernel, SendfileToAFullSocketWaits) {
    expect_same([](side &s) {
        pattern_file f(3 << 20);
        int p[2];
        ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, p));
        s.partner([r = p[1]](side &q) {
            usleep(late_us);
            q.says("drained", drain(r, 5));
            close(r);
        });
        off_t at = 5;
        s.says("sendfile", sendfile(p[0], f.fd, &at, 2 << 20));
        s.says("offset", static_cast<long>(at));
        s.says("position", lseek(f.fd, 0, SEEK_CUR));
        lseek(f.fd, 5 + (2 << 20), SEEK_SET);
        s.says("the rest", sendfile(p[0], f.fd, nullptr, 10 << 20));
        s.says("position", lseek(f.fd, 0, SEEK_CUR));
        s.says("at the end", sendfile(p[0], f.fd, nullptr, 10));
        s.says("flags", fcntl(p[0], F_GETFL));
        close(p[0]);
        s.join();
    });
}

TEST(HooksAgainstTheKernel, SendfileErrors) {
    expect_same([](side &s) {
        signal(SIGPIPE, SIG_IGN);
        pattern_file f(100000), g(0);
        int p[2], q[2];
        pipe(p);
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, q);
        off_t at = 0;
        s.says("bad out", sendfile(-1, f.fd, &at, 1));
        s.says("bad in", sendfile(q[0], -1, &at, 1));
        s.says("from a pipe", sendfile(q[0], p[0], nullptr, 1));
        s.says("from a socket", sendfile(p[1], q[0], nullptr, 1));
        at = -1;
        s.says("bad offset", sendfile(g.fd, f.fd, &at, 1));
        at = 0;
        s.says("nothing", sendfile(q[0], f.fd, &at, 0));
        s.says("to a file", sendfile(g.fd, f.fd, &at, 70000));
        s.says("its position", lseek(g.fd, 0, SEEK_CUR));
        s.says("to a pipe", sendfile(p[1], f.fd, &at, 1000));
        s.says("offset", static_cast<long>(at));
        long n = 0, sent = 0;
        at = 0;
        while ((n = sendfile(q[0], f.fd, &at, 100000)) > 0) {
            sent += n;
            at = 0;
        }
        s.says("full, non-blocking", n);
        s.says("some", sent > 0);
        close(q[1]);
        s.says("broken", sendfile(q[0], f.fd, &at, 10));
        int read_only = open(g.path, O_RDONLY);
        s.says("to a file that is only read", sendfile(read_only, f.fd, nullptr, 1));
        close(read_only), close(q[0]), close(p[0]), close(p[1]);
    });
}

TEST(HooksAgainstTheKernel, SendfileToAFullPipeWaits) {
    expect_same([](side &s) {
        pattern_file f(1 << 20);
        int p[2];
        pipe(p);
        long all = 0;
        s.partner([r = p[0]](side &q) {
            usleep(late_us);
            q.says("drained", drain(r));
        });
        for (ssize_t n; (n = sendfile(p[1], f.fd, nullptr, 1 << 20)) > 0;)
            all += n;
        s.says("all", all);
        s.says("flags", fcntl(p[1], F_GETFL));
        close(p[1]);
        s.join();
        close(p[0]);
    });
}

TEST(HooksAgainstTheKernel, SpliceWaitsOnEitherSide) {
    expect_same([](side &s) {
        pattern_file f(300000), g(0);
        int a[2], b[2], sock[2];
        pipe(a), pipe(b);
        socketpair(AF_UNIX, SOCK_STREAM, 0, sock);
        s.partner([&f, w = a[1]](side &q) { // file to pipe, which fills
            usleep(late_us);
            long all = 0;
            for (ssize_t n; (n = splice(f.fd, nullptr, w, nullptr, 300000, 0)) > 0;)
                all += n;
            q.says("file to pipe", all);
            close(w);
        });
        s.partner([r = a[0], w = b[1]](side &q) { // pipe to pipe: empty first, then full
            long all = 0;
            for (ssize_t n; (n = splice(r, nullptr, w, nullptr, 100000, 0)) > 0;)
                all += n;
            q.says("pipe to pipe", all);
            close(w);
        });
        s.partner([r = b[0], w = sock[0]](side &q) { // pipe to a socket, which fills
            usleep(late_us);
            long all = 0;
            for (ssize_t n; (n = splice(r, nullptr, w, nullptr, 100000, 0)) > 0;)
                all += n;
            q.says("pipe to socket", all);
            close(w);
        });
        int c[2];
        pipe(c);
        s.partner([r = sock[1], w = c[1]](side &q) { // socket to pipe
            usleep(2 * late_us);
            long all = 0;
            for (ssize_t n; (n = splice(r, nullptr, w, nullptr, 100000, 0)) > 0;)
                all += n;
            q.says("socket to pipe", all);
            close(w);
        });
        long all = 0;
        off64_t at = 10;
        for (ssize_t n; (n = splice(c[0], nullptr, g.fd, &at, 100000, 0)) > 0;)
            all += n;
        s.says("pipe to file", all);
        s.says("offset", static_cast<long>(at));
        s.join();
        lseek(g.fd, 10, SEEK_SET);
        s.says("bytes", drain(g.fd));
        for (int fd : {a[0], b[0], sock[1], c[0]})
            close(fd);
    });
}

TEST(HooksAgainstTheKernel, SpliceErrors) {
    expect_same([](side &s) {
        signal(SIGPIPE, SIG_IGN);
        pattern_file f(100), g(0);
        int p[2], q[2];
        pipe2(p, O_NONBLOCK), pipe(q);
        off64_t at = 0;
        s.says("no pipe", splice(f.fd, nullptr, g.fd, nullptr, 1, 0));
        s.says("offset of a pipe", splice(q[0], &at, g.fd, nullptr, 1, 0));
        s.says("bad fd", splice(-1, nullptr, q[1], nullptr, 1, 0));
        s.says("wrong end", splice(q[1], nullptr, p[1], nullptr, 1, 0));
        s.says("nothing", splice(f.fd, nullptr, q[1], nullptr, 0, 0));
        s.says("empty, by flag", splice(q[0], nullptr, g.fd, nullptr, 1, SPLICE_F_NONBLOCK));
        s.says("empty, non-blocking", splice(p[0], nullptr, g.fd, nullptr, 1, 0));
        s.says("same pipe", splice(q[0], nullptr, q[1], nullptr, 1, 0));
        s.says("bad flag", splice(f.fd, nullptr, q[1], nullptr, 1, 1 << 20));
        close(q[1]);
        s.says("end", splice(q[0], nullptr, g.fd, nullptr, 1, 0));
        close(p[0]);
        s.says("broken", splice(f.fd, nullptr, p[1], nullptr, 1, 0));
        close(p[1]), close(q[0]);
    });
}

TEST(HooksAgainstTheKernel, TeeAndVmspliceWait) {
    expect_same([](side &s) {
        int a[2], b[2];
        pipe(a), pipe(b);
        s.partner([w = a[1]](side &q) {
            usleep(late_us);
            static char text[] = "0123456789";
            iovec parts[2] = {{text, 4}, {text + 4, 6}};
            q.says("vmsplice", vmsplice(w, parts, 2, 0));
        });
        char c[16] = {};
        s.says("tee", tee(a[0], b[1], 100, 0));
        s.text("tee'd", c, read(b[0], c, 16));
        s.says("tee, no wait", tee(b[0], a[1], 100, SPLICE_F_NONBLOCK));
        iovec to{c, 5};
        s.says("vmsplice from a pipe", vmsplice(a[0], &to, 1, 0));
        s.text("bytes", c, 5);
        s.join();
        alignas(4096) static char big[1 << 20]; // how much fits is a matter of pages
        iovec much{big, sizeof big};
        s.says("more than fits", vmsplice(b[1], &much, 1, 0));
        s.partner([r = b[0]](side &q) {
            usleep(late_us);
            char d[70000];
            q.says("room", read(r, d, sizeof d));
        });
        s.says("full", vmsplice(b[1], &much, 1, 0) > 0);
        s.says("no pipe", vmsplice(0, &much, 0, 0));
        s.says("bad", vmsplice(-1, &much, 1, 0));
        s.says("tee of a file", tee(0, b[1], 1, 0));
        s.join();
        for (int fd : {a[0], a[1], b[0], b[1]})
            close(fd);
    });
}

TEST(HooksAgainstTheKernel, CopyFileRange) {
    expect_same([](side &s) {
        pattern_file f(200000), g(0);
        off64_t from = 23, to = 46;
        s.says("copy", copy_file_range(f.fd, &from, g.fd, &to, 150000, 0));
        s.says("from", static_cast<long>(from));
        s.says("to", static_cast<long>(to));
        s.says("past the end", copy_file_range(f.fd, &from, g.fd, &to, 150000, 0));
        s.says("end", copy_file_range(f.fd, &from, g.fd, &to, 150000, 0));
        s.says("by position", copy_file_range(f.fd, nullptr, g.fd, nullptr, 10, 0));
        s.says("position", lseek(f.fd, 0, SEEK_CUR));
        s.says("bad flags", copy_file_range(f.fd, nullptr, g.fd, nullptr, 10, 1));
        s.says("bad fd", copy_file_range(f.fd, nullptr, -1, nullptr, 10, 0));
        lseek(g.fd, 46, SEEK_SET);
        s.says("bytes", drain(g.fd));
    });
}

TEST(Hooks, SendfileGoesOnBesideOthers) { // contract 26
    pattern_file f(8 << 20);
    int p[2], ticks = 0;
    bool over = false;
    socketpair(AF_UNIX, SOCK_STREAM, 0, p);
    go([&] {
        EXPECT_EQ(8 << 20, sendfile(p[0], f.fd, nullptr, 8 << 20));
        over = true;
        close(p[0]);
    });
    go([&] {
        while (!over) {
            usleep(500);
            ++ticks;
        }
    });
    go([&] {
        usleep(10000);
        EXPECT_EQ(8 << 20, drain(p[1]));
        close(p[1]);
    });
    co_run();
    EXPECT_GE(ticks, 5);
}
