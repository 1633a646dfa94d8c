// SPDX-License-Identifier: Apache-2.0
// The helper threads of loop/offload.h: how they start and end, alone, with their thread, and
// across fork.
#include "tests/loop/offload_fixture.h"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <thread>
#include <vector>

namespace {

class OffloadHelpers : public Offload {};

TEST_F(OffloadHelpers, HelpersWithoutWorkEndByThemselves) {
    __atomic_store_n(&helper_idle_limit_ns, 20 * ns_per_ms, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; ++i)
        go([] {
            int64_t us = 1000;
            offload_function(kind, offload_shared, nap_us, &us, sizeof us, no_deadline);
        });
    co_run();
    EXPECT_TRUE(run_until([] { return offload_helper_count() == 0; }));
}

TEST_F(OffloadHelpers, AnIdleHelperIsUsedAgain) {
    int64_t us = 0;
    int done = 0;
    go([&] {
        for (int i = 0; i < 50; ++i)
            done += offload_function(kind, i % 2 ? offload_own : offload_shared, nap_us, &us,
                                     sizeof us, no_deadline) == 0;
    });
    co_run();
    EXPECT_EQ(done, 50);
    EXPECT_LE(offload_helper_count(), 2U); // the first may not be idle yet when the second comes
}

TEST_F(OffloadHelpers, AThreadMayEndWithACallUnderWay) {
    pipe_pair pipe;
    std::thread([&] {
        go([&] {
            char buffer[4];
            offloaded_read(pipe.fds[0], buffer, 4);
        });
        EXPECT_TRUE(run_until([] { return offload_helper_count() == 1; }));
    }).join();
    ASSERT_EQ(write(pipe.fds[1], "abc", 3), 3);
    EXPECT_TRUE(run_until([] { return late_results == 1; }));
    EXPECT_EQ(last_late_result, 3);
}

TEST_F(OffloadHelpers, AThreadMayEndBeforeItsHelperHasStarted) {
    for (int i = 0; i < 20; ++i)
        std::thread([] {
            stCoRoutine_t *co;
            auto body = [](void *) -> void * {
                int64_t us = 0;
                offload_function(kind, offload_own, nap_us, &us, sizeof us, no_deadline);
                return nullptr;
            };
            ASSERT_EQ(co_create(&co, nullptr, body, nullptr), 0);
            co_resume(co); // parks; no loop runs
        }).join();
    int64_t us = 0, result = -1;
    go([&] { result = offload_function(kind, offload_own, nap_us, &us, sizeof us, no_deadline); });
    co_run();
    EXPECT_EQ(result, 0);
}

// The child has no helpers; it starts its own. (TSan starts no threads after a fork.)
TEST_F(OffloadHelpers, ForkWithACallUnderWay) {
    pipe_pair pipe;
    int64_t result = 0;
    int status = -1;
    go([&] {
        char buffer[4];
        result = offloaded_read(pipe.fds[0], buffer, 4);
    });
    ASSERT_TRUE(run_until([] { return offload_helper_count() == 1; }));
    go([&] {
        pid_t child = fork();
        if (child == 0) {
            int verdict = offload_helper_count() == 0 ? 0 : 1;
#if !CO_TSAN
            int64_t us = 0;
            for (auto how : {offload_own, offload_shared})
                if (offload_function(kind, how, nap_us, &us, sizeof us, no_deadline) != 0)
                    verdict = 2;
#endif
            _exit(verdict);
        }
        waitpid(child, &status, 0);
        EXPECT_EQ(write(pipe.fds[1], "ab", 2), 2);
    });
    co_run();
    EXPECT_EQ(result, 2);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(OffloadHelpers, ForkWaitsUntilNoHelperIsInsideLibc) {
    static std::atomic<bool> inside, over;
    inside = over = false;
    int ignored = 0;
    go([&] {
        auto f = [](void *) -> int64_t {
            inside = true;
            int64_t us = 20000;
            nap_us(&us);
            over = true;
            return 0;
        };
        offload_function(kind, offload_shared, f, &ignored, 4, no_deadline);
    });
    ASSERT_TRUE(run_until([] { return inside.load(); }));
    pid_t child = fork();
    if (child == 0)
        _exit(over ? 0 : 1);
    int status;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 0);
    co_run();
}

TEST_F(OffloadHelpers, EndedHelpersComeBackForCallsThatWaited) {
    int64_t us = 300;
    int done = 0;
    for (int i = 0; i < 60; ++i)
        go([&] {
            done +=
                offload_function(kind, offload_shared, nap_us, &us, sizeof us, no_deadline) == 0;
        });
    ASSERT_TRUE(run_until([&] { return done >= 5; }));
    for (int i = 0; i < 5; ++i) {
        offload_end_helpers();
        loop_turn(current_env(), 0);
    }
    co_run();
    EXPECT_EQ(done, 60);
}

TEST_F(OffloadHelpers, EndedHelpersAreGoneForTheKernelToo) {
    auto threads = [] {
        int n = 0;
        DIR *d = opendir("/proc/self/task");
        while (readdir(d))
            ++n;
        closedir(d);
        return n;
    };
    offload_end_helpers();
    int before = threads();
    int64_t us = 500;
    for (int i = 0; i < 8; ++i)
        go([&] { offload_function(kind, offload_own, nap_us, &us, sizeof us, no_deadline); });
    co_run();
    EXPECT_GT(threads(), before);
    offload_end_helpers();
    EXPECT_EQ(threads(), before);
}

TEST_F(OffloadHelpers, EndingDoesNotWaitForCallsThatWaitForTheCaller) {
    pipe_pair pipe;
    int64_t result = 0;
    go([&] {
        char buffer[4];
        result = offloaded_read(pipe.fds[0], buffer, 4);
    });
    ASSERT_TRUE(run_until([] { return offload_helper_count() == 1; }));
    offload_end_helpers(); // the reader waits for what is written below
    ASSERT_EQ(write(pipe.fds[1], "x", 1), 1);
    co_run();
    EXPECT_EQ(result, 1);
}

TEST_F(OffloadHelpers, HelpersTakeNoSignals) {
    static std::atomic<int> handled;
    handled = 0;
    struct sigaction action {
    }, former;
    action.sa_handler = [](int) { ++handled; };
    sigaction(SIGUSR2, &action, &former);
    sigset_t set, old, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    int64_t us = 100;
    go([&] { offload_function(kind, offload_shared, nap_us, &us, sizeof us, no_deadline); });
    co_run();
    ASSERT_GE(offload_helper_count(), 1U);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    kill(getpid(), SIGUSR2);
    sigpending(&pending);
    EXPECT_EQ(sigismember(&pending, SIGUSR2), 1);
    EXPECT_EQ(handled, 0);
    timespec at_once{};
    sigtimedwait(&set, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
    sigaction(SIGUSR2, &former, nullptr);
}

// contract 39
TEST_F(OffloadHelpers, WorkAfterSetuidIsDoneWithTheNewCredentials) {
#if CO_TSAN
    GTEST_SKIP() << "TSan starts no threads after a fork";
#else
    if (geteuid() != 0)
        GTEST_SKIP() << "needs root";
    temporary_file file; // 0600, root's
    pid_t child = fork();
    if (child == 0) {
        int64_t before = -1, after = -1;
        auto open_it = [&] {
            offload_buffer path{file.path, sizeof file.path, true, false};
            return offload_syscall(kind, offload_shared, SYS_openat,
                                   {AT_FDCWD, address(file.path), O_RDONLY, 0, 0, 0}, &path, 1,
                                   no_deadline, close_late_result);
        };
        go([&] {
            before = open_it();
            offload_end_helpers();
            if (setuid(65534) == 0)
                after = open_it();
        });
        co_run();
        _exit(before >= 0 && after == -EACCES ? 0 : 1);
    }
    int status;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 0);
#endif
}

TEST_F(OffloadHelpers, WithoutThreadsSharedCallsAreMadeInPlaceAndOwnOnesRefused) {
    size_t former = helper_stack_bytes;
    helper_stack_bytes = SIZE_MAX - 0xFFFFF; // more than the address space has
    int64_t us = 0, shared = -1, own = -1;
    go([&] {
        shared = offload_function(kind, offload_shared, nap_us, &us, sizeof us, no_deadline);
        own = offload_function(kind, offload_own, nap_us, &us, sizeof us, no_deadline);
    });
    co_run();
    helper_stack_bytes = former;
    EXPECT_EQ(shared, 0);
    EXPECT_EQ(own, -EAGAIN);
}

// Several threads, deadlines that hit before, while and after a helper is at it, helpers ended under
// way: each call returns once, with its result or its deadline, and nothing else.
TEST_F(OffloadHelpers, ManyThreadsGiveUpAndFinishCallsAtRandom) {
    constexpr int threads = 4, coroutines = 12, calls = 40;
    std::atomic<int> finished{0}, given_up{0}, wrong{0};
    auto work = [&](unsigned seed) {
        for (int c = 0; c < coroutines; ++c)
            go([&, random = seed * 1000 + static_cast<unsigned>(c)]() mutable {
                for (int i = 0; i < calls; ++i) {
                    random = random * 1103515245 + 12345;
                    int64_t us = random >> 16 & 255, before = us;
                    auto how = random >> 25 & 1 ? offload_shared : offload_own;
                    int64_t deadline =
                        random >> 26 & 1 ? deadline_in((random >> 8 & 511) * 1000) : no_deadline;
                    int64_t r = offload_function(kind, how, nap_us, &us, sizeof us, deadline);
                    (r == 0 ? finished : given_up) += 1;
                    wrong += us != before || (r != 0 && r != -ETIMEDOUT) ||
                             (r != 0 && deadline == no_deadline);
                    if (random % 61 == 0)
                        offload_end_helpers();
                }
            });
        co_run();
    };
    std::vector<std::thread> all;
    for (unsigned t = 0; t < threads; ++t)
        all.emplace_back(work, t);
    for (std::thread &t : all)
        t.join();
    EXPECT_EQ(finished + given_up, threads * coroutines * calls);
    EXPECT_EQ(wrong, 0);
    EXPECT_GT(finished, 0);
    EXPECT_GT(given_up, 0);
}

} // namespace
