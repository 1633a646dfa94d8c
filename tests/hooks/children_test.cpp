// SPDX-License-Identifier: Apache-2.0
// Contract 19 and 26 for waiting on children.
#include "tests/hooks/both.h"
#include "tests/hooks/ticking.h"

#include <csignal>
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr int late_us = 5000;

// A child that makes no hooked call: it is a copy of a program with threads.
pid_t child(int us, int code, int signal = 0) {
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    timespec t{us / 1000000, us % 1000000 * 1000};
    syscall(SYS_nanosleep, &t, nullptr);
    if (signal)
        syscall(SYS_kill, getpid(), signal);
    _exit(code);
}

} // namespace

TEST(Children, WaitpidAndItsKin) {
    expect_same([](side &s) {
        int status = 0;
        rusage use{};
        s.says("none", waitpid(-1, &status, 0));
        s.says("none", wait(&status));
        s.says("nobody", waitpid(getpid(), &status, 0));
        s.says("bad", waitpid(-1, &status, 0x100));
        pid_t a = child(late_us, 3);
        s.says("not yet", waitpid(a, &status, WNOHANG));
        s.says("one", waitpid(a, &status, 0) == a);
        s.says("status", status);
        s.says("again", waitpid(a, &status, 0));
        a = child(late_us, 0, SIGKILL);
        s.says("killed", wait4(a, &status, 0, &use) == a);
        s.says("status", status);
        s.says("used", use.ru_maxrss > 0);
        a = child(late_us, 4);
        s.says("any", wait(&status) == a);
        s.says("status", status);
        a = child(late_us, 5);
        s.says("any", wait3(&status, 0, &use) == a);
        s.says("status", status);
        a = child(late_us, 6);
        s.says("group", waitpid(0, &status, 0) == a);
        a = child(0, 7);
        ::usleep(late_us);
        s.says("a zombie", waitpid(a, nullptr, 0) == a);
        a = child(late_us, 8);
        s.says("with all", waitpid(a, &status, __WALL) == a);
        s.says("status", status);
        a = child(late_us, 9);
        s.says("mine alone", waitpid(a, &status, __WNOTHREAD) == a);
        s.says("status", status);
    });
}

TEST(Children, WaitidAndStops) {
    expect_same([](side &s) {
        siginfo_t info{};
        s.says("none", waitid(P_ALL, 0, &info, WEXITED));
        s.says("nothing asked", waitid(P_ALL, 0, &info, 0));
        s.says("bad kind", waitid(static_cast<idtype_t>(77), 0, &info, WEXITED));
        pid_t a = child(late_us, 3);
        s.says("look", waitid(P_PID, a, &info, WEXITED | WNOWAIT));
        s.says("child", info.si_pid == a);
        s.says("code", info.si_code);
        s.says("status", info.si_status);
        s.says("signo", info.si_signo);
        s.says("take", waitid(P_ALL, 0, &info, WEXITED));
        s.says("child", info.si_pid == a);
        a = child(1000 * late_us, 4); // until it is killed
        s.partner([=](side &) {
            usleep(late_us);
            kill(a, SIGSTOP);
        });
        int status = 0;
        s.says("stopped", waitpid(a, &status, WUNTRACED) == a);
        s.says("status", status);
        s.join();
        s.partner([=](side &) {
            usleep(late_us);
            kill(a, SIGCONT);
        });
        s.says("continued", waitid(P_PID, a, &info, WCONTINUED | WEXITED));
        s.says("code", info.si_code);
        s.join();
        s.partner([=](side &) {
            usleep(late_us);
            kill(a, SIGKILL);
        });
        s.says("no info", waitid(P_PID, a, nullptr, WEXITED));
        s.join();
        a = child(late_us, 5);
        int fd = static_cast<int>(syscall(SYS_pidfd_open, a, 0));
        s.says("by pidfd", waitid(P_PIDFD, fd, &info, WEXITED));
        s.says("status", info.si_status);
        close(fd);
        a = child(late_us, 5);
        fd = static_cast<int>(syscall(SYS_pidfd_open, a, O_NONBLOCK));
        s.says("non-blocking", waitid(P_PIDFD, fd, &info, WEXITED));
        s.says("blocking", waitpid(a, nullptr, 0) == a);
        close(fd);
    });
}

