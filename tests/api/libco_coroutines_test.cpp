// SPDX-License-Identifier: Apache-2.0
// libco's names for coroutines, and what they do.
#include "co_routine/co_routine.h"
#include "co_routine/co_routine_inner.h"
#include "tests/api/no_coroutine_left.h"

#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

using LibcoCoroutines = NoCoroutineLeft;

std::string trace;

void *say_abc(void *) {
    trace += 'a';
    co_yield_ct();
    trace += 'b';
    co_yield_to_resumer(co_self());
    trace += 'c';
    return nullptr;
}

stCoRoutine_t *make(void *(*routine)(void *), void *arg = nullptr,
                    const stCoRoutineAttr_t *attr = nullptr) {
    stCoRoutine_t *co = nullptr;
    EXPECT_EQ(0, co_create(&co, attr, routine, arg));
    return co;
}

} // namespace

// contract 7
TEST_F(LibcoCoroutines, CreateDoesNotRunAndEachResumeRunsToTheNextYield) {
    trace.clear();
    stCoRoutine_t *co = make(say_abc);
    EXPECT_EQ("", trace);
    for (const char *so_far : {"a", "ab", "abc"}) {
        co_resume(co);
        EXPECT_EQ(so_far, trace);
    }
    co_release(co);
}

TEST_F(LibcoCoroutines, TheArgumentArrives) {
    int seen = 0;
    stCoRoutine_t *co = make(
        [](void *at) -> void * {
            *static_cast<int *>(at) = 7;
            return nullptr;
        },
        &seen);
    co_resume(co);
    EXPECT_EQ(7, seen);
    co_release(co);
}

TEST_F(LibcoCoroutines, ResetLetsOneThatEndedRunAgainFromTheStart) {
    trace.clear();
    stCoRoutine_t *co = make(say_abc);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++)
            co_resume(co);
        co_reset(co);
    }
    EXPECT_EQ("abcabcabc", trace);
    co_release(co);
}

TEST_F(LibcoCoroutines, ReleaseDropsASuspendedOneWhereItStands) {
    trace.clear();
    stCoRoutine_t *co = make(say_abc);
    co_resume(co);
    co_release(co);
    EXPECT_EQ("a", trace);
    co_release(nullptr);
}

TEST_F(LibcoCoroutines, SelfIsTheRunningOne) {
    static stCoRoutine_t *inside;
    stCoRoutine_t *outside = co_self();
    stCoRoutine_t *co = make([](void *) -> void * {
        inside = co_self();
        return nullptr;
    });
    co_resume(co);
    EXPECT_EQ(co, inside);
    EXPECT_NE(co, outside);
    co_release(co);
}

TEST_F(LibcoCoroutines, SelfIsNullInAThreadThatHasNoCoroutine) {
    stCoRoutine_t *self = co_self();
    std::thread([&] { self = co_self(); }).join();
    EXPECT_EQ(nullptr, self);
}

TEST_F(LibcoCoroutines, ANestedResumeYieldsToItsResumer) {
    static stCoRoutine_t *inner;
    trace.clear();
    inner = make([](void *) -> void * {
        trace += '2';
        co_yield_ct();
        trace += '4';
        return nullptr;
    });
    stCoRoutine_t *outer = make([](void *) -> void * {
        trace += '1';
        co_resume(inner);
        trace += '3';
        co_resume(inner);
        trace += '5';
        return nullptr;
    });
    co_resume(outer);
    EXPECT_EQ("12345", trace);
    co_release(outer);
    co_release(inner);
}

TEST_F(LibcoCoroutines, CreateRefusesWhatCannotBe) {
    stCoRoutine_t *co = nullptr;
    EXPECT_EQ(EINVAL, co_create(nullptr, nullptr, say_abc, nullptr));
    EXPECT_EQ(EINVAL, co_create(&co, nullptr, nullptr, nullptr));
    stCoRoutineAttr_t huge;
    huge.stack_size = INT32_MAX;
    EXPECT_EQ(EINVAL, co_create(&co, &huge, say_abc, nullptr));
}

