// SPDX-License-Identifier: Apache-2.0
// Contract 19 for what is no socket: pipes, eventfd, timerfd, FIFOs, terminals, files.
#include "tests/hooks/both.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

namespace {

constexpr int late_us = 10000;

struct temporary_file {
    char path[40] = "/var/tmp/corun-hooks-XXXXXX";
    int fd;
    temporary_file() : fd(mkstemp(path)) {}
    ~temporary_file() {
        close(fd);
        unlink(path);
    }
};

} // namespace

TEST(HooksAgainstTheKernel, PipesWaitOnBothSides) {
    expect_same([](side &s) {
        int p[2];
        s.says("pipe", pipe(p));
        s.partner([r = p[0]](side &q) {
            usleep(late_us);
            std::vector<char> buffer(100000);
            long bytes = 0, n;
            while ((n = read(r, buffer.data(), buffer.size())) > 0)
                bytes += n;
            q.says("bytes", bytes);
            q.says("close", close(r));
        });
        std::vector<char> data(1 << 20, 'd');
        s.says("write", write(p[1], data.data(), data.size()));
        iovec parts[20];
        for (iovec &v : parts)
            v = {data.data(), 9999};
        s.says("writev", writev(p[1], parts, 20));
        s.says("nothing", write(p[1], data.data(), 0));
        s.says("pwrite", pwrite(p[1], "x", 1, 0));
        s.says("pread", pread(p[1], data.data(), 1, 0));
        s.says("wrong end", read(p[1], data.data(), 1));
        s.says("close", close(p[1]));
    });
}

TEST(HooksAgainstTheKernel, PipeAtItsEnds) {
    expect_same([](side &s) {
        int p[2];
        char c[8];
        pipe2(p, O_NONBLOCK);
        s.says("empty", read(p[0], c, 1));
        s.says("flags", fcntl(p[0], F_GETFL));
        close(p[1]);
        s.says("end", read(p[0], c, 1));
        close(p[0]);
        pipe(p);
        s.partner([r = p[0]](side &) { usleep(late_us), close(r); });
        signal(SIGPIPE, SIG_IGN);
        std::vector<char> data(1 << 20);
        long n = write(p[1], data.data(), data.size());
        s.says("broken", n); // partial, as no reader is left
        s.says("broken", write(p[1], data.data(), 1));
        close(p[1]);
    });
}

TEST(HooksAgainstTheKernel, Eventfd) {
    expect_same([](side &s) {
        int fd = eventfd(0, 0);
        uint64_t v = 0;
        s.partner([fd](side &p) {
            usleep(late_us);
            p.says("eventfd_write", eventfd_write(fd, 5));
            usleep(late_us);
            uint64_t most = UINT64_MAX - 1;
            p.says("most", write(fd, &most, 8));
            usleep(late_us);
            p.says("read", eventfd_read(fd, &most));
            p.says("value", most);
        });
        s.says("eventfd_read", eventfd_read(fd, &v));
        s.says("value", v);
        usleep(late_us * 2);
        s.says("write into a full one", eventfd_write(fd, 1));
        s.join();
        s.says("read", read(fd, &v, 8));
        s.says("value", v);
        v = UINT64_MAX - 5;
        write(fd, &v, 8);
        s.partner([fd](side &) {
            usleep(late_us);
            uint64_t w;
            eventfd_read(fd, &w);
        });
        s.says("writable, but not for so much", eventfd_write(fd, 7));
        s.join();
        s.says("short read", read(fd, &v, 4));
        s.says("short write", write(fd, &v, 4));
        s.says("close", close(fd));
        fd = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
        s.says("semaphore", eventfd_read(fd, &v));
        s.says("semaphore", eventfd_read(fd, &v));
        s.says("semaphore", eventfd_read(fd, &v));
        close(fd);
    });
}

TEST(HooksAgainstTheKernel, Timerfd) {
    expect_same([](side &s) {
        int fd = timerfd_create(CLOCK_MONOTONIC, 0);
        itimerspec t{{0, 0}, {0, late_us * 1000}};
        timerfd_settime(fd, 0, &t, nullptr);
        uint64_t v = 0;
        s.says("read", read(fd, &v, 8));
        s.says("expirations", v);
        close(fd);
    });
}

