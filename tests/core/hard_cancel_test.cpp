// SPDX-License-Identifier: Apache-2.0
// contract 41: where unwinding cannot work, and the mode that does without it.
#include "tests/core/core_fixture.h"

#include <csignal>
#include <poll.h>
#include <stdexcept>

// assembly_frames_test.S: a frame that no unwinder finds a way through.
extern "C" void call_without_unwind_data(void (*f)(void *), void *argument);

namespace {

// ---- What ends the process, with one line that names the coroutine. Each body runs in a child. ----

void sleep_for_an_hour() { co_sleep_ms(3600 * 1000); }

void cancel_while_it_does(void (*body)()) {
    stCoRoutine_t *co = nullptr;
    co_go(
        &co, nullptr,
        [](void *function) -> void * {
            reinterpret_cast<void (*)()>(function)();
            return nullptr;
        },
        reinterpret_cast<void *>(body));
    co_set_name(co, "stubborn");
    co_yield_now();
    co_cancel(co);
    co_run();
    _exit(0);
}

void expect_one_line(void (*body)(), const std::string &line) {
    EXPECT_EXIT(cancel_while_it_does(body), testing::KilledBySignal(SIGABRT),
                testing::MatchesRegex("corun: coroutine 'stubborn' \\(#[0-9]+\\): " + line + "\n"));
}

struct WaitsInItsDestructor {
    ~WaitsInItsDestructor() { sleep_for_an_hour(); } // noexcept, as every destructor
};

const char *const met_a_wall = "the cancel met a destructor or a noexcept function that may not be "
                               "unwound; use co_cancel_mode\\(CO_CANCEL_ERRNO\\) there";
const char *const swallowed = "the cancel was swallowed by a catch \\(\\.\\.\\.\\): rethrow it "
                              "there";

// contract 41
TEST(HardCancel, InsideADestructorEndsTheProcessWithOneLineThatNamesTheCoroutine) {
    expect_one_line([] { WaitsInItsDestructor guard; }, met_a_wall);
}

// contract 41
TEST(HardCancel, InsideANoexceptFunctionEndsTheProcessWithOneLine) {
    expect_one_line([]() noexcept { sleep_for_an_hour(); }, met_a_wall);
}

// contract 41
TEST(HardCancel, SwallowedByACatchAllEndsTheProcessWithOneLine) {
    expect_one_line(
        [] {
            try {
                sleep_for_an_hour();
            } catch (...) {
            }
        },
        swallowed);
}

// contract 41
TEST(HardCancel, ReplacedByAnotherExceptionEndsTheProcessToo) {
    expect_one_line(
        [] {
            try {
                try {
                    sleep_for_an_hour();
                } catch (...) {
                    throw std::runtime_error("instead");
                }
            } catch (const std::exception &) {
            }
        },
        swallowed);
}

// A terminate that is not ours is the program's own.
TEST(HardCancel, AnotherTerminateReachesTheHandlerThatWasThereBefore) {
    EXPECT_EXIT(
        {
            std::set_terminate([] { _exit(17); });
            stCoRoutine_t *co = nullptr;
            co_create(
                &co, nullptr, [](void *) -> void * { return nullptr; }, nullptr);
            co_cancel(co); // installs ours
            std::terminate();
        },
        testing::ExitedWithCode(17), "");
}

// ---- Frames without unwind data ------------------------------------------------------------------

struct NoUnwindData : EachStack {};
ON_EACH_STACK(NoUnwindData);

// contract 41: unwinding stops there, the coroutine ends all the same, and that is counted.
TEST_P(NoUnwindData, UnwindingStopsTheStackIsFreedAndThatIsCounted) {
    co_stats before = stats();
    int above = 0, below = 0;
    int *counters[2] = {&above, &below};
    stCoRoutine_t *co = start([&] {
        Unwound guard{counters[0]};
        call_without_unwind_data(
            [](void *c) {
                Unwound inner{static_cast<int **>(c)[1]};
                co_sleep_ms(3600 * 1000);
            },
            counters);
    });
    co_yield_now();
    EXPECT_EQ(co_cancel(co), 0);
    void *result = nullptr;
    EXPECT_EQ(co_join(co, &result), 0);
    EXPECT_EQ(result, CO_CANCELED);
    EXPECT_EQ(below, 1) << "what lies below the frame was unwound";
    EXPECT_EQ(above, 0) << "what lies above cannot be";
    EXPECT_EQ(stats().unwind_stopped - before.unwind_stopped, 1U);
    EXPECT_EQ(stats().cancelled - before.cancelled, 1U);
    release(co);
    EXPECT_EQ(stats().stacks_in_use, 0U);
}

TEST_P(NoUnwindData, ManyInARowLeaveNothingBehind) {
    co_stats before = stats();
    for (int i = 0; i < 500; ++i) {
        stCoRoutine_t *self = nullptr;
        start_detached([&] {
            self = co_self();
            call_without_unwind_data([](void *) { co_yield_ct(); }, nullptr);
        });
        co_yield_now();
        ASSERT_EQ(co_cancel(self), 0);
        co_run();
    }
    EXPECT_EQ(stats().unwind_stopped - before.unwind_stopped, 500U);
    EXPECT_LE(stats().stacks, before.stacks + 16) << "the same stack each time";
}

// ---- CO_CANCEL_ERRNO -----------------------------------------------------------------------------

struct CancelErrno : EachStack {
    // Runs the wait in this mode, cancels it there, and gives what it returned.
    int answer_of(std::function<int()> wait) {
        int answer = -1, later = -1, unwound = 0;
        stCoRoutine_t *co = start([&] {
            Unwound guard{&unwound};
            EXPECT_EQ(co_cancel_mode(CO_CANCEL_ERRNO), CO_CANCEL_UNWIND);
            answer = wait();
            EXPECT_EQ(unwound, 0) << "nothing is unwound";
            later = co_sleep_ms(1000);
        });
        co_yield_now();
        co_yield_now();
        EXPECT_EQ(answer, -1) << "it waits";
        EXPECT_EQ(co_cancel(co), 0);
        void *result = nullptr;
        EXPECT_EQ(co_join(co, &result), 0);
        EXPECT_NE(result, CO_CANCELED) << "it ended by itself";
        EXPECT_EQ(later, ECANCELED) << "every later wait too";
        EXPECT_EQ(unwound, 1);
        return answer;
    }
};
ON_EACH_STACK(CancelErrno);

// contract 41
TEST_P(CancelErrno, ASleepReturnsEcanceled) {
    EXPECT_EQ(answer_of([] { return co_sleep_ms(3600 * 1000); }), ECANCELED);
}

// contract 41
TEST_P(CancelErrno, AJoinReturnsEcanceled) {
    stCoRoutine_t *endless = make([] { co_yield_ct(); });
    co_resume(endless);
    EXPECT_EQ(answer_of([&] { return co_join(endless, nullptr); }), ECANCELED);
}

// contract 41
TEST_P(CancelErrno, APollReturnsMinusOneWithEcanceled) {
    EXPECT_EQ(answer_of([] {
                  int r = co_poll(nullptr, nullptr, 0, -1);
                  EXPECT_EQ(r, -1);
                  return errno;
              }),
              ECANCELED);
}

// contract 41
TEST_P(CancelErrno, AConditionReturnsEcanceled) {
    stCoCond_t *cond = co_cond_alloc();
    EXPECT_EQ(answer_of([&] { return co_cond_timedwait(cond, 0); }), ECANCELED);
    EXPECT_EQ(co_cond_free(cond), 0);
}

// contract 41: where the default mode ends the process.
TEST_P(CancelErrno, WorksInsideANoexceptFunctionAndACatchAll) {
    EXPECT_EQ(answer_of([]() noexcept {
                  try {
                      return co_sleep_ms(3600 * 1000);
                  } catch (...) {
                      return -2;
                  }
              }),
              ECANCELED);
}

// A yield is no wait of the loop's: it has no result to say it with.
TEST_P(CancelErrno, AYieldComesBackAndNothingIsUnwound) {
    bool came_back = false;
    stCoRoutine_t *co = start([&] {
        co_cancel_mode(CO_CANCEL_ERRNO);
        co_yield_ct();
        came_back = true;
    });
    co_yield_now();
    EXPECT_EQ(co_cancel(co), 0);
    EXPECT_EQ(co_join(co, nullptr), 0);
    EXPECT_TRUE(came_back);
}

TEST_P(CancelErrno, OneThatGoesBackToTheDefaultIsUnwoundAtItsNextWait) {
    int unwound = 0, answer = -1;
    stCoRoutine_t *co = start([&] {
        Unwound guard{&unwound};
        co_cancel_mode(CO_CANCEL_ERRNO);
        answer = co_sleep_ms(3600 * 1000);
        EXPECT_EQ(co_cancel_mode(CO_CANCEL_UNWIND), CO_CANCEL_ERRNO);
        co_sleep_ms(0);
        answer = -2;
    });
    co_yield_now();
    EXPECT_EQ(co_cancel(co), 0);
    void *result = nullptr;
    EXPECT_EQ(co_join(co, &result), 0);
    EXPECT_EQ(result, CO_CANCELED);
    EXPECT_EQ(answer, ECANCELED);
    EXPECT_EQ(unwound, 1);
}

TEST_P(CancelErrno, AnUnknownModeIsRefusedAndChangesNothing) {
    co_resume(make([] {
        EXPECT_EQ(co_cancel_mode(2), -1);
        EXPECT_EQ(co_cancel_mode(-1), -1);
        EXPECT_EQ(co_cancel_mode(CO_CANCEL_UNWIND), CO_CANCEL_UNWIND);
    }));
}

} // namespace