TEST_F(LibcoCoroutines, AttributesAreLibcosByDefaultAndTheStackIsAsLargeAsAsked) {
    stCoRoutineAttr_t attr;
    EXPECT_EQ(128 * 1024, attr.stack_size);
    EXPECT_EQ(nullptr, attr.share_stack);
    attr.stack_size = 4 * 1024 * 1024;
    long sum = 0;
    stCoRoutine_t *co = make(
        [](void *to) -> void * {
            volatile char deep[3 * 1024 * 1024];
            for (size_t i = 0; i < sizeof deep; i += 4096)
                deep[i] = 1;
            for (size_t i = 0; i < sizeof deep; i += 4096)
                *static_cast<long *>(to) += deep[i];
            return nullptr;
        },
        &sum, &attr);
    co_resume(co);
    EXPECT_EQ(3 * 1024 / 4, sum);
    EXPECT_GT(co_stack_high_water(co), 3u * 1024 * 1024 - 4096);
    co_release(co);
}

TEST_F(LibcoCoroutines, SharedStackLocalsSurviveWhenAnotherTakesTheStack) {
    stShareStack_t *stacks = co_alloc_sharestack(1, 64 * 1024);
    stCoRoutineAttr_t attr;
    attr.share_stack = stacks;
    struct shared {
        int id, wrong;
        uintptr_t address;
    } of[2] = {{0, 0, 0}, {1, 0, 0}};
    stCoRoutine_t *co[2];
    for (int i = 0; i < 2; i++)
        co[i] = make(
            [](void *arg) -> void * {
                shared *s = static_cast<shared *>(arg);
                char local[512];
                s->address =
                    reinterpret_cast<uintptr_t>(__builtin_frame_address(0)); // ASan moves locals
                for (int round = 0; round < 10; round++) {
                    memset(local, 'A' + s->id + 2 * round, sizeof local);
                    co_yield_ct();
                    for (char c : local)
                        s->wrong += c != 'A' + s->id + 2 * round;
                }
                return nullptr;
            },
            &of[i], &attr);
    for (int round = 0; round < 11; round++)
        for (stCoRoutine_t *c : co)
            co_resume(c);
    EXPECT_EQ(0, of[0].wrong + of[1].wrong);
    EXPECT_EQ(of[0].address, of[1].address);
    EXPECT_EQ(EBUSY, co_release_sharestack(stacks));
    for (stCoRoutine_t *c : co)
        co_release(c);
    EXPECT_EQ(0, co_release_sharestack(stacks));
}

TEST_F(LibcoCoroutines, SpecificValuesAreEachCoroutinesOwnAndThePthreadsOutside) {
    static pthread_key_t key;
    ASSERT_EQ(0, pthread_key_create(&key, nullptr));
    int values[3];
    ASSERT_EQ(0, co_setspecific(key, &values[2]));
    EXPECT_EQ(&values[2], pthread_getspecific(key));
    stCoRoutine_t *co[2];
    for (int i = 0; i < 2; i++) {
        co[i] = make(
            [](void *value) -> void * {
                EXPECT_EQ(nullptr, co_getspecific(key));
                EXPECT_EQ(0, co_setspecific(key, value));
                co_yield_ct();
                EXPECT_EQ(value, co_getspecific(key));
                return nullptr;
            },
            &values[i]);
        co_resume(co[i]);
    }
    for (stCoRoutine_t *c : co) {
        co_resume(c);
        co_release(c);
    }
    EXPECT_EQ(&values[2], co_getspecific(key));
    EXPECT_EQ(0, co_setspecific(key, nullptr));
    pthread_key_delete(key);
}

TEST_F(LibcoCoroutines, HooksAreSwitchedForEachCoroutineAlone) {
    static int seen[3];
    EXPECT_FALSE(co_is_enable_sys_hook());
    stCoRoutine_t *on = make([](void *) -> void * {
        seen[0] = co_is_enable_sys_hook();
        co_enable_hook_sys();
        co_yield_ct();
        seen[1] = co_is_enable_sys_hook();
        co_disable_hook_sys();
        seen[2] = co_is_enable_sys_hook();
        return nullptr;
    });
    co_resume(on);
    EXPECT_FALSE(co_is_enable_sys_hook());
    co_resume(on);
    EXPECT_EQ(0, seen[0]);
    EXPECT_EQ(1, seen[1]);
    EXPECT_EQ(0, seen[2]);
    co_release(on);
}

TEST_F(LibcoCoroutines, LogErrWritesALineToStderr) {
    testing::internal::CaptureStderr();
    co_log_err("%s of %d", "line", 1);
    EXPECT_EQ("line of 1\n", testing::internal::GetCapturedStderr());
}

TEST_F(LibcoCoroutines, TheInnerHeaderBringsContexts) {
    coctx_t context;
    EXPECT_EQ(0, coctx_init(&context));
    EXPECT_EQ(-1, coctx_make(&context, nullptr, nullptr, nullptr));
}