TEST(HooksAgainstTheKernel, ATerminal) {
    expect_same([](side &s) {
        int master, slave;
        ASSERT_EQ(0, openpty(&master, &slave, nullptr, nullptr, nullptr));
        s.partner([master](side &p) {
            usleep(late_us);
            p.says("write", write(master, "line\n", 5));
            char c[64];
            long n = p.says("echo", read(master, c, 6));
            p.text("echoed", c, n);
        });
        char c[64];
        long n = s.says("read", read(slave, c, sizeof c));
        s.text("line", c, n);
        s.join();
        s.says("write", write(slave, "x", 1));
        s.says("read", read(master, c, sizeof c));
        close(slave);
        s.says("hung up", read(master, c, sizeof c));
        close(master);
    });
}

TEST(HooksAgainstTheKernel, AFifoWithTwoReaders) {
    expect_same([](side &s) {
        char path[] = "/tmp/corun-fifo-XXXXXX";
        close(mkstemp(path));
        unlink(path);
        ASSERT_EQ(0, mkfifo(path, 0600));
        int fd = open(path, O_RDWR), again = open(path, O_RDONLY);
        s.partner([again](side &p) {
            char c[4];
            p.says("read", read(again, c, 2));
        });
        s.partner([fd](side &p) {
            for (int i = 0; i < 2; ++i) {
                usleep(late_us);
                p.says("write", write(fd, "ab", 2));
            }
        });
        char c[4];
        s.says("read", read(fd, c, 2));
        s.join();
        close(fd), close(again);
        unlink(path);
    });
}

TEST(HooksAgainstTheKernel, Inotify) {
    expect_same([](side &s) {
        temporary_file f;
        int fd = inotify_init();
        inotify_add_watch(fd, f.path, IN_MODIFY);
        s.partner([w = f.fd](side &) { usleep(late_us), write(w, "x", 1); });
        alignas(inotify_event) char buffer[256];
        s.says("read", read(fd, buffer, sizeof buffer));
        s.join();
        close(fd);
    });
}

TEST(HooksAgainstTheKernel, Files) {
    expect_same([](side &s) {
        temporary_file f;
        char c[32] = {};
        s.says("write", write(f.fd, "0123456789", 10));
        s.says("pwrite", pwrite(f.fd, "AB", 2, 4));
        s.says("read at end", read(f.fd, c, 4));
        s.says("seek", lseek(f.fd, 2, SEEK_SET));
        s.says("read", read(f.fd, c, 5));
        s.text("got", c, 5);
        s.says("read short", read(f.fd, c, 30));
        s.says("pread", pread(f.fd, c, 30, 1));
        s.says("pread64", pread64(f.fd, c, 3, 7));
        s.text("got", c, 3);
        s.says("pread -1", pread(f.fd, c, 3, -1));
        s.says("pwrite -1", pwrite(f.fd, c, 3, -1));
        iovec parts[2] = {{c, 2}, {c + 2, 30}};
        s.says("preadv", preadv(f.fd, parts, 2, 5));
        s.says("preadv -1", preadv(f.fd, parts, 2, -1));
        s.says("preadv2 -1", preadv2(f.fd, parts, 2, -1, 0));
        s.says("preadv2 bad flag", preadv2(f.fd, parts, 2, 0, 1 << 30));
        s.says("pwritev", pwritev(f.fd, parts, 1, 20));
        s.says("position", lseek(f.fd, 0, SEEK_CUR));
        s.says("readv none", readv(f.fd, parts, 0));
        s.says("readv too many", readv(f.fd, std::vector<iovec>(1025).data(), 1025));
        s.says("directory", read(open("/", O_RDONLY), c, 1));
        int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
        s.says("zero", read(zero, c, 8));
        s.says("null", write(null, c, 8));
        int proc = open("/proc/self/comm", O_RDONLY);
        s.says("proc", read(proc, c, 8) > 0);
        int memory = memfd_create("corun", 0);
        s.says("memfd", write(memory, c, 8));
        s.says("memfd", pread(memory, c, 8, 4));
        s.says("write only", read(null, c, 1));
        close(zero), close(null), close(proc), close(memory);
        for (int fd = 3; fd < 40; ++fd)
            if (fcntl(fd, F_GETFL) & O_DIRECTORY && fcntl(fd, F_GETFL) > 0)
                close(fd);
    });
}

