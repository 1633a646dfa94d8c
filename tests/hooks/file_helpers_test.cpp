// SPDX-License-Identifier: Apache-2.0
// Contract 19 for locks on files and asynchronous I/O; what helpers do for calls on files, and what
// needs none.
#include "tests/hooks/both.h"
#include "tests/hooks/scratch.h"

#include <aio.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(HooksAgainstTheKernel, FileLocks) {
    expect_same([](side &s) {
        scratch d;
        std::string a = d / "a";
        int one = open(a.c_str(), O_RDWR | O_CREAT, 0600), two = open(a.c_str(), O_RDWR);
        s.says("shared", flock(one, LOCK_SH));
        s.says("shared too", flock(two, LOCK_SH));
        s.says("upgrade", flock(one, LOCK_EX | LOCK_NB));
        s.says("bad", flock(one, 77));
        s.says("bad fd", flock(-1, LOCK_EX));
        s.says("unlock", flock(one, LOCK_UN));
        s.says("exclusive", flock(two, LOCK_EX));
        s.partner([two](side &p) {
            usleep(5000);
            p.says("unlock", flock(two, LOCK_UN));
        });
        s.says("waits", flock(one, LOCK_EX));
        s.join();
        s.says("unlock", flock(one, LOCK_UN));
        struct flock64 l {};
        l.l_type = F_WRLCK;
        s.says("ofd", fcntl64(one, F_OFD_SETLKW, &l));
        s.says("ofd other", fcntl64(two, F_OFD_SETLK, &l));
        s.partner([one](side &p) {
            usleep(5000);
            p.says("close", close(one));
        });
        s.says("ofd waits", fcntl64(two, F_OFD_SETLKW, &l));
        s.join();
        struct flock r {};
        r.l_type = F_RDLCK;
        s.says("against the other kind", fcntl(two, F_SETLK, &r));
        l.l_type = F_UNLCK;
        s.says("ofd unlock", fcntl64(two, F_OFD_SETLKW, &l));
        s.says("lockf", lockf(two, F_LOCK, 100));
        s.says("lockf test", lockf(two, F_TEST, 100));
        s.says("lockf unlock", lockf(two, F_ULOCK, 0));
        s.says("lockf bad", lockf(two, 99, 0));
        s.says("lockf64", lockf64(two, F_LOCK, 1));
        s.says("setlkw bad", fcntl(-1, F_SETLKW, &r));
        r.l_type = 55;
        s.says("setlkw bad type", fcntl(two, F_SETLKW, &r));
        close(two);
        unlink(a.c_str());
    });
}

TEST(HooksAgainstTheKernel, AsynchronousIo) {
    expect_same([](side &s) {
        scratch d;
        std::string a = d / "a";
        int fd = open(a.c_str(), O_RDWR | O_CREAT, 0600);
        auto one = std::make_unique<aiocb>(), two = std::make_unique<aiocb>();
        char text[] = "asynchronous";
        auto prepare = [&](aiocb *c, int opcode) {
            *c = aiocb{};
            c->aio_fildes = fd;
            c->aio_buf = text;
            c->aio_nbytes = 12;
            c->aio_lio_opcode = opcode;
        };
        prepare(one.get(), LIO_WRITE), prepare(two.get(), LIO_READ);
        const aiocb *list[3] = {one.get(), nullptr, nullptr};
        s.says("aio_write", aio_write(one.get()));
        s.says("aio_suspend", aio_suspend(list, 3, nullptr));
        s.says("error", aio_error(one.get()));
        s.says("bytes", static_cast<long>(aio_return(one.get())));
        int p[2];
        pipe(p);
        char c;
        prepare(two.get(), LIO_READ);
        two->aio_fildes = p[0];
        two->aio_buf = &c;
        two->aio_nbytes = 1;
        s.says("aio_read", aio_read(two.get()));
        list[0] = two.get();
        timespec soon{0, 5000000};
        s.says("too early", aio_suspend(list, 1, &soon));
        s.partner([w = p[1]](side &) {
            usleep(5000);
            (void)!write(w, "x", 1);
        });
        s.says("in time", aio_suspend(list, 1, nullptr));
        s.says("bytes", static_cast<long>(aio_return(two.get())));
        s.join();
        prepare(one.get(), LIO_WRITE), prepare(two.get(), LIO_NOP);
        aiocb *both[2] = {one.get(), two.get()};
        s.says("lio_listio", lio_listio(LIO_WAIT, both, 2, nullptr));
        s.says("bytes", static_cast<long>(aio_return(one.get())));
        prepare(one.get(), LIO_WRITE), prepare(two.get(), LIO_READ);
        two->aio_fildes = -1;
        s.says("one fails", lio_listio(LIO_WAIT, both, 2, nullptr));
        s.says("bad mode", lio_listio(77, both, 2, nullptr));
        close(p[0]), close(p[1]), close(fd);
        unlink(a.c_str());
    });
}

