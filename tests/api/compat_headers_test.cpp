// SPDX-License-Identifier: Apache-2.0
// libco's other headers: closures, coroutine-specific variables.
#include "co_routine/co_closure.h"
#include "co_routine/co_routine_specific.h"
#include "tests/api/no_coroutine_left.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

using Specific = NoCoroutineLeft;

struct numbers {
    int first;
    char text[8];
};
struct counted {
    static int alive;
    std::string text = "new";
    counted() { ++alive; }
    ~counted() { --alive; }
};
int counted::alive;

} // namespace

CO_ROUTINE_SPECIFIC(numbers, plain);
CO_ROUTINE_SPECIFIC(numbers, second_of_the_type);
CO_ROUTINE_SPECIFIC(counted, owned);

TEST(Closure, CopiesWhatItCapturesWhenItIsMade) {
    int n = 1;
    std::string seen;
    co_ref(out, seen);
    co_func(append, out, n) { out.seen += std::to_string(n); }
    co_func_end;
    std::vector<std::unique_ptr<stCoClosure_t>> jobs;
    for (n = 1; n <= 3; n++)
        jobs.emplace_back(new append(out, n));
    n = 100;
    for (auto &job : jobs)
        job->exec();
    EXPECT_EQ("123", seen);
}

TEST(Closure, ReferencesWriteThrough) {
    int a = 1, b = 2;
    co_ref(both, a, b);
    both.a += 10;
    b = 20;
    EXPECT_EQ(11, a);
    EXPECT_EQ(20, both.b);
}

TEST(Closure, TakesFromNoneToTenVariables) {
    static int ran = 0;
    co_ref(nothing);
    co_func(none) { ran++; }
    co_func_end;
    none().exec();
    EXPECT_EQ(1, ran);
    int a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7, h = 8, i = 9, j = 10;
    co_ref(seven, a, b, c, d, e, f, g);
    EXPECT_EQ(28, seven.a + seven.b + seven.c + seven.d + seven.e + seven.f + seven.g);
    co_func(ten, a, b, c, d, e, f, g, h, i, j) { ran = a + b + c + d + e + f + g + h + i + j; }
    co_func_end;
    ten(a, b, c, d, e, f, g, h, i, j).exec();
    EXPECT_EQ(55, ran);
}

TEST(Closure, MayChangeItsOwnCopies) {
    int n = 1;
    co_func(count, n) { n++; }
    co_func_end;
    count counter(n);
    counter.exec();
    counter.exec();
    EXPECT_EQ(3, counter.n);
    EXPECT_EQ(1, n);
}

TEST_F(Specific, BeginsAtZeroAndIsEachCoroutinesOwn) {
    auto routine = [](void *value) -> void * {
        EXPECT_EQ(0, plain->first);
        EXPECT_STREQ("", plain->text);
        plain->first = static_cast<int>(reinterpret_cast<intptr_t>(value));
        second_of_the_type->first = -1;
        co_yield_ct();
        EXPECT_EQ(value, reinterpret_cast<void *>(static_cast<intptr_t>(plain->first)));
        return nullptr;
    };
    // In a thread that ends: the main thread keeps its values to the end of the process.
    std::thread([routine] {
        plain->first = 99;
        stCoRoutine_t *co[2];
        for (intptr_t i = 0; i < 2; i++) {
            ASSERT_EQ(0, co_create(&co[i], nullptr, routine, reinterpret_cast<void *>(i + 1)));
            co_resume(co[i]);
        }
        for (stCoRoutine_t *c : co) {
            co_resume(c);
            co_release(c);
        }
        EXPECT_EQ(99, plain->first);
    }).join();
}

TEST_F(Specific, IsDestroyedWhenTheCoroutineEndsOrIsReleased) {
    auto routine = [](void *) -> void * {
        EXPECT_EQ("new", owned->text);
        (*owned).text.assign(100, 'x');
        co_yield_ct();
        return nullptr;
    };
    stCoRoutine_t *ends, *dropped;
    ASSERT_EQ(0, co_create(&ends, nullptr, routine, nullptr));
    ASSERT_EQ(0, co_create(&dropped, nullptr, routine, nullptr));
    co_resume(ends);
    co_resume(dropped);
    EXPECT_EQ(2, counted::alive);
    co_resume(ends);
    EXPECT_EQ(1, counted::alive);
    co_release(dropped);
    EXPECT_EQ(0, counted::alive);
    co_release(ends);
}

TEST_F(Specific, OutsideCoroutinesItIsTheThreads) {
    std::thread([] {
        int other = -1;
        plain->first = 5;
        std::thread([&] {
            other = plain->first;
            owned->text = "of the thread";
            EXPECT_EQ(1, counted::alive);
        }).join();
        EXPECT_EQ(0, other);
        EXPECT_EQ(5, plain->first);
    }).join();
    EXPECT_EQ(0, counted::alive);
}
