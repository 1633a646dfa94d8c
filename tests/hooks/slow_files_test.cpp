// SPDX-License-Identifier: Apache-2.0
// Contract 26 for files: a slow file system, locks that others hold, a FIFO whose other side is late.
#include "tests/hooks/slow_fs.h"
#include "tests/hooks/ticking.h"

#include <csignal>
#include <dirent.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/wait.h>

namespace {

constexpr unsigned delay_us = 30000;

double clock_ms() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) / 1e6;
}

class SlowFiles : public testing::Test {
  protected:
    void SetUp() override {
        if (!fs.mounted())
            GTEST_SKIP() << "a FUSE file system cannot be mounted here: " << strerror(errno);
    }
    slow_fs fs{delay_us};
};

// Another process that holds what it took before it wrote to us, and is stopped then.
class stopped_holder {
  public:
    explicit stopped_holder(const std::function<void()> &take) {
        int p[2];
        EXPECT_EQ(0, pipe(p));
        pid_ = fork();
        if (pid_ == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            take();
            (void)!write(p[1], "x", 1);
            raise(SIGSTOP);
            _exit(0);
        }
        char c;
        EXPECT_EQ(1, read(p[0], &c, 1));
        close(p[0]), close(p[1]);
        int status;
        waitpid(pid_, &status, WUNTRACED);
    }
    ~stopped_holder() { let_go(); }
    stopped_holder(const stopped_holder &) = delete;
    stopped_holder &operator=(const stopped_holder &) = delete;
    void let_go() {
        if (pid_ > 0) {
            kill(pid_, SIGKILL);
            waitpid(pid_, nullptr, 0);
        }
        pid_ = 0;
    }

  private:
    pid_t pid_ = 0;
};

struct a_file {
    char path[40] = "/var/tmp/corun-slow-XXXXXX";
    int fd;
    a_file() : fd(mkstemp(path)) {}
    ~a_file() {
        close(fd);
        unlink(path);
    }
    a_file(const a_file &) = delete;
    a_file &operator=(const a_file &) = delete;
};

} // namespace

// contract 26
TEST_F(SlowFiles, OpenReadFsyncAndCloseLeaveOthersTicking) {
    std::string path = fs.file();
    auto call = [&] {
        int before = fs.asked();
        int fd = open(path.c_str(), O_RDWR);
        ASSERT_GE(fd, 0) << strerror(errno);
        char c[64] = {};
        EXPECT_EQ(64, read(fd, c, 64));
        EXPECT_EQ(slow_fs::byte_at(63), c[63]);
        EXPECT_EQ(10, pread(fd, c, 10, 1000));
        EXPECT_EQ(slow_fs::byte_at(1000), c[0]);
        EXPECT_EQ(64, lseek(fd, 0, SEEK_CUR));
        EXPECT_EQ(5, write(fd, "01234", 5));
        iovec two[2] = {{c, 3}, {c + 5, 4}};
        EXPECT_EQ(7, pwritev(fd, two, 2, 0));
        EXPECT_EQ(7, readv(fd, two, 2));
        EXPECT_EQ(0, fsync(fd));
        struct stat s;
        EXPECT_EQ(0, fstat(fd, &s));
        EXPECT_EQ(static_cast<off_t>(slow_fs::size), s.st_size);
        EXPECT_EQ(0, ftruncate(fd, 10));
        EXPECT_EQ(0, close(fd));
        EXPECT_GE(fs.asked() - before, 8);
    };
    expect_others_tick(call);
}

// contract 26
TEST_F(SlowFiles, NamesAndDirectoriesLeaveOthersTicking) {
    std::string path = fs.file(), none = path + "-not";
    auto call = [&] {
        struct stat s;
        EXPECT_EQ(0, stat(path.c_str(), &s));
        EXPECT_EQ(2u, s.st_ino);
        EXPECT_EQ(-1, stat(none.c_str(), &s));
        EXPECT_EQ(ENOENT, errno);
        EXPECT_EQ(0, access(path.c_str(), R_OK));
        EXPECT_EQ(-1, readlink(path.c_str(), none.data(), 10));
        EXPECT_EQ(EINVAL, errno);
        char *name = realpath(path.c_str(), nullptr);
        EXPECT_STREQ(path.c_str(), name);
        free(name);
        struct statvfs v;
        EXPECT_EQ(0, statvfs(path.c_str(), &v));
        EXPECT_EQ(4096u, v.f_bsize);
        DIR *d = opendir(fs.directory());
        ASSERT_NE(nullptr, d);
        struct dirent *e = readdir(d);
        ASSERT_NE(nullptr, e);
        EXPECT_STREQ("slow", e->d_name);
        EXPECT_EQ(nullptr, readdir(d));
        rewinddir(d);
        EXPECT_NE(nullptr, readdir(d));
        EXPECT_EQ(0, closedir(d));
        EXPECT_EQ(-1, unlink(path.c_str()));
        EXPECT_EQ(ENOSYS, errno);
    };
    expect_others_tick(call);
}

// The helper is still inside when nobody waits for it any more.
TEST_F(SlowFiles, ACancelledOpenAndReaddirLeaveNothingBehind) {
    std::string path = fs.file();
    int lowest = dup(0);
    close(lowest);
    stCoRoutine_t *opener = go([&] { open(path.c_str(), O_RDONLY); });
    bool reading = false;
    stCoRoutine_t *lister = go([&] {
        struct closed {
            DIR *d;
            ~closed() { EXPECT_EQ(0, closedir(d)); } // waits for the helper in readdir
        } c{opendir(fs.directory())};
        reading = true;
        readdir(c.d);
        ADD_FAILURE() << "readdir came back";
    });
    stCoRoutine_t *canceller = go([&] {
        usleep(delay_us / 2);
        co_cancel(opener);
        while (!reading)
            usleep(1000);
        usleep(delay_us / 3);
        co_cancel(lister);
    });
    co_run();
    for (stCoRoutine_t *co : {opener, lister, canceller})
        co_release(co);
    usleep(delay_us * 4);
    int again = dup(0);
    EXPECT_EQ(lowest, again);
    close(again);
}

