// SPDX-License-Identifier: Apache-2.0
// Calls made by helper threads: what the caller sees of loop/offload.h.
#include "tests/loop/offload_fixture.h"

#include "co_routine/core/cancel.h"
#include "co_routine/loop/fd_events.h"

#include <cstring>
#include <string_view>
#include <sys/file.h>
#include <sys/mman.h>
#include <vector>

namespace {

// contract 37
TEST_F(Offload, ReadsIntoStackBuffersOfTwoCoroutinesOnOneSharedStack) {
    constexpr size_t bytes = 64 * 1024;
    constexpr int rounds = 20;
    temporary_file file;
    for (char c : {'a', 'b'}) {
        std::vector<char> block(bytes, c);
        ASSERT_EQ(write(file.fd, block.data(), bytes), static_cast<ssize_t>(bytes));
    }
    stShareStack_t *stack = co_alloc_sharestack(1, 1024 * 1024);
    int good = 0;
    for (int which : {0, 1})
        go(
            [&, which] {
                struct {
                    uint64_t before[16];
                    char data[bytes];
                    uint64_t after[16];
                } frame;
                for (int i = 0; i < rounds; ++i) {
                    memset(&frame, 0x5A + which, sizeof frame);
                    long offset = which * static_cast<long>(bytes);
                    offload_buffer out{frame.data, bytes, false, true, true};
                    int64_t n = offload_syscall(
                        kind, offload_shared, SYS_pread64,
                        {file.fd, address(frame.data), static_cast<long>(bytes), offset, 0, 0},
                        &out, 1, no_deadline);
                    bool ok = n == static_cast<int64_t>(bytes);
                    for (char c : frame.data)
                        ok &= c == 'a' + which;
                    uint64_t canary;
                    memset(&canary, 0x5A + which, sizeof canary);
                    for (int k = 0; k < 16; ++k)
                        ok &= frame.before[k] == canary && frame.after[k] == canary;
                    good += ok;
                }
            },
            nullptr, stack);
    co_run();
    EXPECT_EQ(good, 2 * rounds);
    EXPECT_EQ(co_release_sharestack(stack), 0);
}

// contract 39
TEST_F(Offload, SixtyFourWaitersForALockDoNotKeepItsHolderFromFsync) {
    constexpr int waiters = 64;
    temporary_file file;
    ASSERT_EQ(flock(file.fd, LOCK_EX), 0);
    int64_t synced = -1;
    int locked = 0;
    for (int i = 0; i < waiters; ++i)
        go([&] {
            int fd = open(file.path, O_RDWR | O_CLOEXEC);
            int64_t r = offload_syscall(fd_kind, offload_own, SYS_flock, {fd, LOCK_EX, 0, 0, 0, 0},
                                        nullptr, 0, no_deadline);
            locked += r == 0 && synced == 0;
            flock(fd, LOCK_UN);
            close(fd);
        });
    go([&] {
        while (offload_helper_count() < waiters)
            co_sleep_ms(1);
        synced = offload_syscall(kind, offload_shared, SYS_fsync, {file.fd, 0, 0, 0, 0, 0}, nullptr,
                                 0, no_deadline);
        flock(file.fd, LOCK_UN);
    });
    co_run();
    EXPECT_EQ(synced, 0);
    EXPECT_EQ(locked, waiters);
}

TEST_F(Offload, TwoHundredSharedCallsUseAtMostEightHelpers) {
    struct gauge {
        std::atomic<int> inside{0}, most{0};
    } gauge;
    int done = 0;
    for (int i = 0; i < 200; ++i)
        go([&] {
            auto *g = &gauge;
            auto measure = [](void *p) -> int64_t {
                auto *seen = *static_cast<struct gauge **>(p);
                int now = ++seen->inside, most = seen->most;
                while (now > most && !seen->most.compare_exchange_weak(most, now)) {
                }
                int64_t us = 500;
                nap_us(&us);
                --seen->inside;
                return 7;
            };
            done += offload_function(kind, offload_shared, measure, &g, sizeof g, no_deadline) == 7;
        });
    size_t most_helpers = 0;
    ASSERT_TRUE(run_until([&] {
        most_helpers = std::max(most_helpers, offload_helper_count());
        return done == 200;
    }));
    EXPECT_LE(most_helpers, max_shared_helpers);
    EXPECT_LE(gauge.most, static_cast<int>(max_shared_helpers));
    EXPECT_GE(gauge.most, 2);
}

TEST_F(Offload, ACancelledCallLeavesItsMemoryToTheHelper) {
    pipe_pair pipe;
    stCoRoutine_t *reader;
    bool unwound = false;
    go(
        [&] {
            struct on_exit {
                bool *flag;
                ~on_exit() { *flag = true; }
            } guard{&unwound};
            char buffer[16];
            leave_wait(static_cast<int>(-offloaded_read(pipe.fds[0], buffer, sizeof buffer)));
        },
        &reader);
    ASSERT_TRUE(run_until([] { return offload_helper_count() == 1; }));
    ASSERT_EQ(co_cancel(reader), 0);
    void *result = nullptr;
    ASSERT_EQ(co_join(reader, &result), 0);
    EXPECT_EQ(result, CO_CANCELED);
    EXPECT_TRUE(unwound);
    co_release(reader);
    EXPECT_EQ(late_results, 0);
    ASSERT_EQ(write(pipe.fds[1], "late", 4), 4);
    EXPECT_TRUE(run_until([] { return late_results == 1; }));
    EXPECT_EQ(last_late_result, 4);
}

// As a signal does it: what the helper takes belongs to this read, whatever wakes its coroutine.
TEST_F(Offload, ACancelAfterTheCallLeavesItsBytesToTheReadAndEndsTheNextWait) {
    pipe_pair pipe;
    coroutine *reader = nullptr;
    int64_t first = 0, second = 0;
    char buffer[4] = {};
    EXPECT_FALSE(cancel_after_offload(current_env()->running));
    go([&] {
        reader = current_env()->running;
        first = offloaded_read(pipe.fds[0], buffer, sizeof buffer);
        second = offloaded_read(pipe.fds[0], buffer, sizeof buffer);
        reader->clear(flag_cancel);
        reader->clear(flag_cancel_errno);
        reader = nullptr;
    });
    ASSERT_TRUE(run_until([] { return offload_helper_count() == 1; }));
    ASSERT_TRUE(cancel_after_offload(reader));
    unpark(reader);
    ASSERT_TRUE(run_until([&] { return reader->state == co_state::parked; }));
    ASSERT_EQ(write(pipe.fds[1], "byte", 4), 4);
    ASSERT_TRUE(run_until([&] { return !reader; }));
    EXPECT_EQ(first, 4);
    EXPECT_EQ(std::string_view(buffer, 4), "byte");
    EXPECT_EQ(second, -ECANCELED);
    EXPECT_EQ(late_results, 0);
}

TEST_F(Offload, ACallThatNoHelperHasBegunIsTakenBack) {
    static std::atomic<int> inside, begun;
    static std::atomic<bool> hold;
    inside = begun = 0;
    hold = true;
    int ignored = 0;
    auto block = [](void *) -> int64_t {
        ++inside;
        int64_t us = 200;
        while (hold)
            nap_us(&us);
        return 0;
    };
    for (unsigned i = 0; i < max_shared_helpers; ++i)
        go([&] { offload_function(kind, offload_shared, block, &ignored, 4, no_deadline); });
    ASSERT_TRUE(run_until([&] { return inside == static_cast<int>(max_shared_helpers); }));
    int64_t result = 0;
    stCoRoutine_t *ninth;
    auto begin = [](void *) -> int64_t { return ++begun; };
    go(
        [&] {
            co_cancel_mode(CO_CANCEL_ERRNO);
            result = offload_function(kind, offload_shared, begin, &ignored, 4, no_deadline);
        },
        &ninth);
    loop_turn(current_env(), 0);
    co_cancel(ninth);
    EXPECT_EQ(co_join(ninth, nullptr), 0);
    EXPECT_EQ(result, -ECANCELED);
    co_release(ninth);
    hold = false;
    co_run();
    EXPECT_EQ(begun, 0);
}

TEST_F(Offload, OnLateHearsOnceOfEveryCallThatIsGivenUp) {
    pipe_pair pipe;
    char buffer[4];
    stCoRoutine_t *reader;
    // Before any helper: never made.
    go([&] { offloaded_read(pipe.fds[0], buffer, 4); }, &reader);
    co_resume(reader);
    co_release(reader);
    EXPECT_EQ(late_results, 1);
    EXPECT_EQ(last_late_result, -ECANCELED);
    // While a helper is in it.
    go([&] { offloaded_read(pipe.fds[0], buffer, 4); }, &reader);
    ASSERT_TRUE(run_until([] { return offload_helper_count() == 1; }));
    co_release(reader);
    EXPECT_EQ(late_results, 1);
    ASSERT_EQ(write(pipe.fds[1], "x", 1), 1);
    ASSERT_TRUE(run_until([] { return late_results == 2; }));
    EXPECT_EQ(last_late_result, 1);
    // When the result is there, but not taken yet.
    go([&] { offloaded_read(pipe.fds[0], buffer, 4); }, &reader);
    co_resume(reader);
    loop_turn(current_env(), 0); // starts a helper, if the former one is not idle yet
    ASSERT_EQ(write(pipe.fds[1], "yz", 2), 2);
    int64_t until = now_ns() + 10 * ns_per_s;
    while (__atomic_load_n(&reader->pending, __ATOMIC_ACQUIRE) == 0 && now_ns() < until) {
    }
    ASSERT_NE(reader->pending, 0U);
    co_release(reader);
    EXPECT_EQ(late_results, 3);
    EXPECT_EQ(last_late_result, 2);
    // And not of one that came to its end.
    ASSERT_EQ(write(pipe.fds[1], "end", 3), 3);
    go([&] { EXPECT_EQ(offloaded_read(pipe.fds[0], buffer, 4), 3); });
    co_run();
    EXPECT_EQ(late_results, 3);
}

TEST_F(Offload, ADeadlineEndsTheWaitAndNotTheCall) {
    pipe_pair pipe;
    int64_t result = 0;
    go([&] {
        char buffer[4];
        result = offloaded_read(pipe.fds[0], buffer, 4, deadline_in_ms(5));
    });
    co_run();
    EXPECT_EQ(result, -ETIMEDOUT);
    ASSERT_EQ(write(pipe.fds[1], "x", 1), 1);
    EXPECT_TRUE(run_until([] { return late_results == 1; }));
}

TEST_F(Offload, ClosingTheDescriptorEndsTheWaitOfAnOwnCall) {
    pipe_pair pipe;
    int64_t result = 0;
    go([&] {
        char buffer[4];
        result = offloaded_read(pipe.fds[0], buffer, 4);
    });
    ASSERT_TRUE(run_until([] { return offload_helper_count() == 1; }));
    fd_forget(pipe.fds[0]);
    co_run();
    EXPECT_EQ(result, -EBADF);
    ASSERT_EQ(write(pipe.fds[1], "x", 1), 1);
    EXPECT_TRUE(run_until([] { return late_results == 1; }));
}

TEST_F(Offload, AddressesThatAreNotTheProgramsGiveEfault) {
    temporary_file file;
    ASSERT_EQ(write(file.fd, "data", 4), 4);
    void *closed = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int64_t in = 0, out = 0;
    go([&] {
        offload_buffer from{closed, 4, true, false};
        in = offload_syscall(kind, offload_shared, SYS_pwrite64,
                             {file.fd, address(closed), 4, 0, 0, 0}, &from, 1, no_deadline);
        offload_buffer to{closed, 4, false, true, true};
        out = offload_syscall(kind, offload_shared, SYS_pread64,
                              {file.fd, address(closed), 4, 0, 0, 0}, &to, 1, no_deadline);
    });
    co_run();
    EXPECT_EQ(in, -EFAULT);
    EXPECT_EQ(out, -EFAULT);
    munmap(closed, 4096);
}

TEST_F(Offload, AShortReadLeavesTheRestOfTheBufferAlone) {
    temporary_file file;
    ASSERT_EQ(write(file.fd, "data", 4), 4);
    for (bool counted : {true, false}) {
        char buffer[9] = "********";
        int64_t n = 0;
        go([&] {
            offload_buffer to{buffer, 8, false, true, counted};
            n = offload_syscall(kind, offload_shared, SYS_pread64,
                                {file.fd, address(buffer), 8, 0, 0, 0}, &to, 1, no_deadline);
        });
        co_run();
        EXPECT_EQ(n, 4);
        EXPECT_STREQ(buffer, "data****");
    }
}

TEST_F(Offload, BounceMemoryIsAlignedAsTheBufferIs) {
    alignas(4096) static char pages[8192];
    pages[0] = 1; // in memory
    unsigned char resident[2] = {};
    int64_t result = -1;
    go([&] {
        offload_buffer buffers[] = {{pages, sizeof pages, true, false},
                                    {resident, sizeof resident, false, true}};
        result = offload_syscall(kind, offload_shared, SYS_mincore, // EINVAL: not a whole page
                                 {address(pages), sizeof pages, address(resident), 0, 0, 0},
                                 buffers, 2, no_deadline);
    });
    co_run();
    EXPECT_EQ(result, 0);
    EXPECT_EQ(resident[0] & 1, 1);
}

TEST_F(Offload, OutsideACoroutineTheThreadsOwnStackWaits) {
    int64_t us = 100;
    EXPECT_EQ(offload_function(kind, offload_shared, nap_us, &us, sizeof us, no_deadline), 0);
}

TEST_F(Offload, CallsAreCounted) {
    co_stats before{}, after{};
    co_get_stats(&before);
    int64_t us = 0;
    offload_function(kind, offload_shared, nap_us, &us, sizeof us, no_deadline);
    co_get_stats(&after);
    EXPECT_EQ(after.offloads - before.offloads, 1U);
}

} // namespace
