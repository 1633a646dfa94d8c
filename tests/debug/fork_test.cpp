// SPDX-License-Identifier: Apache-2.0
// A child of fork, while another thread of its parent's is in the middle of what the reports are made with.
#include "co_routine/co_routine.h"
#include "co_routine/debug/blocked.h"
#include "co_routine/debug/stretches.h"
#include "co_routine/debug/symbol_names.h"
#include "co_routine/debug/unwinder.h"

#include "tests/debug/child.h"

#include <atomic>
#include <csignal>
#include <cstring>
#include <gtest/gtest.h>
#include <thread>

using namespace corun;

namespace {

// Its exit status, or -1: after ten seconds it is killed.
int end_of(pid_t child) {
    for (int ms = 0; ms < 10000; ++ms) {
        int status = 0;
        if (waitpid(child, &status, WNOHANG) == child)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
        usleep(1000);
    }
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    return -1;
}

// Forks while another thread is at it. The first end that is not 0, of so many children.
template <class Busy, class Look> int fork_beside(int children, Busy busy, Look look) {
    std::atomic<bool> has_begun{false}, ends{false};
    std::thread other([&] {
        while (!ends) {
            busy();
            has_begun = true;
        }
    });
    while (!has_begun)
        std::this_thread::yield();
    int first = 0;
    for (int i = 0; i < children && first == 0; ++i) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(look());
        first = end_of(pid);
    }
    ends = true;
    other.join();
    return first;
}

class ForkedChild : public testing::Test {
    void TearDown() override { stretches_after_fork_in_child(); }
};

TEST_F(ForkedChild, HasNoneOfItsParentsStretchesAndNoLockOfThem) {
    stretch s;
    s.lasted_ns = 1;
    keep_stretch(s);
    EXPECT_EQ(0, fork_beside(
                     200, [&] { keep_stretch(s); },
                     [] {
                         stretch any;
                         return kept_stretch(0, &any) ? 2 : 0;
                     }));
    EXPECT_TRUE(kept_stretch(0, &s));
}

TEST_F(ForkedChild, HasNoWatcherAndNoLockOfIt) {
    EXPECT_EQ(0,
              fork_beside(
                  200, [] { watcher_is_running(); }, [] { return watcher_is_running() ? 2 : 0; }));
}

void *fork_while_watched(void *) {
    if (!watcher_is_running())
        _exit(2);
    pid_t pid = fork();
    if (pid == 0) {
        bool had_one = watcher_is_running();
        co_yield_now(); // the next turn
        _exit(had_one ? 3 : watcher_is_running() ? 0 : 4);
    }
    _exit(end_of(pid));
}

TEST_F(ForkedChild, DISABLED_IsWatched) {
    stCoRoutine_t *co = nullptr;
    co_go(&co, nullptr, fork_while_watched, nullptr);
    co_run();
}

TEST_F(ForkedChild, IsWatchedFromItsNextTurnOn) {
    if (under_tsan)
        GTEST_SKIP() << "ThreadSanitizer starts no threads in the child of a fork";
    child_result r = in_fresh_process("ForkedChild.DISABLED_IsWatched", {"CORUN_DEBUG=blocked"});
    EXPECT_TRUE(r.exited_with(0)) << r.status << r.text;
}

__attribute__((noinline)) int function_with_a_name(int i) {
    __asm__ volatile("" : "+r"(i));
    return i + 1;
}

TEST_F(ForkedChild, FindsNames) {
    auto find = [] {
        code_name name;
        return name_code(reinterpret_cast<uintptr_t>(&function_with_a_name), &name) &&
               strstr(name.function, "function_with_a_name");
    };
    ASSERT_TRUE(find());
    EXPECT_EQ(0, fork_beside(
                     200,
                     [&] {
                         forget_names();
                         find();
                     },
                     [&] { return find() ? 0 : 2; }));
}

// In both ways of walking.
__attribute__((noinline)) void *walk_and_wait(void *frames) {
    void *pcs[8];
    *static_cast<int *>(frames) = co_backtrace(co_self(), pcs, 8);
    co_yield_to_resumer(co_self());
    return nullptr;
}
bool finds_frames() {
    int running = 0;
    stCoRoutine_t *co = nullptr;
    co_create(&co, nullptr, walk_and_wait, &running);
    co_resume(co);
    void *pcs[8];
    int suspended = co_backtrace(co, pcs, 8);
    co_resume(co);
    co_release(co);
    return running > 0 && suspended > 0;
}

TEST_F(ForkedChild, WalksWithLibunwindAsItsParentDoes) {
    ASSERT_TRUE(finds_frames());
    pid_t pid = fork();
    if (pid == 0)
        _exit(finds_frames() && libunwind_loaded() ? 1 : 0);
    EXPECT_EQ(libunwind_loaded() ? 1 : 0, end_of(pid));
}

TEST_F(ForkedChild, WalksWhoeverWalkedAtTheFork) {
    ASSERT_TRUE(finds_frames());
    EXPECT_EQ(0, fork_beside(300, finds_frames, [] { return finds_frames() ? 0 : 2; }));
}

} // namespace
