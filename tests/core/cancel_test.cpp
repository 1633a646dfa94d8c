// SPDX-License-Identifier: Apache-2.0
// contract 12: a cancelled coroutine leaves its wait, its destructors run, it ends with CO_CANCELED.
#include "tests/core/core_fixture.h"

#include <poll.h>
#include <stdexcept>
#include <thread>

namespace {

struct Cancel : EachStack {
    int unwound = 0;        // destructors that ran
    bool came_back = false; // the wait returned: it must not
    co_stats before{};

    void SetUp() override {
        EachStack::SetUp();
        before = stats();
    }

    // A coroutine that is in this wait, two frames deep, when it is cancelled.
    stCoRoutine_t *waiting_in(std::function<void()> wait) {
        return start([this, wait] {
            Unwound outer{&unwound};
            [&] {
                Unwound inner{&unwound};
                wait();
                came_back = true;
            }();
            came_back = true;
        });
    }

    void expect_cancelled(stCoRoutine_t *co, int destructors) {
        void *result = nullptr;
        EXPECT_EQ(co_join(co, &result), 0);
        EXPECT_EQ(result, CO_CANCELED);
        EXPECT_EQ(unwound, destructors);
        EXPECT_FALSE(came_back);
        EXPECT_EQ(stats().cancelled - before.cancelled, 1U);
        EXPECT_EQ(stats().unwind_stopped - before.unwind_stopped, 0U);
        EXPECT_EQ(co_cancel(co), ESRCH);
    }

    // Others come and go on the same stack between the wait and the cancel.
    void disturb() {
        start_detached([] {
            char frame[4000];
            memset(frame, '#', sizeof frame);
            co_yield_now();
            EXPECT_EQ(frame[3999], '#');
        });
        for (int i = 0; i < 4; ++i)
            co_yield_now();
    }

    void cancel_in(std::function<void()> wait) {
        stCoRoutine_t *co = waiting_in(std::move(wait));
        disturb();
        EXPECT_EQ(unwound, 0);
        EXPECT_EQ(co_cancel(co), 0);
        expect_cancelled(co, 2);
    }
};
ON_EACH_STACK(Cancel);

TEST_P(Cancel, RunsDestructorsFromAYield) {
    cancel_in([] { co_yield_ct(); });
}

TEST_P(Cancel, RunsDestructorsFromAYieldByName) {
    cancel_in([] { co_yield_to_resumer(co_self()); });
}

TEST_P(Cancel, RunsDestructorsFromAYieldNow) {
    cancel_in([] {
        for (;;)
            co_yield_now();
    });
}

TEST_P(Cancel, RunsDestructorsFromASleep) {
    cancel_in([] { co_sleep_ms(3600 * 1000); });
}

TEST_P(Cancel, RunsDestructorsFromAJoin) {
    stCoRoutine_t *endless = make([] { co_yield_ct(); });
    co_resume(endless);
    cancel_in([endless] { co_join(endless, nullptr); });
    EXPECT_TRUE(endless->extra->joiners.empty()) << "and it joins no more";
}

TEST_P(Cancel, RunsDestructorsFromAPollOfADescriptor) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    cancel_in([&ends] {
        pollfd p{ends[0], POLLIN, 0};
        co_poll(nullptr, &p, 1, -1);
    });
    close(ends[0]);
    close(ends[1]);
}

TEST_P(Cancel, RunsDestructorsFromAPollOfNothing) {
    cancel_in([] { co_poll(nullptr, nullptr, 0, -1); });
}

TEST_P(Cancel, RunsDestructorsFromACondition) {
    stCoCond_t *cond = co_cond_alloc();
    cancel_in([cond] { co_cond_timedwait(cond, 0); });
    EXPECT_EQ(co_cond_free(cond), 0) << "nobody waits in it any more";
}

// contract 12
TEST_P(Cancel, TwiceIsOnce) {
    stCoRoutine_t *co = waiting_in([] { co_sleep_ms(3600 * 1000); });
    disturb();
    EXPECT_EQ(co_cancel(co), 0);
    EXPECT_EQ(co_cancel(co), 0);
    co_yield_now();
    expect_cancelled(co, 2);
}

struct CancelsAgain {
    ~CancelsAgain() { EXPECT_EQ(co_cancel(co_self()), 0); }
};

// contract 12
TEST_P(Cancel, ASecondOneDuringTheUnwindingChangesNothing) {
    stCoRoutine_t *co = waiting_in([] {
        CancelsAgain again;
        co_sleep_ms(3600 * 1000);
    });
    disturb();
    EXPECT_EQ(co_cancel(co), 0);
    expect_cancelled(co, 2);
}

