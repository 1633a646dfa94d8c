// SPDX-License-Identifier: Apache-2.0
// Helper threads keep no credentials that the program has given up.
#include "co_hook/calls/credentials.h"
#include "co_routine/loop/offload.h"
#include "tests/hooks/both.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr corun::wait_kind open_kind{"open", false, nullptr};
constexpr uid_t nobody = 65534;

int64_t open_by_helper(const char *path) {
    const long args[6] = {AT_FDCWD, reinterpret_cast<long>(path), O_RDONLY, 0, 0, 0};
    int64_t fd = corun::offload_syscall(open_kind, corun::offload_shared, SYS_openat, args, nullptr,
                                        0, corun::no_deadline);
    if (fd >= 0)
        close(static_cast<int>(fd));
    return fd;
}

struct private_file {
    char path[40] = "/var/tmp/corun-private-XXXXXX";
    private_file() {
        int fd = mkstemp(path);
        if (fd < 0 || fchmod(fd, 0600) != 0)
            abort();
        close(fd);
    }
    ~private_file() { unlink(path); }
};

// The exit code of a child in which f runs in a coroutine.
int in_child(std::function<int()> f) {
    pid_t pid = fork();
    if (pid == 0) {
        alarm(30);
        int code = 99;
        in_coroutine([&] { code = f(); });
        _exit(code);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

#define REQUIRE_ROOT()                                                                             \
    if (geteuid() != 0)                                                                            \
    GTEST_SKIP() << "only root can give up being root"

} // namespace

// contract 39
TEST(Credentials, AnOffloadedOpenAfterSetuidIsRefused) {
    REQUIRE_ROOT();
    private_file file;
    std::function<int()> ways[] = {
        [] { return setuid(nobody); },
        [] { return seteuid(nobody); },
        [] { return setreuid(nobody, nobody); },
        [] { return setresuid(nobody, nobody, nobody); },
        [] { return setfsuid(nobody) == 0 ? 0 : -1; },
    };
    for (auto &way : ways)
        EXPECT_EQ(0, in_child([&] {
                      if (open_by_helper(file.path) < 0)
                          return 1;
                      if (corun::offload_helper_count() == 0)
                          return 2; // the test shows nothing without one
                      if (way() != 0)
                          return 3;
                      int64_t r = open_by_helper(file.path);
                      return r == -EACCES ? 0 : r < 0 ? 4 : 5;
                  }));
}

TEST(Credentials, GroupsAndTheRest) {
    REQUIRE_ROOT();
    std::function<int()> ways[] = {
        [] { return setgid(nobody); },
        [] { return setegid(nobody); },
        [] { return setregid(nobody, nobody); },
        [] { return setresgid(nobody, nobody, nobody); },
        [] { return setgroups(0, nullptr); },
        [] { return initgroups("nobody", nobody); },
        [] { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); },
        [] { return unshare(CLONE_FS); },
    };
    for (auto &way : ways)
        EXPECT_EQ(0, in_child([&] {
                      open_by_helper("/");
                      if (corun::offload_helper_count() == 0)
                          return 2;
                      if (way() != 0)
                          return 3;
                      if (corun::offload_helper_count() != 0)
                          return 4;
                      return open_by_helper("/") >= 0 ? 0 : 5; // new ones come
                  }));
}

TEST(Credentials, ErrorsAreTheKernels) {
    expect_same([](side &s) {
        s.says("setns", setns(-1, 0));
        s.says("unshare", unshare(1));
        s.says("groups", setgroups(1 << 20, nullptr));
        s.says("name", prctl(PR_SET_NAME, "corun-test"));
        char name[16] = {};
        s.says("name", prctl(PR_GET_NAME, name));
        s.text("name", name, 10);
        s.says("unknown", prctl(123456, 0, 0, 0, 0));
    });
}

// Helpers are the process's: where two threads run coroutines, one cannot be somebody else alone.
TEST(Credentials, AChangeOfOneThreadAloneIsRefusedWhereTwoShareTheHelpers) {
    EXPECT_EQ(0, in_child([] {
                  if (unshare(CLONE_FS) != 0)
                      return 1;
                  int refused = 0;
                  std::thread([&] {
                      in_coroutine([&] {
                          usleep(1);
                          testing::internal::CaptureStderr();
                          refused = unshare(CLONE_FS) == -1 && errno == EPERM;
                          std::string said = testing::internal::GetCapturedStderr();
                          refused += said.find("refused") != std::string::npos;
                      });
                  }).join();
                  return refused == 2 ? 0 : 2;
              }));
    EXPECT_TRUE(corun::calls::changes_credentials(SYS_setuid, 0));
    EXPECT_FALSE(corun::calls::changes_credentials(SYS_getuid, 0));
}