// contract 26
TEST(SlowLocks, AStoppedHolderOfAFlockLeavesOthersTicking) {
    a_file f;
    auto call = [&] {
        stopped_holder holder([&] { flock(open(f.path, O_RDWR), LOCK_EX); });
        int fd = open(f.path, O_RDWR);
        EXPECT_EQ(-1, flock(fd, LOCK_SH | LOCK_NB));
        EXPECT_EQ(EWOULDBLOCK, errno);
        stCoRoutine_t *waker = go([&] {
            usleep(60000);
            holder.let_go();
        });
        double begin = clock_ms();
        EXPECT_EQ(0, flock(fd, LOCK_EX));
        EXPECT_GE(clock_ms() - begin, 50);
        co_join(waker, nullptr);
        co_release(waker);
        close(fd);
    };
    expect_others_tick(call);
}

// contract 26
TEST(SlowLocks, AStoppedHolderOfARecordLockLeavesOthersTicking) {
    a_file f;
    auto call = [&] {
        struct flock whole {};
        whole.l_type = F_WRLCK;
        stopped_holder holder([&] { fcntl(f.fd, F_SETLK, &whole); });
        EXPECT_EQ(-1, fcntl(f.fd, F_SETLK, &whole));
        EXPECT_EQ(EAGAIN, errno);
        EXPECT_EQ(-1, lockf(f.fd, F_TLOCK, 10));
        stCoRoutine_t *waker = go([&] {
            usleep(60000);
            holder.let_go();
        });
        stCoRoutine_t *other = go([&] {
            EXPECT_EQ(0, lockf(f.fd, F_LOCK, 10));
            int own = open(f.path, O_RDWR);
            struct flock64 l {};
            l.l_type = F_WRLCK;
            l.l_start = 50;
            l.l_len = 5;
            EXPECT_EQ(0, fcntl64(own, F_OFD_SETLKW, &l) == 0 || errno == EAGAIN ? 0 : 1);
            close(own);
        });
        double begin = clock_ms();
        EXPECT_EQ(0, fcntl(f.fd, F_SETLKW, &whole));
        EXPECT_GE(clock_ms() - begin, 50);
        whole.l_type = F_UNLCK;
        EXPECT_EQ(0, fcntl(f.fd, F_SETLK, &whole));
        for (stCoRoutine_t *co : {waker, other}) {
            co_join(co, nullptr);
            co_release(co);
        }
    };
    expect_others_tick(call);
}

// contract 26
TEST(SlowFifo, OpeningWaitsForTheOtherSide) {
    char path[] = "/tmp/corun-fifo-XXXXXX";
    close(mkstemp(path));
    unlink(path);
    ASSERT_EQ(0, mkfifo(path, 0600));
    auto call = [&] {
        stCoRoutine_t *writer = go([&] {
            usleep(40000);
            int fd = open(path, O_WRONLY | O_CREAT, 0600);
            EXPECT_EQ(3, write(fd, "abc", 3));
            close(fd);
        });
        double begin = clock_ms();
        int fd = open(path, O_RDONLY);
        EXPECT_GE(clock_ms() - begin, 30);
        char c[8];
        EXPECT_EQ(3, read(fd, c, 8));
        EXPECT_EQ(0, read(fd, c, 8));
        close(fd);
        co_join(writer, nullptr);
        co_release(writer);
    };
    expect_others_tick(call);
    // Cancelled: the helper's descriptor is closed when it comes.
    stCoRoutine_t *reader = go([&] { open(path, O_RDONLY); });
    stCoRoutine_t *canceller = go([&] {
        usleep(3000);
        co_cancel(reader);
    });
    co_run();
    co_release(reader);
    co_release(canceller);
    int fd = open(path, O_WRONLY); // lets the helper in, which closes its end
    EXPECT_GE(fd, 0);
    signal(SIGPIPE, SIG_IGN);
    long n = 0;
    for (int i = 0; i < 1000 && (n = write(fd, "x", 1)) == 1; ++i)
        usleep(1000);
    EXPECT_EQ(-1, n);
    EXPECT_EQ(EPIPE, errno);
    close(fd);
    unlink(path);
}

// contract 39: the holder needs the shared helpers that the waiters must not occupy.
TEST(SlowLocks, SixtyFourWaitersAndTheHolderSyncs) {
    a_file f;
    int inside = 0, passed = 0;
    auto locked = [&](bool syncs) {
        int fd = open(f.path, O_RDWR);
        EXPECT_EQ(0, flock(fd, LOCK_EX));
        EXPECT_EQ(0, inside++);
        if (syncs) {
            usleep(2000);
            EXPECT_EQ(1, write(fd, "x", 1));
            EXPECT_EQ(0, fsync(fd));
        }
        --inside;
        ++passed;
        EXPECT_EQ(0, flock(fd, LOCK_UN));
        close(fd);
    };
    std::vector<stCoRoutine_t *> all;
    for (int i = 0; i < 65; ++i)
        all.push_back(go([&, i] { locked(i % 16 == 0); }));
    co_run();
    for (stCoRoutine_t *co : all)
        co_release(co);
    EXPECT_EQ(65, passed);
}