// contract 12
TEST_P(Cancel, OneThatHasNotRunYetEndsWithoutRunning) {
    stCoRoutine_t *fresh = make([this] { came_back = true; });
    EXPECT_EQ(co_cancel(fresh), 0);
    EXPECT_EQ(co_cancel(fresh), ESRCH) << "it has ended at once";
    expect_cancelled(fresh, 0);
}

// contract 12
TEST_P(Cancel, OneThatWaitsForItsFirstTurnEndsWithoutRunning) {
    stCoRoutine_t *ready = start([this] { came_back = true; });
    EXPECT_EQ(co_cancel(ready), 0);
    expect_cancelled(ready, 0);
}

// contract 12: from another thread, while this one sleeps in epoll_wait.
TEST_P(Cancel, FromAnotherThreadEndsASleepOfAnHour) {
    stCoRoutine_t *co = waiting_in([] { co_sleep_ms(3600 * 1000); });
    disturb();
    std::thread other([co] {
        EXPECT_EQ(co_cancel(co), 0);
        int again = co_cancel(co); // it may have ended meanwhile
        EXPECT_TRUE(again == 0 || again == ESRCH);
    });
    EXPECT_EQ(co_join(co, nullptr), 0);
    other.join(); // before the release: the other thread still has the handle
    expect_cancelled(co, 2);
    EXPECT_GE(stats().cross_wakes - before.cross_wakes, 1U);
}

// contract 12
TEST_P(Cancel, FromAnotherThreadReachesOneThatHasNotRunYet) {
    stCoRoutine_t *co = start([this] { came_back = true; });
    std::thread([co] { EXPECT_EQ(co_cancel(co), 0); }).join();
    void *result = nullptr;
    EXPECT_EQ(co_join(co, &result), 0);
    // Its turn may come before the message: then it ran to its end.
    EXPECT_EQ(result == CO_CANCELED, !came_back);
}

// contract 12: its wake-up came first, its turn not yet.
TEST_P(Cancel, AReadyOneIsCancelledToo) {
    stCoRoutine_t *yields = waiting_in([] { co_yield_ct(); });
    disturb();
    EXPECT_EQ(co_wake(yields), 0);
    EXPECT_EQ(yields->state, corun::co_state::ready);
    EXPECT_EQ(co_cancel(yields), 0);
    expect_cancelled(yields, 2);
}

// contract 12: the same where the wake-up is what a wait waited for.
TEST_P(Cancel, OneWhoseWaitIsOverButNotItsTurnIsCancelledToo) {
    stCoCond_t *cond = co_cond_alloc();
    stCoRoutine_t *waits = waiting_in([cond] { co_cond_timedwait(cond, 0); });
    disturb();
    co_cond_signal(cond);
    EXPECT_EQ(waits->state, corun::co_state::ready);
    EXPECT_EQ(co_cancel(waits), 0);
    void *result = nullptr;
    EXPECT_EQ(co_join(waits, &result), 0);
    // The wait may report its success; then the coroutine has no other wait and ends by itself.
    EXPECT_EQ(unwound, 2);
    EXPECT_EQ(result == CO_CANCELED, !came_back);
    co_cond_free(cond);
}

TEST_P(Cancel, OneThatCancelsItselfEndsAtItsNextWait) {
    bool went_on = false;
    stCoRoutine_t *co = waiting_in([&] {
        EXPECT_EQ(co_cancel(co_self()), 0);
        went_on = true;
        co_sleep_ms(0);
    });
    expect_cancelled(co, 2);
    EXPECT_TRUE(went_on);
}

TEST_P(Cancel, OneThatResumedTheCancellerEndsAtItsNextWait) {
    bool went_on = false;
    stCoRoutine_t *outer = nullptr;
    stCoRoutine_t *inner = make([&] { EXPECT_EQ(co_cancel(outer), 0); });
    outer = waiting_in([&] {
        co_resume(inner);
        went_on = true;
        co_yield_now();
    });
    expect_cancelled(outer, 2);
    EXPECT_TRUE(went_on);
}

TEST_P(Cancel, OneThatNeverWaitsAgainEndsWithItsOwnResult) {
    stCoRoutine_t *co = start([] { EXPECT_EQ(co_cancel(co_self()), 0); });
    void *result = nullptr;
    EXPECT_EQ(co_join(co, &result), 0);
    EXPECT_NE(result, CO_CANCELED);
    EXPECT_EQ(stats().cancelled, before.cancelled);
}

TEST_P(Cancel, OneThatIsResumedByHandEndsInThatResume) {
    stCoRoutine_t *co = make([this] {
        Unwound guard{&unwound};
        co_yield_ct();
        came_back = true;
    });
    co_resume(co);
    EXPECT_EQ(co_cancel(co), 0);
    co_resume(co);
    EXPECT_EQ(unwound, 1) << "no loop was needed";
    expect_cancelled(co, 1);
}

