// SPDX-License-Identifier: Apache-2.0
// Children that run on their parent's memory until they exec: what they do is native and costs the
// parent nothing. Contract 40.
#include "tests/hooks/both.h"
#include "tests/hooks/net.h"

#include <csignal>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr int late_us = 5000;

char true_name[] = "true";
char *true_arguments[] = {true_name, nullptr};

[[maybe_unused]] int run(void *argument) {
    const int *fds = static_cast<const int *>(argument);
    close(fds[0]), close(fds[1]);
    _exit(9);
}

// A reader waits on a socket; make_child, in another coroutine, starts a child that closes its copies
// of both ends. What comes afterwards still arrives.
void expect_wake_up(std::function<pid_t(const int *)> make_child, int code) {
    int fd[2];
    tcp_pair(fd);
    int got = 0;
    stCoRoutine_t *reader = go([&] {
        char c;
        for (int i = 0; i < 3; ++i)
            got += recv(fd[0], &c, 1, 0) == 1;
    });
    go([&] {
        for (int i = 0; i < 3; ++i) {
            usleep(late_us);
            pid_t pid = make_child(fd);
            ASSERT_GT(pid, 0);
            int status = 0;
            EXPECT_EQ(pid, waitpid(pid, &status, 0));
            EXPECT_EQ(code, WEXITSTATUS(status));
            EXPECT_EQ(1, send(fd[1], "x", 1, 0));
        }
    });
    co_run();
    EXPECT_EQ(3, got);
    co_release(reader);
    close(fd[0]), close(fd[1]);
}

} // namespace

// contract 40
TEST(Vfork, AChildThatClosesItsSocketsCostsNoWakeUp) {
    expect_wake_up(
        [](const int *fd) {
            pid_t pid = vfork();
            if (pid == 0) {
                close(fd[0]), close(fd[1]);
                _exit(7);
            }
            return pid;
        },
        7);
}

// contract 40
TEST(Vfork, SpawnAndCloneToo) {
    expect_wake_up(
        [](const int *fd) {
            posix_spawn_file_actions_t actions;
            posix_spawn_file_actions_init(&actions);
            posix_spawn_file_actions_addclose(&actions, fd[0]);
            posix_spawn_file_actions_addclose(&actions, fd[1]);
            pid_t pid = -1;
            EXPECT_EQ(0, posix_spawnp(&pid, "true", &actions, nullptr, true_arguments, environ));
            posix_spawn_file_actions_destroy(&actions);
            return pid;
        },
        0);
#if !defined(__SANITIZE_ADDRESS__) // it does not know the child's stack
    expect_wake_up(
        [](const int *fd) {
            alignas(16) static char stack[64 * 1024];
            return clone(run, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD,
                         const_cast<int *>(fd));
        },
        9);
#endif
}

// Each call of the child would park in the parent's loop, or write down what is not so for the parent.
TEST(Vfork, TheChildsCallsAreNative) {
    int fd[2], silent[2];
    ASSERT_EQ(0, pipe(fd));
    ASSERT_EQ(0, pipe(silent));
    co_stats before{}, after{};
    volatile int result = 0;
    in_coroutine([&] {
        char c;
        write(fd[1], "ab", 2);
        EXPECT_EQ(1, read(fd[0], &c, 1)); // known and registered
        co_get_stats(&before);
        pid_t pid = vfork();
        if (pid == 0) {
            char d = 0;
            bool fine = read(fd[0], &d, 1) == 1 && d == 'b';
            alarm(0);
            usleep(2000); // would park
            int copies[2];
            fine = fine && pipe(copies) == 0;
            fine = fine && dup2(copies[0], silent[0]) == silent[0];
            fcntl(fd[0], F_SETFD, FD_CLOEXEC);
            fine = fine && fcntl(copies[0], F_SETFL, O_NONBLOCK) == 0;
            fine = fine && write(copies[1], "z", 1) == 1;
            fine = fine && read(silent[0], &d, 1) == 1 && d == 'z';
            close(silent[0]);
            result = fine ? 1 : 2; // vfork's promise: the parent sees it
            execlp("true", "true", nullptr);
            _exit(127);
        }
        co_get_stats(&after);
        EXPECT_EQ(pid, waitpid(pid, nullptr, 0));
        EXPECT_EQ(1, result);
        // The parent's numbers mean what they meant.
        stCoRoutine_t *writer = go([&] {
            usleep(late_us);
            write(silent[1], "y", 1);
        });
        EXPECT_EQ(1, read(silent[0], &c, 1));
        EXPECT_EQ('y', c);
        co_join(writer, nullptr);
        co_release(writer);
    });
    EXPECT_EQ(before.switches, after.switches);
    for (int f : {fd[0], fd[1], silent[0], silent[1]})
        close(f);
}

TEST(Vfork, AsTheKernels) {
    expect_same([](side &s) {
        pid_t pid = vfork();
        if (pid == 0)
            _exit(5);
        int status = 0;
        s.says("wait", waitpid(pid, &status, 0) == pid);
        s.says("status", status);
        pid = vfork();
        if (pid == 0) {
            pid_t inner = vfork(); // the child of the child
            if (inner == 0)
                _exit(6);
            int code = 0;
            syscall(SYS_wait4, inner, &code, 0, nullptr);
            _exit(code == 6 << 8 ? 8 : 1);
        }
        s.says("wait", waitpid(pid, &status, 0) == pid);
        s.says("status", status);
    });
}