// Read from the disk, not from the page cache: helpers do it, and calls that use the file position
// keep their order.
TEST(Hooks, AColdFileIsReadByHelpersInOrder) {
    temporary_file f;
    constexpr size_t total = 4 << 20;
    std::vector<unsigned> data(total / sizeof(unsigned));
    for (size_t i = 0; i < data.size(); ++i)
        data[i] = static_cast<unsigned>(i);
    ASSERT_EQ(static_cast<long>(total), write(f.fd, data.data(), total));
    ASSERT_EQ(0, fsync(f.fd));
    posix_fadvise(f.fd, 0, 0, POSIX_FADV_DONTNEED);
    posix_fadvise(f.fd, 0, 0, POSIX_FADV_RANDOM); // no read-ahead
    lseek(f.fd, 0, SEEK_SET);
    co_stats before{}, after{};
    co_get_stats(&before);
    int wrong = 0;
    unsigned next = 0;
    for (int k = 0; k < 4; ++k)
        go([&] {
            std::vector<unsigned> piece(16384);
            for (int i = 0; i < 16; ++i) {
                long n = read(f.fd, piece.data(), piece.size() * sizeof(unsigned));
                wrong += n != 65536;
                wrong += piece[0] % 16384 != 0 || piece[16383] != piece[0] + 16383;
                ++next;
            }
        });
    co_run();
    co_get_stats(&after);
    EXPECT_EQ(0, wrong);
    EXPECT_EQ(64u, next);
    EXPECT_EQ(static_cast<off_t>(total), lseek(f.fd, 0, SEEK_CUR));
    if (after.offloads == before.offloads)
        GTEST_SKIP() << "the file did not leave the page cache";
}

// contract 21
TEST(HooksAgainstTheKernel, EveryFcntlCommand) {
    expect_same([](side &s) {
        temporary_file f;
        int p[2];
        pipe(p);
        s.says("F_GETFD", fcntl(p[0], F_GETFD));
        s.says("F_SETFD", fcntl(p[0], F_SETFD, FD_CLOEXEC));
        s.says("F_GETFD", fcntl(p[0], F_GETFD));
        s.says("F_GETFL", fcntl(p[0], F_GETFL));
        s.says("F_SETFL", fcntl(p[0], F_SETFL, O_NONBLOCK | O_ASYNC));
        s.says("F_GETFL", fcntl(p[0], F_GETFL));
        s.says("F_SETFL", fcntl(p[0], F_SETFL, 0));
        s.says("F_GETPIPE_SZ", fcntl(p[0], F_GETPIPE_SZ));
        s.says("F_SETPIPE_SZ", fcntl(p[0], F_SETPIPE_SZ, 8192));
        s.says("F_SETOWN", fcntl(p[0], F_SETOWN, getpid()));
        s.says("F_GETOWN is ours", fcntl(p[0], F_GETOWN) == getpid());
        f_owner_ex owner{F_OWNER_PID, getpid()};
        s.says("F_SETOWN_EX", fcntl(p[0], F_SETOWN_EX, &owner));
        s.says("F_GETOWN_EX", fcntl(p[0], F_GETOWN_EX, &owner));
        s.says("type", owner.type);
        s.says("F_SETSIG", fcntl(p[0], F_SETSIG, SIGUSR1));
        s.says("F_GETSIG", fcntl(p[0], F_GETSIG));
        s.says("F_NOTIFY", fcntl(p[0], F_NOTIFY, DN_ACCESS));
        struct flock lock {};
        lock.l_type = F_WRLCK;
        lock.l_len = 10;
        s.says("F_SETLK", fcntl(f.fd, F_SETLK, &lock));
        s.says("F_SETLKW", fcntl(f.fd, F_SETLKW, &lock));
        s.says("F_GETLK", fcntl(f.fd, F_GETLK, &lock));
        s.says("l_type", lock.l_type);
        struct flock64 wide {};
        wide.l_type = F_RDLCK;
        wide.l_start = 5;
        s.says("F_OFD_SETLK", fcntl64(f.fd, F_OFD_SETLK, &wide));
        s.says("F_OFD_GETLK", fcntl64(f.fd, F_OFD_GETLK, &wide));
        s.says("F_SETLEASE", fcntl(f.fd, F_SETLEASE, F_WRLCK) == -1 && errno != EINVAL);
        s.says("F_GETLEASE", fcntl(f.fd, F_GETLEASE));
        int memory = memfd_create("corun", MFD_ALLOW_SEALING);
        s.says("F_ADD_SEALS", fcntl(memory, F_ADD_SEALS, F_SEAL_GROW));
        s.says("F_GET_SEALS", fcntl(memory, F_GET_SEALS));
        s.says("sealed", write(memory, "x", 1));
        uint64_t hint = 0;
        s.says("F_GET_RW_HINT", fcntl(f.fd, F_GET_RW_HINT, &hint));
        int copy = fcntl(p[0], F_DUPFD, 200);
        s.says("F_DUPFD", copy);
        s.says("F_DUPFD_CLOEXEC", fcntl(p[0], F_DUPFD_CLOEXEC, 201));
        s.says("F_GETFD", fcntl(201, F_GETFD));
        s.says("bad fd", fcntl(-1, F_GETFL));
        s.says("bad command", fcntl(p[0], 9999));
        close(200), close(201), close(memory), close(p[0]), close(p[1]);
    });
}

