// SPDX-License-Identifier: Apache-2.0
// contract 9, the exact part: nobody touches what is freed. (tests/stress/churn_test.cpp has the
// numbers.)
#include "tests/core/core_fixture.h"

#include <sys/mman.h>
#include <thread>

using namespace corun;

namespace {

using Release = CoreTest;

struct kept_stack {
    char *low;
    size_t bytes;
    void shut() const { EXPECT_EQ(mprotect(low, bytes, PROT_NONE), 0); }
    void open() const { EXPECT_EQ(mprotect(low, bytes, PROT_READ | PROT_WRITE), 0); }
};
kept_stack stack_of(const stCoRoutine_t *co) { return {co->stack_low, co->pool->stack_bytes()}; }

// contract 9, after QEMU's: a coroutine ends and is freed, its memory becomes inaccessible (stack and
// control block are one), and the one that resumed it goes on, yields and ends.
TEST_F(Release, TheMemoryOfOneThatHasEndedIsNotTouchedByItsResumer) {
    stCoRoutineAttr_t attr;
    attr.stack_size = 76 * 1024; // a pool of its own, so that nobody is given the shut stack
    bool resumer_ended = false;
    kept_stack stack{};
    stCoRoutine_t *victim = make_with(attr, [] { co_yield_ct(); });
    stCoRoutine_t *resumer = make([&] {
        co_resume(victim);
        co_resume(victim); // it has ended
        stack = stack_of(victim);
        release(victim);
        stack.shut();
        co_yield_ct();
        resumer_ended = true;
    });
    co_resume(resumer);
    co_resume(resumer);
    EXPECT_TRUE(resumer_ended);
    for (int i = 0; i < 100; ++i) {
        stCoRoutine_t *other = make([] { co_yield_now(); });
        co_resume(other);
        co_run();
        release(other);
    }
    release(resumer);
    stack.open();
}

// contract 9: freed by itself, in the moment of its end.
TEST_F(Release, TheMemoryOfADetachedOneIsNotTouchedAfterItsEnd) {
    stCoRoutineAttr_t attr;
    attr.stack_size = 80 * 1024;
    stCoRoutine_t *detached = nullptr;
    ASSERT_EQ(co_go(
                  nullptr, &attr,
                  [](void *self) -> void * {
                      *static_cast<stCoRoutine_t **>(self) = co_self();
                      co_sleep_ms(0);
                      co_yield_ct();
                      return nullptr;
                  },
                  &detached),
              0);
    while (!detached || detached->state != co_state::yielded)
        co_sleep_ms(1);
    kept_stack stack = stack_of(detached);
    co_wake(detached);
    co_run();
    stack.shut();
    for (int i = 0; i < 100; ++i)
        start_detached([] { co_sleep_ms(0); });
    co_run();
    stack.open();
}

// contract 9: dropped in the middle of a wait with a deadline: the timer must not find it later.
TEST_F(Release, TheTimerOfOneThatIsReleasedInItsSleepDoesNotTouchIt) {
    stCoRoutineAttr_t attr;
    attr.stack_size = 84 * 1024;
    stCoRoutine_t *sleeper = make_with(attr, [] { co_sleep_ms(5); });
    co_resume(sleeper);
    kept_stack stack = stack_of(sleeper);
    release(sleeper);
    stack.shut();
    co_sleep_ms(10); // past its deadline
    stack.open();
}

// contract 9: a queue that it stood in must not find it either.
TEST_F(Release, OneThatIsReleasedInAQueueIsTakenOutOfIt) {
    stCoRoutineAttr_t attr;
    attr.stack_size = 88 * 1024;
    stCoCond_t *cond = co_cond_alloc();
    stCoRoutine_t *waiter = make_with(attr, [cond] { co_cond_timedwait(cond, 5); });
    stCoRoutine_t *second = make([cond] { EXPECT_EQ(co_cond_timedwait(cond, 0), 0); });
    stCoRoutine_t *target = make([] { co_yield_ct(); });
    stCoRoutine_t *joiner = make_with(attr, [target] { co_join(target, nullptr); });
    for (stCoRoutine_t *co : {waiter, second, target, joiner})
        co_resume(co);
    kept_stack one = stack_of(waiter), two = stack_of(joiner);
    release(waiter);
    release(joiner);
    one.shut();
    two.shut();
    co_cond_signal(cond); // goes to the second: the first is gone
    co_resume(target);    // ends: nobody joins
    co_run();
    EXPECT_EQ(second->state, co_state::ended);
    co_sleep_ms(10); // past the waiter's deadline
    one.open();
    two.open();
    EXPECT_EQ(co_cond_free(cond), 0);
}

TEST_F(Release, TheLastTenantOfASharedStackNeedNotHaveLeftItsQueue) {
    stShareStack_t *group = co_alloc_sharestack(1, 64 * 1024);
    stCoRoutineAttr_t attr;
    attr.share_stack = group;
    stCoRoutine_t *ready = make_with(attr, [] { co_yield_ct(); });
    co_resume(ready);
    co_wake(ready);
    release(ready); // it stands in the ready queue still
    EXPECT_EQ(co_release_sharestack(group), 0);
}

// contract 9: one that joins may be freed after the one it joins.
TEST_F(Release, AThreadThatEndsWithAJoinUnderWayFreesBothInAnyOrder) {
    for (bool joiner_first : {true, false})
        std::thread([joiner_first] {
            static thread_local stCoRoutine_t *target, *joiner;
            auto make_target = [] {
                auto sleep = [](void *) -> void * {
                    co_sleep_ms(3600 * 1000);
                    return nullptr;
                };
                EXPECT_EQ(co_create(&target, nullptr, sleep, nullptr), 0);
            };
            if (!joiner_first)
                make_target();
            auto join = [](void *) -> void * {
                co_join(target, nullptr);
                return nullptr;
            };
            EXPECT_EQ(co_create(&joiner, nullptr, join, nullptr), 0);
            if (joiner_first)
                make_target();
            co_resume(target);
            co_resume(joiner);
        }).join();
}

TEST_F(Release, AReadyOneStaysUntilTheLoopPassesItAndIsFreedThen) {
    stCoRoutine_t *co = start([] { FAIL(); });
    release(co);
    EXPECT_EQ(coroutines_now(stats()), 0U) << "gone, for those who count";
    co_yield_now();
    EXPECT_EQ(stats().stacks_in_use, 0U);
}

} // namespace
