// SPDX-License-Identifier: Apache-2.0
// From create to release, by hand: no loop runs here.
#include "tests/core/core_fixture.h"

#include <cstdint>

using namespace corun;

namespace {

using Lifecycle = EachStack;
ON_EACH_STACK(Lifecycle);

// contract 7
TEST_P(Lifecycle, CreateDoesNotRunTheFirstResumeDoes) {
    bool ran = false;
    stCoRoutine_t *co = make([&] { ran = true; });
    EXPECT_FALSE(ran);
    EXPECT_EQ(stats().now_fresh, 1U);
    co_resume(co);
    EXPECT_TRUE(ran);
    EXPECT_EQ(stats().now_ended, 1U);
}

// contract 7
TEST_P(Lifecycle, ItsReturnGivesControlToTheLastResumerNotTheFirst) {
    std::string trace;
    stCoRoutine_t *inner = make([&] {
        trace += "i1 ";
        co_yield_ct();
        trace += "i2 ";
    });
    stCoRoutine_t *outer = make([&] {
        trace += "o1 ";
        co_resume(inner); // the second resumer: inner's return comes here
        trace += "o2 ";
    });
    co_resume(inner);
    trace += "root ";
    co_resume(outer);
    trace += "root";
    EXPECT_EQ(trace, "i1 root o1 i2 o2 root");
}

// contract 7
TEST_P(Lifecycle, FiveYieldsNeedSixResumes) {
    int turns = 0;
    stCoRoutine_t *co = make([&] {
        for (int i = 0; i < 5; ++i) {
            ++turns;
            co_yield_ct();
        }
    });
    int resumes = 0;
    while (stats().now_ended == 0) {
        co_resume(co);
        ++resumes;
        ASSERT_LE(turns, resumes);
    }
    EXPECT_EQ(turns, 5);
    EXPECT_EQ(resumes, 6);
}

class Nest {
  public:
    Nest(int deepest, std::function<stCoRoutine_t *(std::function<void()>)> make)
        : deepest_(deepest), make_(std::move(make)) {}
    int reached = 0, returned = 0;
    void level(int depth) {
        reached = depth;
        if (depth == deepest_)
            return;
        stCoRoutine_t *next = make_([this, depth] { level(depth + 1); });
        co_resume(next); // which resumes its own next before it ends
        ++returned;
    }