// contract 21: O_NONBLOCK belongs to the open file, which others share.
TEST(Hooks, TheFlagsOfSharedFilesNeverChange) {
    int p[2];
    ASSERT_EQ(0, pipe(p));
    int flags = fcntl(p[0], F_GETFL), standard_input = fcntl(0, F_GETFL), during = -1;
    go([&] {
        char c;
        read(p[0], &c, 1);
    });
    go([&] {
        usleep(1000);
        during = fcntl(p[0], F_GETFL); // the other one waits in read
        write(p[1], "x", 1);
    });
    co_run();
    EXPECT_EQ(flags, during);
    EXPECT_EQ(flags, fcntl(p[0], F_GETFL));
    EXPECT_EQ(standard_input, fcntl(0, F_GETFL));
    close(p[0]), close(p[1]);
}

TEST(HooksAgainstTheKernel, DescriptorsAreCopiedAndClosed) {
    expect_same([](side &s) {
        int p[2];
        char c;
        pipe(p);
        s.says("dup2 same", dup2(p[0], p[0]) == p[0]);
        s.says("dup3 same", dup3(p[0], p[0], 0));
        s.says("dup3 bad flag", dup3(p[0], 210, 1));
        s.says("dup2", dup2(p[0], 210));
        s.says("dup2 bad source", dup2(-1, 210));
        s.says("still open", fcntl(210, F_GETFD));
        s.says("dup2 bad number", dup2(p[0], -3));
        s.says("dup2 bad number", dup2(p[0], 1 << 30));
        s.says("dup3", dup3(p[0], 211, O_CLOEXEC));
        s.says("F_GETFD", fcntl(211, F_GETFD));
        write(p[1], "xy", 2);
        s.says("read", read(210, &c, 1));
        s.says("read", read(211, &c, 1));
        s.says("close_range", close_range(210, 211, 0));
        s.says("closed", read(210, &c, 1));
        s.says("closed", read(211, &c, 1));
        s.says("close_range bad", close_range(9, 8, 0));
        s.says("close_range bad flag", close_range(300, 301, 1 << 20));
        s.says("close", close(1 << 20));
        FILE *file = fdopen(p[0], "r");
        s.says("fclose", fclose(file));
        s.says("closed", read(p[0], &c, 1));
        close(p[1]);
    });
}