// What a helper would still do by this number is over before the number means another file.
TEST(Hooks, CloseWaitsForAnFsync) {
    scratch d;
    std::string a = d / "a";
    std::string order;
    int fd = open(a.c_str(), O_RDWR | O_CREAT, 0600);
    go([&] {
        EXPECT_EQ(0, fsync(fd));
        order += "synced ";
    });
    go([&] {
        EXPECT_EQ(0, close(fd));
        order += "closed";
    });
    co_run();
    EXPECT_EQ("synced closed", order);
    unlink(a.c_str());
}

TEST(Hooks, ACachedFileCostsNoHandOver) {
    scratch d;
    std::string a = d / "a";
    long first = 0, later = 0;
    in_coroutine([&] {
        auto all = [&] {
            co_stats before{}, after{};
            co_get_stats(&before);
            int fd = open(a.c_str(), O_RDWR);
            char c[100];
            struct stat st;
            EXPECT_EQ(100, write(fd, c, 100));
            EXPECT_EQ(100, pread(fd, c, 100, 0));
            EXPECT_EQ(0, fstat(fd, &st));
            EXPECT_EQ(0, stat(a.c_str(), &st));
            EXPECT_EQ(0, access(a.c_str(), R_OK));
            close(fd);
            co_get_stats(&after);
            return static_cast<long>(after.offloads - before.offloads);
        };
        close(creat(a.c_str(), 0600));
        first = all();
        later = all();
    });
    EXPECT_LE(first, 2); // what kind of file system it is
    EXPECT_EQ(0, later);
    unlink(a.c_str());
}

// contract 39
TEST(Hooks, AfterSetuidAnOffloadedOpenIsTheUsers) {
    if (geteuid() != 0)
        GTEST_SKIP() << "only root can become somebody else";
    scratch d;
    chmod(d.path, 0755);
    std::string a = d / "secret";
    close(creat(a.c_str(), 0600));
    pid_t child = fork();
    if (child == 0) {
        int result = 0;
        in_coroutine([&] {
            sync(); // a helper is there, with root's rights
            int fd = open(a.c_str(), O_RDWR | O_CREAT, 0600); // by a helper: O_CREAT
            result |= fd < 0 ? 1 : 0;
            if (setuid(65534) != 0)
                result |= 2;
            fd = open(a.c_str(), O_WRONLY | O_TRUNC);
            result |= fd == -1 && errno == EACCES ? 0 : 4;
            fd = open(a.c_str(), O_RDWR | O_CREAT, 0600);
            result |= fd == -1 && errno == EACCES ? 0 : 8;
        });
        _exit(result);
    }
    int status = 0;
    ASSERT_EQ(child, waitpid(child, &status, 0));
    EXPECT_EQ(0, WEXITSTATUS(status));
    EXPECT_TRUE(WIFEXITED(status));
    unlink(a.c_str());
}
