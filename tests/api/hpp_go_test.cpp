// SPDX-License-Identifier: Apache-2.0
// co_routine.hpp: co::go, join_handle, options, sleeping.
#include "co_routine/co_routine.hpp"
#include "tests/api/no_coroutine_left.h"

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using Go = NoCoroutineLeft;
using std::chrono::hours;
using std::chrono::milliseconds;

// Counts its instances: what a coroutine held must be gone when it has ended.
struct counted {
    static int alive;
    counted() { ++alive; }
    counted(const counted &) { ++alive; }
    ~counted() { --alive; }
};
int counted::alive;

int code_of(const std::function<void()> &f) {
    try {
        f();
    } catch (const std::system_error &e) {
        return e.code().value();
    }
    return 0;
}

} // namespace

TEST_F(Go, JoinReturnsWhatTheCallableReturned) {
    auto number = co::go([] { return 42; });
    auto text = co::go([] { return std::string(100, 'x'); });
    auto pointer = co::go([] { return std::unique_ptr<int>(new int(7)); });
    EXPECT_EQ(42, number.join());
    EXPECT_EQ(std::string(100, 'x'), text.join());
    EXPECT_EQ(7, *pointer.join());
    EXPECT_FALSE(number.joinable());
}

TEST_F(Go, JoinThrowsWhatTheCallableThrew) {
    auto h = co::go([]() -> int {
        co::yield();
        throw std::out_of_range("far");
    });
    try {
        h.join();
        FAIL() << "nothing was thrown";
    } catch (const std::out_of_range &e) {
        EXPECT_STREQ("far", e.what());
    }
}

TEST_F(Go, TheCallableAndItsCapturesEndWithTheCall) {
    counted::alive = 0;
    {
        counted c;
        auto h = co::go([c] { co::yield(); });
        EXPECT_EQ(2, counted::alive);
        co::run();
        EXPECT_EQ(1, counted::alive);
        h.join();
    }
    EXPECT_EQ(0, counted::alive);
}

TEST_F(Go, AMoveOnlyCallableWillDo) {
    std::unique_ptr<int> p(new int(3));
    struct call {
        std::unique_ptr<int> p;
        int operator()() { return *p; }
    };
    EXPECT_EQ(3, co::go(call{std::move(p)}).join());
}

TEST_F(Go, ADroppedHandleLetsTheCoroutineRunOnAndEverythingIsFreed) {
    counted::alive = 0;
    int ran = 0;
    for (int i = 0; i < 100; i++) {
        counted c;
        co::go([&ran, c] {
            co::yield();
            ran++;
        });
    }
    co::run();
    EXPECT_EQ(100, ran);
    EXPECT_EQ(0, counted::alive);
}

TEST_F(Go, AHandleDroppedAfterTheEndFreesAtOnce) {
    auto h = co::go([] { return 1; });
    co::run();
    h.detach();
    co_stats s;
    co_get_stats(&s);
    EXPECT_EQ(0u, s.now_ready + s.now_ended);
}

TEST_F(Go, ADetachedOneThatThrowsTakesNobodyWithIt) {
    co::go([] { throw std::runtime_error("unheard"); });
    co::run();
}

// contract 12
TEST_F(Go, CancelRunsDestructorsAndJoinSaysCanceled) {
    counted::alive = 0;
    auto h = co::go([] {
        counted c;
        co::sleep_for(hours(1));
    });
    co::yield();
    EXPECT_EQ(1, counted::alive);
    EXPECT_TRUE(h.cancel());
    EXPECT_TRUE(h.cancel());
    EXPECT_EQ(ECANCELED, code_of([&] { h.join(); }));
    EXPECT_EQ(0, counted::alive);
    EXPECT_FALSE(h.joinable());
}

TEST_F(Go, OneCancelledBeforeItsFirstTurnNeverRuns) {
    counted::alive = 0;
    bool ran = false;
    {
        counted c;
        auto h = co::go([&ran, c] { ran = true; });
        h.cancel();
        auto dropped = co::go([&ran, c] { ran = true; });
        dropped.cancel();
        EXPECT_EQ(ECANCELED, code_of([&] { h.join(); }));
    }
    co::run();
    EXPECT_FALSE(ran);
    EXPECT_EQ(0, counted::alive);
}

TEST_F(Go, AJoinThatIsCancelledLeavesTheOtherOneAlone) {
    auto slow = co::go([] {
        co::sleep_for(milliseconds(20));
        return 5;
    });
    auto joiner = co::go([&slow] { return slow.join(); });
    co::yield();
    joiner.cancel();
    EXPECT_EQ(ECANCELED, code_of([&] { joiner.join(); }));
    EXPECT_EQ(5, slow.join());
}

