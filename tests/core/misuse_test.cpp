// SPDX-License-Identifier: Apache-2.0
// contract 8: misuse that cannot be survived ends the process with exactly one line on stderr, which
// names the coroutine that was misused, and the one that did it. Each body runs in a child.
#include "tests/core/core_fixture.h"

#include <csignal>
#include <thread>

namespace {

void resume_it(void *co) { co_resume(static_cast<stCoRoutine_t *>(co)); }

stCoRoutine_t *named(const char *name, pfn_co_routine_t entry, void *arg = nullptr) {
    stCoRoutine_t *co = nullptr;
    co_create(&co, nullptr, entry, arg);
    co_set_name(co, name);
    return co;
}

void *yield_once(void *) {
    co_yield_ct();
    return nullptr;
}
void *resume_self(void *) {
    co_resume(co_self());
    return nullptr;
}
void *resume_arg(void *co) {
    resume_it(co);
    return nullptr;
}
void *release_self(void *) {
    co_release(co_self());
    return nullptr;
}
void *release_arg(void *co) {
    co_release(static_cast<stCoRoutine_t *>(co));
    return nullptr;
}
void *reset_self(void *) {
    co_reset(co_self());
    return nullptr;
}
void *yield_arg(void *co) {
    co_yield_to_resumer(static_cast<stCoRoutine_t *>(co));
    return nullptr;
}
void *join_arg(void *co) {
    co_join(static_cast<stCoRoutine_t *>(co), nullptr);
    return nullptr;
}
void *run_the_loop(void *) {
    co_run();
    return nullptr;
}

// An ancestor that is handed to its child as the argument.
void *make_child_with_self(void *entry) {
    stCoRoutine_t *child = named("child", reinterpret_cast<pfn_co_routine_t>(entry), co_self());
    co_resume(child);
    return nullptr;
}

// TSan starts no threads after a fork: there the child is the program anew.
#define EXPECT_MISUSE(body, line)                                                                  \
    GTEST_FLAG_SET(death_test_style, CO_TSAN ? "threadsafe" : "fast");                             \
    EXPECT_EXIT(body, testing::KilledBySignal(SIGABRT), testing::MatchesRegex("corun: " line "\n"))

TEST(Misuse, ResumingTheRunningOne) {
    EXPECT_MISUSE(co_resume(named("me", resume_self)),
                  "coroutine 'me' \\(#[0-9]+\\): co_resume: coroutine 'me' \\(#[0-9]+\\) "
                  "is running");
}

TEST(Misuse, ResumingAnAncestor) {
    EXPECT_MISUSE(
        co_resume(named("parent", make_child_with_self, reinterpret_cast<void *>(resume_arg))),
        "coroutine 'child' \\(#[0-9]+\\): co_resume: coroutine 'parent' \\(#[0-9]+\\) "
        "has resumed another one and waits for it to yield");
}

TEST(Misuse, ResumingTheThreadItself) {
    EXPECT_MISUSE(
        {
            co_get_epoll_ct();
            co_resume(named("child", resume_arg, co_self()));
        },
        "coroutine 'child' \\(#[0-9]+\\): co_resume: the thread's own stack is no coroutine");
}

TEST(Misuse, ResumingOneThatHasEnded) {
    EXPECT_MISUSE(
        {
            stCoRoutine_t *co = named("done", yield_once);
            co_resume(co);
            co_resume(co);
            co_resume(co);
        },
        "co_resume: coroutine 'done' \\(#[0-9]+\\) has ended");
}

TEST(Misuse, ResumingOneThatWasCancelledBeforeItRan) {
    EXPECT_MISUSE(
        {
            stCoRoutine_t *co = named("never", yield_once);
            co_cancel(co);
            co_resume(co);
        },
        "co_resume: coroutine 'never' \\(#[0-9]+\\) has ended");
}

TEST(Misuse, YieldingToNobody) {
    EXPECT_MISUSE(
        {
            co_get_epoll_ct();
            co_yield_ct();
        },
        "co_yield: the thread's own stack was resumed by nobody: there is nobody to yield to");
}

TEST(Misuse, YieldingInAThreadWithoutCoroutines) {
    EXPECT_MISUSE(std::thread(co_yield_ct).join(), "co_yield_ct: this thread has no coroutine");
}

TEST(Misuse, YieldingInTheNameOfAnother) {
    EXPECT_MISUSE(
        {
            stCoRoutine_t *sleeper = named("sleeper", yield_once);
            co_resume(sleeper);
            co_resume(named("liar", yield_arg, sleeper));
        },
        "coroutine 'liar' \\(#[0-9]+\\): co_yield: coroutine 'sleeper' \\(#[0-9]+\\) is not the "
        "running one");
}

TEST(Misuse, ReleasingTheRunningOne) {
    EXPECT_MISUSE(co_resume(named("me", release_self)),
                  "coroutine 'me' \\(#[0-9]+\\): co_release: coroutine 'me' \\(#[0-9]+\\) "
                  "is running");
}

TEST(Misuse, ReleasingAnAncestor) {
    EXPECT_MISUSE(
        co_resume(named("parent", make_child_with_self, reinterpret_cast<void *>(release_arg))),
        "coroutine 'child' \\(#[0-9]+\\): co_release: coroutine 'parent' \\(#[0-9]+\\) "
        "has resumed another one and waits for it to yield");
}

TEST(Misuse, ReleasingOneThatSomebodyJoins) {
    EXPECT_MISUSE(
        {
            stCoRoutine_t *target = named("awaited", yield_once);
            co_resume(target);
            co_resume(named("joiner", join_arg, target));
            co_release(target);
        },
        "co_release: coroutine 'awaited' \\(#[0-9]+\\) is being joined: the joiner would wait for "
        "ever");
}

TEST(Misuse, ReleasingTheThreadItself) {
    EXPECT_MISUSE(
        {
            co_get_epoll_ct();
            co_release(co_self());
        },
        "co_release: the thread's own stack is no coroutine");
}

TEST(Misuse, ResettingOneThatRuns) {
    EXPECT_MISUSE(co_resume(named("me", reset_self)),
                  "coroutine 'me' \\(#[0-9]+\\): co_reset: coroutine 'me' \\(#[0-9]+\\) "
                  "has begun and not ended");
}

TEST(Misuse, ResettingOneThatIsSuspended) {
    EXPECT_MISUSE(
        {
            stCoRoutine_t *co = named("half", yield_once);
            co_resume(co);
            co_reset(co);
        },
        "co_reset: coroutine 'half' \\(#[0-9]+\\) has begun and not ended");
}

void in_a_foreign_thread(void (*function)(void *co)) {
    stCoRoutine_t *co = named("theirs", yield_once);
    co_resume(co);
    std::thread(function, co).join();
}

TEST(Misuse, ResumingInAForeignThread) {
    EXPECT_MISUSE(in_a_foreign_thread(resume_it),
                  "co_resume: coroutine 'theirs' \\(#[0-9]+\\) belongs to another thread");
}

TEST(Misuse, ReleasingInAForeignThread) {
    EXPECT_MISUSE(in_a_foreign_thread([](void *co) { release_arg(co); }),
                  "co_release: coroutine 'theirs' \\(#[0-9]+\\) belongs to another thread");
}

TEST(Misuse, ResettingInAForeignThread) {
    EXPECT_MISUSE(in_a_foreign_thread([](void *co) { co_reset(static_cast<stCoRoutine_t *>(co)); }),
                  "co_reset: coroutine 'theirs' \\(#[0-9]+\\) belongs to another thread");
}

TEST(Misuse, JoiningInAForeignThread) {
    EXPECT_MISUSE(
        in_a_foreign_thread([](void *co) { co_join(static_cast<stCoRoutine_t *>(co), nullptr); }),
        "co_join: coroutine ('theirs' \\()?#[0-9]+\\)? belongs to another thread");
}

// The doer is named too: a coroutine of the foreign thread.
TEST(Misuse, TheForeignThreadsCoroutineIsNamedAsTheDoer) {
    EXPECT_MISUSE(
        in_a_foreign_thread([](void *co) { co_resume(named("thief", resume_arg, co)); }),
        "coroutine 'thief' \\(#[0-9]+\\): co_resume: coroutine 'theirs' \\(#[0-9]+\\) belongs to "
        "another thread");
}

TEST(Misuse, RunningTheLoopInsideACoroutine) {
    EXPECT_MISUSE(co_resume(named("greedy", run_the_loop)),
                  "coroutine 'greedy' \\(#[0-9]+\\): co_run: called in a coroutine; the loop runs "
                  "on the thread's own stack");
}

TEST(Misuse, NullInsteadOfACoroutine) {
    EXPECT_MISUSE(co_resume(nullptr), "co_resume: the coroutine is NULL");
    EXPECT_MISUSE(co_reset(nullptr), "co_reset: the coroutine is NULL");
    EXPECT_MISUSE(co_yield_to_resumer(nullptr), "co_yield: the coroutine is NULL");
    EXPECT_MISUSE(co_set_name(nullptr, "x"), "co_set_name: the coroutine is NULL");
    EXPECT_MISUSE(co_join(nullptr, nullptr), "co_join: the coroutine is NULL");
    EXPECT_MISUSE(co_cancel(nullptr), "co_cancel: the coroutine is NULL");
    EXPECT_MISUSE(co_wake(nullptr), "co_wake: the coroutine is NULL");
}

TEST(Misuse, ReleasingNullIsNone) { co_release(nullptr); }

TEST(Misuse, AnUnnamedOneIsKnownByItsNumber) {
    EXPECT_MISUSE(co_resume(named(nullptr, resume_self)),
                  "coroutine #[0-9]+: co_resume: coroutine #[0-9]+ is running");
}

} // namespace