TEST(Children, AnErrorIsToldWithZeros) {
    expect_same([](side &s) {
        siginfo_t info, *nowhere = reinterpret_cast<siginfo_t *>(8);
        auto *no_usage = reinterpret_cast<rusage *>(8);
        auto ask = [&](const char *what, int type, id_t id, siginfo_t *at, rusage *use = nullptr) {
            info.si_signo = info.si_code = info.si_pid = info.si_status = 5;
            s.says(what, syscall(SYS_waitid, type, id, at, WEXITED, use));
            for (int told : {info.si_signo, info.si_code, info.si_pid, info.si_status})
                s.says("told", told);
        };
        ask("no child", P_ALL, 0, &info);
        ask("no child, told nowhere", P_ALL, 0, nowhere);
        ask("no pidfd", P_PIDFD, 999, &info);
        ask("no pidfd, told nowhere", P_PIDFD, 999, nowhere);
        ask("bad kind", 77, 0, &info);
        pid_t a = child(late_us, 3);
        ask("usage nowhere", P_PID, static_cast<id_t>(a), &info, no_usage);
    });
}

TEST(Children, IgnoredOnesAreWaitedForToo) {
    expect_same([](side &s) {
        auto former = signal(SIGCHLD, SIG_IGN);
        child(2 * late_us, 1);
        pid_t a = child(late_us, 2);
        s.says("that one", waitpid(a, nullptr, 0));
        s.says("all of them", wait(nullptr));
        signal(SIGCHLD, former);
    });
}

// contract 26
TEST(Children, OthersTickWhileOneWaits) {
    expect_others_tick([] {
        pid_t a = child(60000, 1);
        EXPECT_EQ(a, waitpid(a, nullptr, 0));
    });
    expect_others_tick([] {
        pid_t a = child(60000, 1);
        EXPECT_EQ(a, wait(nullptr));
    });
}

TEST(Children, FiftyAreWaitedForAtTheSameTime) {
    int ended = 0;
    auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 50; ++i)
        go([&, i] {
            pid_t a = child(50000, i);
            int status = 0;
            EXPECT_EQ(a, waitpid(a, &status, 0));
            EXPECT_EQ(i, WEXITSTATUS(status));
            ++ended;
        });
    co_run();
    EXPECT_EQ(50, ended);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2)); // else 2.5
}

TEST(Children, SeveralWaitForAnyOfThem) {
    int sum = 0;
    for (int i = 0; i < 5; ++i)
        go([&, i] {
            ASSERT_GT(child(late_us * (i + 1), i), 0);
            int status = 0;
            EXPECT_GT(wait(&status), 0);
            sum += WEXITSTATUS(status);
        });
    co_run();
    EXPECT_EQ(10, sum);
}

TEST(Children, System) {
    expect_same([](side &s) {
        s.says("shell", system(nullptr) != 0);
        s.says("true", system("exit 0"));
        s.says("seven", system("exit 7"));
        s.says("killed", system("kill -9 $$"));
        s.says("not found", system("/no/such/program 2>/dev/null"));
        struct sigaction now;
        sigaction(SIGINT, nullptr, &now);
        s.says("SIGINT is as before", now.sa_handler == SIG_DFL);
        sigset_t mask;
        pthread_sigmask(SIG_BLOCK, nullptr, &mask);
        s.says("SIGCHLD is as before", sigismember(&mask, SIGCHLD));
        s.says("nothing blocked in the child",
               system("grep -q '^SigBlk:.*0000000000000000' /proc/self/status"));
        s.says("nor ignored", system("trap 'exit 5' INT; kill -INT $$; exit 1"));
    });
    expect_others_tick([] { EXPECT_EQ(0, system("sleep 0.06")); });
    int same_time = 0;
    auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 10; ++i)
        go([&] { same_time += system("sleep 0.2") == 0; });
    co_run();
    EXPECT_EQ(10, same_time);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(1500));
}

TEST(Children, ACancelledSystemEndsItsShell) {
    struct sigaction before; // ignored, where the suite runs in the background
    sigaction(SIGINT, nullptr, &before);
    stCoRoutine_t *co = go([] {
        system("sleep 30");
        ADD_FAILURE();
    });
    go([=] {
        usleep(10 * late_us);
        co_cancel(co);
    });
    auto begin = std::chrono::steady_clock::now();
    co_run();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
    co_release(co);
    EXPECT_EQ(-1, waitpid(-1, nullptr, WNOHANG));
    struct sigaction now;
    sigaction(SIGINT, nullptr, &now);
    EXPECT_EQ(before.sa_handler, now.sa_handler);
    // Released instead: the signals are as before, the child is left.
    co = go_plain([](void *) { system("sleep 0.05"); }, nullptr);
    go([=] {
        usleep(2 * late_us);
        co_release(co);
    });
    co_run();
    sigaction(SIGINT, nullptr, &now);
    EXPECT_EQ(before.sa_handler, now.sa_handler);
    EXPECT_GT(wait(nullptr), 0);
}