TEST_F(Go, CancelComesFromAnotherThreadToo) {
    auto h = co::go([] { co::sleep_for(hours(1)); });
    co::yield();
    std::thread([&] { EXPECT_TRUE(h.cancel()); }).join();
    EXPECT_EQ(ECANCELED, code_of([&] { h.join(); }));
}

TEST_F(Go, JoiningNothingOrOneselfIsAnError) {
    co::join_handle<int> none;
    EXPECT_FALSE(none.joinable());
    EXPECT_FALSE(none.cancel());
    EXPECT_EQ(EINVAL, code_of([&] { none.join(); }));
    co::join_handle<int> self;
    int error = 0;
    self = co::go([&] {
        error = code_of([&] { self.join(); });
        return 0;
    });
    self.join();
    EXPECT_EQ(EDEADLK, error);
}

TEST_F(Go, OptionsSetNameStackAndSharedStacks) {
    co::shared_stacks stacks(2, 64 * 1024);
    const void *where[2];
    std::string name;
    auto on_shared = [&](int i) {
        return co::go(
            [&where, &name, i] {
                char local;
                where[i] = &local;
                name = co_get_name(co_self());
                co::yield();
            },
            stacks, co::name("worker"));
    };
    auto a = on_shared(0), b = on_shared(1);
    a.join();
    b.join();
    EXPECT_EQ("worker", name);
    auto deep = co::go(
        [] {
            volatile char frame[900 * 1024];
            frame[0] = 1;
            return frame[0] + 0;
        },
        co::stack_size(1024 * 1024), co::guard_size(4096));
    EXPECT_EQ(1, deep.join());
    EXPECT_EQ(EINVAL, code_of([] { co::go([] {}, co::stack_size(INT32_MAX)); }));
    EXPECT_EQ(EINVAL, code_of([] { co::shared_stacks(0, 0); }));
}

// contract 37
TEST_F(Go, ResultsReachAJoinerOnTheSameSharedStack) {
    co::shared_stacks stacks(1, 64 * 1024);
    std::vector<co::join_handle<int>> outer;
    for (int i = 0; i < 10; i++)
        outer.push_back(co::go(
            [&stacks, i] {
                auto inner = co::go(
                    [i] {
                        co::sleep_for(milliseconds(i % 3));
                        return i * i;
                    },
                    stacks);
                int canary = i, result = inner.join();
                return canary == i ? result : -1;
            },
            stacks));
    for (int i = 0; i < 10; i++)
        EXPECT_EQ(i * i, outer[static_cast<size_t>(i)].join());
}

TEST_F(Go, SleepLastsAtLeastAsLongAsAsked) {
    co::go([] {
        auto begin = co::now();
        co::sleep_for(std::chrono::microseconds(1500));
        EXPECT_GE(co::now() - begin, std::chrono::microseconds(1500));
        begin = co::now();
        co::sleep_until(begin + milliseconds(2));
        EXPECT_GE(co::now(), begin + milliseconds(2));
        co::sleep_for(milliseconds(-5));
    }).join();
}

TEST_F(Go, SleepRoundsUpAndNeverOverflows) {
    EXPECT_EQ(1, co::detail::ms_of(std::chrono::nanoseconds(1)));
    EXPECT_EQ(1, co::detail::ms_of(milliseconds(1)));
    EXPECT_EQ(0, co::detail::ms_of(hours(-1)));
    EXPECT_EQ(LONG_MAX, co::detail::ms_of(hours::max()));
    EXPECT_EQ(500, co::detail::ms_of(std::chrono::duration<double>(0.5)));
}

// contract 41
TEST(GoDeath, ACatchAllThatSwallowsACancelEndsTheProcess) {
    testing::FLAGS_gtest_death_test_style = "threadsafe";
    EXPECT_DEATH(
        {
            auto h = co::go(
                [] {
                    try {
                        co::sleep_for(hours(1));
                    } catch (...) {
                    }
                },
                co::name("greedy"));
            co::yield();
            h.cancel();
            co::run();
        },
        "greedy");
}

// contract 4
TEST_F(Go, ExceptionsInFlightAreEachCoroutinesOwn) {
    std::string trace;
    auto thrower = [&trace](char c) {
        try {
            throw c;
        } catch (char) {
            co::yield();
            try {
                throw;
            } catch (char caught) {
                trace += caught;
            }
        }
    };
    auto a = co::go([&] { thrower('a'); }), b = co::go([&] { thrower('b'); });
    a.join();
    b.join();
    EXPECT_EQ("ab", trace);
    EXPECT_FALSE(std::uncaught_exceptions() != 0);
}