  private:
    int deepest_;
    std::function<stCoRoutine_t *(std::function<void()>)> make_;
};

// contract 7
TEST_P(Lifecycle, NestedResumeWorks128Deep) {
    Nest nest(128, [this](std::function<void()> body) { return make(std::move(body)); });
    nest.level(0);
    EXPECT_EQ(nest.reached, 128);
    EXPECT_EQ(nest.returned, 128);
}

// contract 5: libco ends at 128, and writes past its array.
TEST_P(Lifecycle, NestedResumeWorks1000Deep) {
    Nest nest(1000, [this](std::function<void()> body) { return make(std::move(body)); });
    nest.level(0);
    EXPECT_EQ(nest.reached, 1000);
    EXPECT_EQ(nest.returned, 1000);
}

// contract 7
TEST_P(Lifecycle, SelfIsTheRunningOneAndOutsideTheThreadsOwnBlock) {
    stCoRoutine_t *root = co_self();
    ASSERT_NE(root, nullptr);
    stCoRoutine_t *co = nullptr, *before = nullptr, *after = nullptr;
    co = make([&] {
        before = co_self();
        co_yield_ct();
        after = co_self();
    });
    co_resume(co);
    EXPECT_EQ(before, co);
    EXPECT_EQ(co_self(), root);
    co_resume(co);
    EXPECT_EQ(after, co);
    EXPECT_EQ(co_self(), root);
}

// contract 7: "entered" is true of the running one and of everyone who waits for one they resumed.
TEST_P(Lifecycle, AnAncestorCountsAsRunningUntilItYields) {
    co_state seen_outer{}, seen_inner{};
    uint64_t running = 0;
    stCoRoutine_t *outer = nullptr, *inner = nullptr;
    inner = make([&] {
        seen_outer = outer->state;
        seen_inner = inner->state;
        running = stats().now_running;
    });
    outer = make([&] {
        co_resume(inner);
        co_yield_ct();
    });
    co_resume(outer);
    EXPECT_EQ(seen_outer, co_state::resuming);
    EXPECT_EQ(seen_inner, co_state::running);
    EXPECT_EQ(running, 2U);
    EXPECT_EQ(outer->state, co_state::yielded);
    EXPECT_EQ(stats().now_running, 0U);
    co_resume(outer);
}

// contract 7, as QEMU's order test:
//
//     root      resume 1          resume 2          resume 1          resume 2          resume 1
//     first         (1,1) yield                         (1,2) yield                         (1,3)
//     second                          (2,1) yield                         (2,2)
TEST_P(Lifecycle, TwoThatTakeTurnsRunInTheOrderOfTheResumes) {
    std::string order;
    stCoRoutine_t *first = make([&] {
        order += "(1,1)";
        co_yield_ct();
        order += "(1,2)";
        co_yield_ct();
        order += "(1,3)";
    });
    stCoRoutine_t *second = make([&] {
        order += "(2,1)";
        co_yield_ct();
        order += "(2,2)";
    });
    for (stCoRoutine_t *co : {first, second, first, second, first})
        co_resume(co);
    EXPECT_EQ(order, "(1,1)(2,1)(1,2)(2,2)(1,3)");
    EXPECT_EQ(stats().now_ended, 2U);
}

TEST_P(Lifecycle, OneCoroutineMayReleaseAnotherThatIsSuspended) {
    stCoRoutine_t *victim = make([] { co_yield_ct(); });
    co_resume(victim);
    stCoRoutine_t *killer = make([&] { release(victim); });
    co_resume(killer);
    EXPECT_EQ(coroutines_now(stats()), 1U);
}

TEST_P(Lifecycle, TheLoopRunsThoseThatWereStartedInOrder) {
    std::string order;
    for (char c = 'a'; c <= 'e'; ++c)
        start_detached([&order, c] {
            order += c;
            co_yield_now();
            order += static_cast<char>(c - 'a' + 'A');
        });
    EXPECT_EQ(order, "");
    co_run();
    EXPECT_EQ(order, "abcdeABCDE");
}

TEST_P(Lifecycle, AReadyOneThatIsReleasedNeverRuns) {
    bool ran = false;
    release(start([&] { ran = true; }));
    co_run();
    EXPECT_FALSE(ran);
}

TEST_P(Lifecycle, CountsFollowTheStates) {
    co_stats before = stats();
    stCoRoutine_t *yielded = make([] { co_yield_ct(); });
    stCoRoutine_t *parked = make([] { co_sleep_ms(3600 * 1000); });
    make([] {});
    stCoRoutine_t *ended = make([] {});
    start([] {});
    for (stCoRoutine_t *co : {yielded, parked, ended})
        co_resume(co);
    co_stats s = stats();
    EXPECT_EQ(s.created - before.created, 5U);
    EXPECT_EQ(s.ended - before.ended, 1U);
    EXPECT_EQ(s.now_fresh, 1U);
    EXPECT_EQ(s.now_ready, 1U);
    EXPECT_EQ(s.now_yielded, 1U);
    EXPECT_EQ(s.now_parked, 1U);
    EXPECT_EQ(s.now_ended, 1U);
    EXPECT_EQ(s.switches - before.switches, 6U) << "there and back, three times";
}

using Reset = EachStack;
ON_EACH_STACK(Reset);

TEST_P(Reset, OneThatHasEndedRunsAgainFromTheStart) {
    int runs = 0;
    stCoRoutine_t *co = make([&] {
        char fresh_frame[512];
        memset(fresh_frame, runs, sizeof fresh_frame);
        co_yield_ct();
        runs += fresh_frame[511] == runs;
    });
    for (int i = 0; i < 100; ++i) {
        co_resume(co);
        co_resume(co);
        ASSERT_EQ(runs, i + 1);
        co_reset(co);
    }
    EXPECT_EQ(stats().now_fresh, 1U);
}

TEST_P(Reset, OneThatNeverRanStaysAsItIs) {
    bool ran = false;
    stCoRoutine_t *co = make([&] { ran = true; });
    co_reset(co);
    co_resume(co);
    EXPECT_TRUE(ran);
}

TEST_P(Reset, ACancelledOneIsLikeNewToo) {
    int turns = 0;
    stCoRoutine_t *co = make([&] {
        ++turns;
        co_yield_ct();
        ++turns;
    });
    co_resume(co);
    EXPECT_EQ(co_cancel(co), 0);
    co_resume(co);
    EXPECT_EQ(turns, 1);
    EXPECT_EQ(co_cancel(co), ESRCH);
    co_reset(co);
    co_resume(co);
    co_resume(co);
    EXPECT_EQ(turns, 3);
}

TEST_P(Reset, ItKeepsItsNameAndLosesItsErrnoAndValues) {
    co_key_t key;
    ASSERT_EQ(co_key_create(&key, nullptr), 0);
    int seen_errno = -1, marker = 0;
    void *seen_value = &marker;
    stCoRoutine_t *co = make([&] {
        seen_errno = errno;
        seen_value = co_key_get(key);
        errno = 42;
        co_key_set(key, &marker);
    });
    co_set_name(co, "phoenix");
    co_resume(co);
    co_reset(co);
    co_resume(co);
    EXPECT_EQ(seen_errno, 0);
    EXPECT_EQ(seen_value, nullptr);
    EXPECT_STREQ(co_get_name(co), "phoenix");
    co_key_delete(key);
}

} // namespace