TEST(Children, PopenAndPclose) {
    expect_same([](side &s) {
        char line[64] = {};
        FILE *f = popen("echo hello; exit 3", "r");
        s.text("line", line, fgets(line, sizeof line, f) ? static_cast<long>(strlen(line)) : 0);
        s.says("status", pclose(f));
        f = popen("cat >/dev/null; sleep 0.02; exit 4", "w");
        fputs("data", f);
        s.says("status", pclose(f));
        // The number is free, and means something new.
        int fd[2];
        s.says("pipe", pipe(fd));
        s.partner([=](side &) {
            usleep(late_us);
            write(fd[1], "x", 1);
        });
        s.says("read", read(fd[0], line, 1));
        s.join();
        close(fd[0]), close(fd[1]);
    });
    expect_others_tick([] {
        FILE *f = popen("sleep 0.06", "r");
        EXPECT_EQ(0, pclose(f));
    });
}

// What the stream still holds waits for the pipe as any write does, and then for the child.
TEST(Children, PcloseOfAStreamWhoseBufferIsFull) {
    expect_same([](side &s) {
        FILE *f = popen("sleep 0.02; wc -c | tr -d '\\n' >/dev/null; exit 5", "w");
        std::string big(200000, 'x');
        s.says("buffer", setvbuf(f, nullptr, _IOFBF, big.size()));
        s.says("fwrite", fwrite(big.data(), 1, big.size(), f));
        s.says("status", pclose(f));
        f = popen("true", "w");
        fputs("nobody reads this", f);
        usleep(50000); // it has ended
        auto former = signal(SIGPIPE, SIG_IGN);
        s.says("nobody reads", pclose(f));
        signal(SIGPIPE, former);
    });
    expect_others_tick([] {
        FILE *f = popen("sleep 0.06; cat >/dev/null", "w");
        std::string big(200000, 'x');
        setvbuf(f, nullptr, _IOFBF, big.size());
        fwrite(big.data(), 1, big.size(), f);
        EXPECT_EQ(0, pclose(f));
    });
}

TEST(Children, PosixSpawn) {
    expect_same([](side &s) {
        char name[] = "sh", option[] = "-c", command[] = "exit 9";
        char *arguments[] = {name, option, command, nullptr};
        pid_t pid;
        int status = 0;
        s.says("spawn", posix_spawnp(&pid, "sh", nullptr, nullptr, arguments, environ));
        s.says("wait", waitpid(pid, &status, 0) == pid);
        s.says("status", status);
        s.says("no such", posix_spawn(&pid, "/no/such", nullptr, nullptr, arguments, environ));
    });
}

// contract 37: status, rusage and siginfo are on the waiter's stack.
TEST(Children, ResultsOnASharedStack) {
    stShareStack_t *stack = co_alloc_sharestack(1, 128 * 1024);
    int wrong = 0;
    for (int i = 0; i < 2; ++i)
        go(
            [&, i] {
                int canary[64], status = 0;
                rusage use{};
                for (int &c : canary)
                    c = i;
                for (int n = 0; n < 3; ++n) {
                    pid_t a = child(late_us, 10 + i);
                    wrong += wait4(a, &status, n == 1 ? __WALL : 0, &use) != a;
                    wrong += WEXITSTATUS(status) != 10 + i;
                }
                wrong += WEXITSTATUS(system(i ? "exit 1" : "exit 2")) != (i ? 1 : 2);
                for (int c : canary)
                    wrong += c != i;
            },
            stack);
    co_run();
    EXPECT_EQ(0, wrong);
}

// contract 25
TEST(Children, AForkedChildsWaitsAreItsOwn) {
    int fd[2];
    ASSERT_EQ(0, pipe(fd));
    bool read_ok = false;
    go([&] {
        char c;
        read_ok = read(fd[0], &c, 1) == 1;
    });
    go([&] {
        usleep(late_us);
        pid_t pid = fork();
        if (pid == 0) {
            int own[2], status = 0;
            pipe(own);
            pid_t grandchild = child(late_us, 6);
            char c;
            bool fine = waitpid(grandchild, &status, 0) == grandchild && WEXITSTATUS(status) == 6;
            write(own[1], "x", 1);
            fine = fine && read(own[0], &c, 1) == 1;
            close(fd[0]);
            _exit(fine ? 42 : 1);
        }
        int status = 0;
        EXPECT_EQ(pid, waitpid(pid, &status, 0));
        EXPECT_EQ(42, WEXITSTATUS(status));
        EXPECT_EQ(1, write(fd[1], "x", 1));
    });
    co_run();
    EXPECT_TRUE(read_ok);
    close(fd[0]), close(fd[1]);
}
