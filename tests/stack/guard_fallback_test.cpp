// SPDX-License-Identifier: Apache-2.0
// Guards on a kernel before Linux 6.13. A child of this process is such a place: a seccomp filter
// answers EINVAL to madvise(MADV_GUARD_INSTALL), as an old kernel does. (The filter cannot be taken
// back, and the VMA budget is the process's: so each case has a child of its own.)
#include "co_routine/stack/private_stack.h"

#include "tests/stack/guard_probe.h"

#include <cstddef>
#include <functional>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <vector>

using namespace corun;

namespace {

constexpr int madv_guard_install = 102;

bool forbid_guard_install() {
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, madv_guard_install, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program{sizeof filter / sizeof *filter, filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

constexpr int cannot_filter = 77;

// Runs the body in a child on such a kernel. What it says on stderr comes back; it ends with the
// number of its failed expectations.
struct outcome {
    int exit_code = -1;
    std::string said;
};
outcome on_an_old_kernel(const std::function<void(std::vector<std::string> &failures)> &body) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 2);
        ::close(ends[0]);
        ::close(ends[1]);
        if (!forbid_guard_install())
            _exit(cannot_filter);
        std::vector<std::string> failures;
        body(failures);
        for (const std::string &f : failures)
            dprintf(2, "FAILED: %s\n", f.c_str());
        _exit(failures.empty() ? 0 : 1);
    }
    ::close(ends[1]);
    outcome o;
    char text[1024];
    for (ssize_t n; (n = ::read(ends[0], text, sizeof text)) > 0;)
        o.said.append(text, static_cast<size_t>(n));
    ::close(ends[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    o.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return o;
}

#define EXPECT_IN_CHILD(condition)                                                                 \
    do {                                                                                           \
        if (!(condition))                                                                          \
            failures.push_back(#condition);                                                        \
    } while (0)
#define SKIP_WITHOUT_FILTER(o)                                                                     \
    if ((o).exit_code == cannot_filter)                                                            \
    GTEST_SKIP() << "seccomp filters are not allowed here"

size_t max_map_count() {
    size_t n = 0;
    if (FILE *f = fopen("/proc/sys/vm/max_map_count", "r")) {
        EXPECT_EQ(fscanf(f, "%zu", &n), 1);
        fclose(f);
    }
    return n;
}

// contract 34, the fallback: one page below each stack faults.
TEST(GuardFallback, OnePageBelowEachStackFaults) {
    outcome o = on_an_old_kernel([](std::vector<std::string> &failures) {
        stack_pool pool(16384, 65536);
        probe p;
        for (int i = 0; i < 100; ++i) {
            stack_range s;
            EXPECT_IN_CHILD(pool.acquire(&s));
            EXPECT_IN_CHILD(p.faults(s.low - 1));
            EXPECT_IN_CHILD(p.faults(s.low - page_size));
            EXPECT_IN_CHILD(!p.faults(s.low));
        }
        EXPECT_IN_CHILD(pool.counts().unguarded == 0);
    });
    SKIP_WITHOUT_FILTER(o);
    EXPECT_EQ(o.exit_code, 0) << o.said;
    EXPECT_EQ(o.said, "");
}

// contract 34, the fallback: VMAs are taken until three quarters of vm.max_map_count are used; what
// comes after has no guard, is counted one by one, and that is said once.
TEST(GuardFallback, WhenTheVmaBudgetIsUsedUpStacksGoWithoutAndThatIsCountedAndSaidOnce) {
    size_t budget = max_map_count() / 4 * 3 / 2; // two VMAs a guard
    if (budget > 100000)
        GTEST_SKIP() << "vm.max_map_count is raised here: too many stacks for a test";
    constexpr size_t beyond = 1000;
    outcome o = on_an_old_kernel([budget](std::vector<std::string> &failures) {
        stack_pool pool(16384, page_size);
        probe p;
        stack_range s;
        for (size_t i = 0; i < budget; ++i)
            EXPECT_IN_CHILD(pool.acquire(&s));
        EXPECT_IN_CHILD(pool.counts().unguarded == 0);
        EXPECT_IN_CHILD(p.faults(s.low - 1));
        for (size_t i = 0; i < beyond; ++i)
            EXPECT_IN_CHILD(pool.acquire(&s));
        EXPECT_IN_CHILD(pool.counts().unguarded == beyond);
        EXPECT_IN_CHILD(!p.faults(s.low - 1));
        // The program itself can still map: a quarter is left to it.
        EXPECT_IN_CHILD(mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
                        MAP_FAILED);
    });
    SKIP_WITHOUT_FILTER(o);
    EXPECT_EQ(o.exit_code, 0) << o.said;
    EXPECT_EQ(o.said.find("corun: stacks from now on have no guard"), 0U) << o.said;
    EXPECT_EQ(o.said.find('\n'), o.said.size() - 1) << "one line, once: " << o.said;
}

TEST(GuardFallback, APoolThatEndsGivesItsVmasBack) {
    size_t budget = max_map_count() / 4 * 3 / 2;
    if (budget > 100000)
        GTEST_SKIP() << "vm.max_map_count is raised here: too many stacks for a test";
    outcome o = on_an_old_kernel([budget](std::vector<std::string> &failures) {
        for (int round = 0; round < 2; ++round) {
            stack_pool pool(16384, page_size);
            stack_range s;
            for (size_t i = 0; i < budget; ++i)
                EXPECT_IN_CHILD(pool.acquire(&s));
            EXPECT_IN_CHILD(pool.counts().unguarded == 0);
        }
    });
    SKIP_WITHOUT_FILTER(o);
    EXPECT_EQ(o.exit_code, 0) << o.said;
    EXPECT_EQ(o.said, "");
}

} // namespace
