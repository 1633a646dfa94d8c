// SPDX-License-Identifier: Apache-2.0
// How a coroutine is asked for, and what it carries with it: name, errno, stack use.
#include "tests/core/core_fixture.h"

#include <climits>
#include <cstring>
#include <thread>

extern "C" void *entry_that_uses_movaps(void *argument); // assembly_frames_test.S

using namespace corun;

namespace {

using Create = CoreTest;

void *nothing(void *) { return nullptr; }

int create_error(int stack_size, int guard_size) {
    stCoRoutineAttr_t attr;
    attr.stack_size = stack_size;
    attr.guard_size = guard_size;
    stCoRoutine_t *co = nullptr;
    int error = co_create(&co, &attr, nothing, nullptr);
    if (error == 0)
        co_release(co);
    return error;
}

TEST_F(Create, RefusesWhatCannotBe) {
    stCoRoutine_t *co = nullptr;
    EXPECT_EQ(co_create(nullptr, nullptr, nothing, nullptr), EINVAL);
    EXPECT_EQ(co_create(&co, nullptr, nullptr, nullptr), EINVAL);
    EXPECT_EQ(create_error((1 << 30) + 1, 0), EINVAL);
    EXPECT_EQ(create_error(0, (1 << 30) + 1), EINVAL);
    EXPECT_EQ(create_error(INT_MAX, INT_MAX), EINVAL);
    EXPECT_EQ(co, nullptr);
}

TEST_F(Create, TakesAnySizeUpToAGiBAndZeroForTheDefault) {
    for (int size : {0, -1, INT_MIN, 1, 4095, 16384, 100001, 8 << 20})
        EXPECT_EQ(create_error(size, 0), 0) << size;
    for (int guard : {0, -1, INT_MIN, 1, 4096, 1 << 20})
        EXPECT_EQ(create_error(0, guard), 0) << guard;
}

TEST_F(Create, NeedsNoAttributes) {
    stCoRoutine_t *co = nullptr;
    ASSERT_EQ(co_create(&co, nullptr, nothing, nullptr), 0);
    co_resume(co);
    co_release(co);
}

TEST_F(Create, RefusesTheSharedStacksOfAnotherThread) {
    stShareStack_t *group = stacks();
    std::thread([group] {
        stCoRoutineAttr_t attr;
        attr.share_stack = group;
        stCoRoutine_t *co = nullptr;
        EXPECT_EQ(co_create(&co, &attr, nothing, nullptr), EINVAL);
        EXPECT_EQ(co_release_sharestack(group), EINVAL);
    }).join();
}

TEST_F(Create, GivesAtLeastTheStackThatWasAskedFor) {
    stCoRoutineAttr_t attr;
    attr.stack_size = 300 * 1024;
    bool whole = false;
    stCoRoutine_t *co = make_with(attr, [&] {
        char frame[290 * 1024];
        memset(frame, 1, sizeof frame);
        whole = frame[0] == 1 && frame[sizeof frame - 1] == 1;
    });
    co_resume(co);
    EXPECT_TRUE(whole);
}

#if defined(__i386__) // 64 bits of address space do not run out
TEST_F(Create, AStackThatDoesNotFitGivesEnomem) {
    std::vector<stCoRoutine_t *> all;
    stCoRoutineAttr_t attr;
    attr.stack_size = 1 << 30;
    int error = 0;
    for (stCoRoutine_t *co; (error = co_create(&co, &attr, nothing, nullptr)) == 0;)
        all.push_back(co);
    EXPECT_EQ(error, ENOMEM);
    EXPECT_LE(all.size(), 3U);
    for (stCoRoutine_t *co : all)
        co_release(co);
}
#endif

struct Alignment : EachStack {};
ON_EACH_STACK(Alignment);

// contract 6: movaps right at the entry faults unless the stack stands as after a call.
TEST_P(Alignment, TheEntryFunctionFindsTheStackAlignedTo16) {
    for (int size : {16384, 16385, 20000, 131072, 1000001}) {
        stCoRoutineAttr_t attr = attr_for(GetParam());
        attr.stack_size = size;
        stCoRoutine_t *co = nullptr;
        ASSERT_EQ(co_create(&co, &attr, entry_that_uses_movaps, this), 0);
        co_resume(co);
        EXPECT_EQ(stats().now_ended, 1U);
        void *result = nullptr;
        EXPECT_EQ(co_join(co, &result), 0);
        EXPECT_EQ(result, this);
        co_release(co);
    }
}

// contract 6: many at once, because stacks start at different colours.
TEST_P(Alignment, OnEveryOneOfManyStacks) {
    stCoRoutineAttr_t attr = attr_for(GetParam());
    std::vector<stCoRoutine_t *> all(200);
    for (stCoRoutine_t *&co : all)
        ASSERT_EQ(co_create(&co, &attr, entry_that_uses_movaps, nullptr), 0);
    for (stCoRoutine_t *co : all) {
        co_resume(co);
        co_release(co);
    }
}

using Name = CoreTest;

TEST_F(Name, IsCopiedCutAt63BytesAndTakenAwayByNull) {
    stCoRoutine_t *co = make([] {});
    EXPECT_EQ(co_get_name(co), nullptr);
    char text[100];
    memset(text, 'n', sizeof text);
    text[99] = '\0';
    EXPECT_EQ(co_set_name(co, text), 0);
    text[0] = 'X';
    EXPECT_EQ(co_get_name(co), std::string(63, 'n'));
    EXPECT_EQ(co_set_name(co, "short"), 0);
    EXPECT_STREQ(co_get_name(co), "short");
    EXPECT_EQ(co_set_name(co, nullptr), 0);
    EXPECT_EQ(co_get_name(co), nullptr);
    EXPECT_EQ(co_get_name(nullptr), nullptr);
}

TEST_F(Name, TakingAwayWhatIsNotThereIsFine) {
    stCoRoutine_t *co = make([] {});
    EXPECT_EQ(co_set_name(co, nullptr), 0);
    EXPECT_EQ(co_get_name(co), nullptr);
}

struct Errno : EachStack {};
ON_EACH_STACK(Errno);

// contract 29: each coroutine's own, and the thread's too.
TEST_P(Errno, IsEachCoroutinesOwnAcrossYields) {
    std::vector<stCoRoutine_t *> all;
    int wrong = 0;
    for (int i = 1; i <= 10; ++i)
        all.push_back(make([i, &wrong] {
            wrong += errno != 0; // a new one begins with none
            for (int turn = 0; turn < 5; ++turn) {
                errno = i * 100 + turn;
                co_yield_ct();
                wrong += errno != i * 100 + turn;
            }
        }));
    errno = 7;
    for (int turn = 0; turn < 6; ++turn)
        for (stCoRoutine_t *co : all) {
            co_resume(co);
            ASSERT_EQ(errno, 7);
        }
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(stats().now_ended, 10U);
}

TEST_P(Errno, IsEachCoroutinesOwnInTheLoop) {
    int wrong = 0;
    for (int i = 1; i <= 10; ++i)
        start_detached([i, &wrong] {
            for (int turn = 0; turn < 20; ++turn) {
                errno = i;
                turn % 5 == 4 ? void(co_sleep_ms(1)) : co_yield_now();
                wrong += errno != i;
            }
        });
    errno = 7;
    co_run();
    EXPECT_EQ(errno, 7);
    EXPECT_EQ(wrong, 0);
}

using HighWater = CoreTest;

// Not sanitized: with ASan's use-after-return frames stand on the heap.
CO_NO_SANITIZE __attribute__((noinline)) int use_stack(int kilobytes) {
    volatile char frame[1024];
    frame[0] = static_cast<char>(kilobytes | 1);
    return kilobytes > 1 ? use_stack(kilobytes - 1) + frame[0] : frame[0];
}

TEST_F(HighWater, OfAPrivateStackIsTheDeepestUseEver) {
    stCoRoutineAttr_t attr;
    attr.stack_size = 516 * 1024; // a pool of its own: no former users
    stCoRoutine_t *co = make_with(attr, [] {
        co_yield_ct();
        use_stack(100);
        co_yield_ct();
    });
    co_resume(co);
    EXPECT_LT(co_stack_high_water(co), 32U * 1024);
    co_resume(co);
    size_t deep = co_stack_high_water(co);
    EXPECT_GE(deep, 100U * 1024);
    EXPECT_LE(deep, 516U * 1024);
    co_resume(co);
    EXPECT_EQ(co_stack_high_water(co), deep) << "it has ended, the mark stays";
}

CO_NO_SANITIZE __attribute__((noinline)) void yield_in_40_kib() {
    volatile char frame[40 * 1024];
    frame[0] = 1;
    co_yield_ct();
    EXPECT_EQ(frame[0], 1);
}

TEST_F(HighWater, OfASharedStackIsTheMostThatWasEverSavedOrIsInUse) {
    stCoRoutine_t *co = make(yield_in_40_kib, Stack::shared_one);
    EXPECT_EQ(co_stack_high_water(co), 0U);
    co_resume(co);
    EXPECT_GE(co_stack_high_water(co), 40U * 1024) << "in use, in place";
    stCoRoutine_t *other = make([] {}, Stack::shared_one);
    co_resume(other); // takes the stack
    EXPECT_GE(co_stack_high_water(co), 40U * 1024) << "out";
    co_resume(co);
    EXPECT_GE(co_stack_high_water(co), 40U * 1024) << "after its end";
    EXPECT_LT(co_stack_high_water(co), 64U * 1024);
}

} // namespace
