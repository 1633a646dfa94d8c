// SPDX-License-Identifier: Apache-2.0
// Shared stacks, a million times.
#include "tests/core/core_fixture.h"

#include <atomic>
#include <cstdlib>

// ---- Every malloc of this program is counted. Under ASan its own hook says so; else malloc is ours.

namespace {
std::atomic<long> mallocs;
}

#if CO_ASAN
extern "C" void __sanitizer_malloc_hook(const volatile void *, size_t) { ++mallocs; }
#elif !CO_TSAN
extern "C" {
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);
void *malloc(size_t bytes) {
    ++mallocs;
    return __libc_malloc(bytes);
}
void *calloc(size_t count, size_t bytes) {
    ++mallocs;
    return __libc_calloc(count, bytes);
}
void *realloc(void *block, size_t bytes) {
    ++mallocs;
    return __libc_realloc(block, bytes);
}
}
#endif

namespace {

using SharedSwaps = CoreTest;

bool mallocs_are_counted() {
    long seen = mallocs;
    void *volatile block = malloc(100); // volatile: the pair is not optimised away
    free(block);
    return mallocs > seen;
}

long turns_done, wrong_canaries;

// A canary in every frame of a recursion that yields at each depth, on the way down and up.
CO_NO_SANITIZE __attribute__((noinline)) void frames(uint32_t id, uint32_t depth) {
    volatile uint32_t canary[16];
    for (uint32_t i = 0; i < 16; ++i)
        canary[i] = id * 2654435769U + depth * 16 + i;
    co_yield_ct();
    ++turns_done;
    if (depth > 0)
        frames(id, depth - 1);
    co_yield_ct();
    ++turns_done;
    for (uint32_t i = 0; i < 16; ++i)
        wrong_canaries += canary[i] != id * 2654435769U + depth * 16 + i;
}

// The same, instrumented: under ASan its frames have red zones, which must travel too.
__attribute__((noinline)) void sanitized_frames(uint32_t id, uint32_t depth) {
    volatile uint32_t canary[16];
    for (uint32_t i = 0; i < 16; ++i)
        canary[i] = id * 2654435769U + depth * 16 + i;
    co_yield_ct();
    ++turns_done;
    if (depth > 0)
        sanitized_frames(id, depth - 1);
    co_yield_ct();
    ++turns_done;
    for (uint32_t i = 0; i < 16; ++i)
        wrong_canaries += canary[i] != id * 2654435769U + depth * 16 + i;
}

struct endless_frames {
    uint32_t id;
    void operator()() const {
        for (uint32_t depth = 1;; depth = depth % 20 + 1) {
            frames(id, depth);
            sanitized_frames(id, depth);
        }
    }
};

// contract 14: two coroutines, one stack, 10^6 swaps, canaries in every frame; i386 and x86_64, and
// under ASan with detect_stack_use_after_return=1.
TEST_F(SharedSwaps, TwoOnOneStackKeepTheCanariesOfAllTheirFrames) {
    turns_done = wrong_canaries = 0;
    stCoRoutine_t *both[2] = {make(endless_frames{1}, Stack::shared_one),
                              make(endless_frames{2}, Stack::shared_one)};
    long swaps = rounds(1000000);
    co_stats before = stats();
    for (long i = 0; i < swaps / 2; ++i)
        co_resume(both[i % 2]); // there and back: two swaps
    EXPECT_GE(stats().switches - before.switches, static_cast<uint64_t>(swaps));
    EXPECT_GE(turns_done, swaps / 2 - 2);
    EXPECT_EQ(wrong_canaries, 0);
    EXPECT_GE(stats().copies - before.copies, static_cast<uint64_t>(swaps) - 4)
        << "each resume takes the other out and brings this one in";
}

// contract 14: many, in an order that repeats only after a long while.
TEST_F(SharedSwaps, ManyOnOneStackKeepThemToo) {
    turns_done = wrong_canaries = 0;
    std::vector<stCoRoutine_t *> all;
    for (uint32_t i = 0; i < 50; ++i)
        all.push_back(make(endless_frames{i}, Stack::shared_one));
    uint32_t random = 1;
    for (long i = 0; i < rounds(500000); ++i) {
        random = random * 1664525 + 1013904223;
        co_resume(all[(random >> 16) % all.size()]);
    }
    EXPECT_EQ(wrong_canaries, 0);
    EXPECT_GT(turns_done, 0);
}

// contract 14: on the stack of the very one that resumes: the courier's way.
TEST_F(SharedSwaps, OneThatResumesAnotherOnItsOwnStackKeepsThemToo) {
    turns_done = wrong_canaries = 0;
    stCoRoutine_t *inner = make(endless_frames{3}, Stack::shared_one);
    stCoRoutine_t *outer = make(
        [inner] {
            volatile uint32_t mine[32];
            for (uint32_t i = 0; i < 32; ++i)
                mine[i] = i * 77;
            for (long turn = 0; turn < rounds(250000); ++turn) {
                co_resume(inner);
                wrong_canaries += mine[turn % 32] != static_cast<uint32_t>(turn % 32 * 77);
            }
        },
        Stack::shared_one);
    co_resume(outer);
    EXPECT_EQ(wrong_canaries, 0);
    EXPECT_GE(turns_done, rounds(250000) - 1);
}

// contract 16: at depths that swing, so that buffers grow, loosen and shrink before the counting.
TEST_F(SharedSwaps, AMillionSteadySwapsCallMallocNotOnce) {
    std::vector<stCoRoutine_t *> all;
    for (uint32_t i = 0; i < 10; ++i)
        all.push_back(make(endless_frames{i}, Stack::shared_one));
    long swaps = rounds(1000000);
    auto run = [&](long resumes) {
        for (long i = 0; i < resumes; ++i)
            co_resume(all[static_cast<size_t>(i) % all.size()]);
    };
    run(20000);
    if (!mallocs_are_counted())
        GTEST_SKIP() << "mallocs cannot be counted in this build";
    long seen = mallocs;
    run(swaps / 2);
    EXPECT_EQ(mallocs - seen, 0);
}

// contract 16: and the loop, sleeps included, does not either.
TEST_F(SharedSwaps, ALoopOfYieldsAndSleepsCallsMallocNotOnce) {
    if (!mallocs_are_counted())
        GTEST_SKIP() << "mallocs cannot be counted in this build";
    static long steady_from, steady_mallocs;
    steady_mallocs = -1;
    for (int i = 0; i < 10; ++i)
        start_detached(
            [i] {
                const long turns = rounds(20000);
                for (long turn = 0; turn < turns; ++turn) {
                    if (i == 0 && turn == turns / 4)
                        steady_from = mallocs;
                    turn % 100 == 99 ? void(co_sleep_ms(0)) : co_yield_now();
                }
                if (i == 0)
                    steady_mallocs = mallocs - steady_from;
            },
            i % 2 ? Stack::shared_one : Stack::private_one);
    co_run();
    EXPECT_EQ(steady_mallocs, 0);
}

// contract 16
TEST_F(SharedSwaps, TheOccupantComesBackAMillionTimesWithoutACopy) {
    stCoRoutine_t *co = make(endless_frames{1}, Stack::shared_one);
    co_resume(co);
    co_stats before = stats();
    for (long i = 0; i < rounds(1000000); ++i)
        co_resume(co);
    EXPECT_EQ(stats().copies, before.copies);
    EXPECT_EQ(stats().bytes_copied, before.bytes_copied);
}

} // namespace
