// SPDX-License-Identifier: Apache-2.0
// The C++ runtime keeps one stack of caught exceptions for a thread; here each coroutine has its own.
#include "tests/core/core_fixture.h"

#include <exception>
#include <stdexcept>
#include <vector>

namespace {

struct Exceptions : EachStack {
    void TearDown() override {
        EXPECT_EQ(std::uncaught_exceptions(), 0);
        EXPECT_EQ(std::current_exception(), nullptr);
        EachStack::TearDown();
    }
};
ON_EACH_STACK(Exceptions);

// What a rethrow in the middle of a catch block finds after others have caught theirs.
void catch_yield_rethrow(const std::string &mine, std::string &caught) {
    try {
        try {
            throw std::runtime_error(mine);
        } catch (const std::exception &) {
            co_yield_ct();
            EXPECT_EQ(std::uncaught_exceptions(), 0);
            throw;
        }
    } catch (const std::exception &e) {
        caught = e.what();
    }
}

// contract 4:
//
//     a: throw, catch, yield                    rethrow -> a's own
//     b:                       throw, catch, yield        rethrow -> b's own
TEST_P(Exceptions, ARethrowAfterAYieldInACatchBlockThrowsItsOwnException) {
    std::string caught_a, caught_b;
    stCoRoutine_t *a = make([&] { catch_yield_rethrow("a's", caught_a); });
    stCoRoutine_t *b = make([&] { catch_yield_rethrow("b's", caught_b); });
    for (stCoRoutine_t *co : {a, b, a, b})
        co_resume(co);
    EXPECT_EQ(caught_a, "a's");
    EXPECT_EQ(caught_b, "b's");
    EXPECT_EQ(std::uncaught_exceptions(), 0);
}

// contract 4: the same the other way round: not the order of a stack.
TEST_P(Exceptions, AnyOrderOfRethrowsWorks) {
    std::string caught[3];
    stCoRoutine_t *co[3];
    for (int i = 0; i < 3; ++i)
        co[i] = make([&caught, i] { catch_yield_rethrow(std::to_string(i), caught[i]); });
    for (int i : {0, 1, 2, 1, 0, 2})
        co_resume(co[i]);
    for (int i = 0; i < 3; ++i)
        EXPECT_EQ(caught[i], std::to_string(i));
}

// contract 4: the thread's own catch block is one of them.
TEST_P(Exceptions, TheThreadsOwnCatchBlockKeepsItsExceptionToo) {
    std::string caught;
    stCoRoutine_t *co = make([&] { catch_yield_rethrow("the coroutine's", caught); });
    try {
        try {
            throw std::runtime_error("the thread's");
        } catch (const std::exception &) {
            co_resume(co);
            EXPECT_EQ(co_self(), &corun::env_or_null()->root);
            throw;
        }
    } catch (const std::exception &e) {
        EXPECT_STREQ(e.what(), "the thread's");
    }
    co_resume(co);
    EXPECT_EQ(caught, "the coroutine's");
}

// contract 4
TEST_P(Exceptions, ANewCoroutineBeginsWithoutAny) {
    bool clean = false;
    stCoRoutine_t *inner = make(
        [&] { clean = std::uncaught_exceptions() == 0 && std::current_exception() == nullptr; });
    stCoRoutine_t *outer = make([&] {
        try {
            throw 1;
        } catch (int) {
            co_resume(inner);
        }
    });
    co_resume(outer);
    EXPECT_TRUE(clean);
}

struct YieldsWhenDestroyed {
    int *in_here;
    ~YieldsWhenDestroyed() {
        *in_here = std::uncaught_exceptions();
        co_yield_ct();
        *in_here += std::uncaught_exceptions();
    }
};

// contract 4: one yields while an exception of its flies; nobody else sees that.
TEST_P(Exceptions, AnExceptionInFlightIsSeenByItsOwnCoroutineAlone) {
    int in_flight = 0, caught = 0;
    stCoRoutine_t *co = make([&] {
        try {
            YieldsWhenDestroyed guard{&in_flight};
            throw 5;
        } catch (int e) {
            caught = e;
        }
    });
    co_resume(co);
    EXPECT_EQ(in_flight, 1);
    EXPECT_EQ(std::uncaught_exceptions(), 0);
    int other_saw = -1;
    stCoRoutine_t *other = make([&] {
        other_saw = std::uncaught_exceptions();
        try {
            throw 'x';
        } catch (char) {
        }
    });
    co_resume(other);
    co_resume(co);
    EXPECT_EQ(other_saw, 0);
    EXPECT_EQ(in_flight, 2);
    EXPECT_EQ(caught, 5);
}

// contract 4: many, nested three deep each, woken in turns by the loop.
TEST_P(Exceptions, NestedCatchBlocksOfManyCoroutinesDoNotMix) {
    int wrong = 0, ended = 0;
    for (int i = 0; i < 50; ++i)
        start_detached([i, &wrong, &ended] {
            try {
                try {
                    try {
                        throw i;
                    } catch (int first) {
                        co_yield_now();
                        wrong += first != i;
                        throw std::to_string(first);
                    }
                } catch (const std::string &second) {
                    co_yield_now();
                    wrong += second != std::to_string(i);
                    throw;
                }
            } catch (const std::string &third) {
                co_yield_now();
                wrong += third != std::to_string(i);
            }
            wrong += std::uncaught_exceptions();
            ++ended;
        });
    co_run();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(ended, 50);
}

// contract 4: one is dropped in its catch block; what it caught is gone with it (LSan: the object is
// the C++ runtime's, so it is kept reachable here), and the thread's state is its own.
TEST_P(Exceptions, ACoroutineThatIsReleasedInItsCatchBlockLeavesNoTrace) {
    static auto *kept =
        new std::vector<std::exception_ptr>; // no destructor: LSan looks after those
    stCoRoutine_t *co = make([] {
        try {
            throw std::runtime_error("dropped");
        } catch (...) {
            kept->push_back(std::current_exception());
            co_yield_ct();
        }
    });
    co_resume(co);
    release(co);
    EXPECT_EQ(std::current_exception(), nullptr);
    EXPECT_EQ(std::uncaught_exceptions(), 0);
}

} // namespace