struct WaitsWhenDestroyed {
    int *done;
    ~WaitsWhenDestroyed() noexcept(false) {
        co_yield_now();
        EXPECT_EQ(co_sleep_ms(1), 0);
        ++*done;
    }
};

// A destructor may wait: the end is under way, and no second cancel interrupts it.
TEST_P(Cancel, ADestructorMayWaitWhileOthersRun) {
    int waited = 0;
    stCoRoutine_t *co = waiting_in([&] {
        WaitsWhenDestroyed guard{&waited};
        co_sleep_ms(3600 * 1000);
    });
    disturb();
    EXPECT_EQ(co_cancel(co), 0);
    disturb();
    EXPECT_EQ(unwound, 0) << "it waits in the innermost destructor";
    EXPECT_EQ(co_cancel(co), 0);
    expect_cancelled(co, 2);
    EXPECT_EQ(waited, 1);
}

TEST_P(Cancel, TwoMayBeUnwoundInTurns) {
    int waited = 0, destroyed = 0;
    stCoRoutine_t *both[2];
    for (stCoRoutine_t *&co : both)
        co = start([&] {
            Unwound last{&destroyed};
            WaitsWhenDestroyed second{&waited}, first{&waited};
            co_sleep_ms(3600 * 1000);
        });
    disturb();
    for (stCoRoutine_t *co : both)
        EXPECT_EQ(co_cancel(co), 0);
    co_run();
    EXPECT_EQ(waited, 4);
    EXPECT_EQ(destroyed, 2);
    EXPECT_EQ(std::uncaught_exceptions(), 0);
}

struct ThrowsInside {
    int *caught;
    ~ThrowsInside() {
        try {
            throw std::runtime_error("inside");
        } catch (const std::exception &) {
            ++*caught;
        }
    }
};

TEST_P(Cancel, ADestructorMayThrowAndCatchInside) {
    int caught = 0;
    cancel_in([&] {
        ThrowsInside guard{&caught};
        co_sleep_ms(3600 * 1000);
    });
    EXPECT_EQ(caught, 1);
}

TEST_P(Cancel, ACatchAllThatRethrowsIsPassedOnTheWay) {
    bool passed = false;
    cancel_in([&] {
        try {
            co_sleep_ms(3600 * 1000);
        } catch (...) {
            passed = true;
            throw;
        }
    });
    EXPECT_TRUE(passed);
}

TEST_P(Cancel, ACatchOfAnyOneTypeDoesNotSeeIt) {
    bool seen = false;
    cancel_in([&] {
        try {
            co_sleep_ms(3600 * 1000);
        } catch (const std::exception &) {
            seen = true;
        } catch (int) {
            seen = true;
        }
    });
    EXPECT_FALSE(seen);
}

TEST_P(Cancel, WorksInsideACatchBlock) {
    cancel_in([] {
        try {
            throw std::runtime_error("caught before the cancel");
        } catch (const std::exception &) {
            co_sleep_ms(3600 * 1000);
        }
    });
    EXPECT_EQ(std::current_exception(), nullptr);
}

TEST_P(Cancel, OfADetachedOneFreesIt) {
    stCoRoutine_t *self = nullptr;
    start_detached([&] {
        self = co_self();
        Unwound guard{&unwound};
        co_sleep_ms(3600 * 1000);
    });
    co_yield_now();
    EXPECT_EQ(co_cancel(self), 0);
    co_run();
    EXPECT_EQ(unwound, 1);
    EXPECT_EQ(coroutines_now(stats()), 0U);
}

TEST_P(Cancel, OfTheThreadItselfIsRefused) { EXPECT_EQ(co_cancel(co_self()), EINVAL); }

TEST_P(Cancel, ReleaseWithoutItRunsNoDestructor) {
    stCoRoutine_t *co = waiting_in([] { co_sleep_ms(3600 * 1000); });
    disturb();
    release(co);
    EXPECT_EQ(unwound, 0);
}

// A hundred at once, in every kind of wait.
TEST_P(Cancel, AHundredInAllKindsOfWaitEndTogether) {
    std::vector<stCoRoutine_t *> all;
    for (int i = 0; i < 100; ++i)
        all.push_back(start([this, i] {
            Unwound guard{&unwound};
            switch (i % 4) {
            case 0:
                co_yield_ct();
                break;
            case 1:
                co_sleep_ms(3600 * 1000);
                break;
            case 2:
                co_poll(nullptr, nullptr, 0, -1);
                break;
            case 3:
                for (;;)
                    co_yield_now();
            }
            came_back = true;
        }));
    disturb();
    for (stCoRoutine_t *co : all)
        EXPECT_EQ(co_cancel(co), 0);
    co_run();
    EXPECT_EQ(unwound, 100);
    EXPECT_FALSE(came_back);
    EXPECT_EQ(stats().cancelled - before.cancelled, 100U);
}

} // namespace
