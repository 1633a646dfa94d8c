// SPDX-License-Identifier: Apache-2.0
// Coroutines that take turns on one shared stack.
#include "tests/core/core_fixture.h"

#include <poll.h>
#include <thread>
#include <unistd.h>

using namespace corun;

namespace {

// A frame full of a coroutine's own number, on the real stack even under ASan.
struct canaries {
    volatile uint32_t words[64];
    explicit canaries(uint32_t id) {
        for (uint32_t i = 0; i < 64; ++i)
            words[i] = id * 1000 + i;
    }
    bool intact(uint32_t id) const {
        for (uint32_t i = 0; i < 64; ++i)
            if (words[i] != id * 1000 + i)
                return false;
        return true;
    }
};

struct SharedStack : CoreTest {
    stCoRoutine_t *make(std::function<void()> body) {
        return CoreTest::make(std::move(body), Stack::shared_one);
    }
    stCoRoutine_t *start(std::function<void()> body) {
        return CoreTest::start(std::move(body), Stack::shared_one);
    }
};

// contract 13:
//
//     a: locals, yield                                       locals intact?
//     b:                   runs over them, ends, is freed
TEST_F(SharedStack, LocalsSurviveWhenAnotherCoroutineTakesTheStackAndIsFreed) {
    bool intact = false;
    stCoRoutine_t *a = make([&] {
        canaries mine(1);
        co_yield_ct();
        intact = mine.intact(1);
    });
    co_resume(a);
    stCoRoutine_t *b = make([] {
        canaries mine(2);
        EXPECT_TRUE(mine.intact(2));
    });
    co_resume(b);
    release(b);
    co_resume(a);
    EXPECT_TRUE(intact);
}

// contract 13: freed before it ended.
TEST_F(SharedStack, LocalsSurviveWhenTheOtherIsReleasedUnfinished) {
    bool intact = false;
    stCoRoutine_t *a = make([&] {
        canaries mine(1);
        co_yield_ct();
        intact = mine.intact(1);
    });
    co_resume(a);
    stCoRoutine_t *b = make([] {
        canaries mine(2);
        co_yield_ct();
        EXPECT_TRUE(mine.intact(2));
    });
    co_resume(b);
    EXPECT_EQ(stacks()->stacks[0].occupant, b);
    release(b);
    EXPECT_EQ(stacks()->stacks[0].occupant, nullptr);
    co_resume(a);
    EXPECT_TRUE(intact);
}

// contract 13: and one that is out when it is freed.
TEST_F(SharedStack, OneThatIsFreedWhileItIsOutLeavesTheOthersAlone) {
    int intact = 0;
    std::vector<stCoRoutine_t *> all;
    for (uint32_t i = 0; i < 10; ++i) {
        all.push_back(make([&intact, i] {
            canaries mine(i);
            co_yield_ct();
            intact += mine.intact(i);
        }));
        co_resume(all.back());
    }
    for (size_t i = 0; i < 10; i += 2)
        release(all[i]);
    for (size_t i = 1; i < 10; i += 2)
        co_resume(all[i]);
    EXPECT_EQ(intact, 5);
}

TEST_F(SharedStack, AlwaysComesBackToTheSameAddresses) {
    std::vector<stCoRoutine_t *> all;
    int moved = 0;
    for (int i = 0; i < 5; ++i)
        all.push_back(make([&moved, i] {
            volatile int local = i;
            volatile int *where = &local;
            for (int turn = 0; turn < 5; ++turn) {
                co_yield_ct();
                moved += where != &local || *where != i;
            }
        }));
    for (int turn = 0; turn < 6; ++turn)
        for (stCoRoutine_t *co : all)
            co_resume(co);
    EXPECT_EQ(moved, 0);
}

// contract 15: A resumes B while both live on one stack: nobody may stand on it while it is copied.
TEST_F(SharedStack, NestedResumesOnOneStackWork50Deep) {
    int intact = 0, deepest = 0;
    std::function<void(int)> level = [&](int depth) {
        canaries mine(static_cast<uint32_t>(depth));
        deepest = depth;
        if (depth < 50) {
            stCoRoutine_t *next = make([&level, depth] { level(depth + 1); });
            co_resume(next);
            intact += mine.intact(static_cast<uint32_t>(depth));
            co_resume(next); // once more, from its yield to its end
        }
        intact += mine.intact(static_cast<uint32_t>(depth));
        if (depth > 0) {
            co_yield_ct();
            intact += mine.intact(static_cast<uint32_t>(depth));
        }
    };
    level(0);
    EXPECT_EQ(deepest, 50);
    EXPECT_EQ(intact, 50 + 51 + 50);
}

// contract 16: the copies are counted, so that "none" can be seen.
TEST_F(SharedStack, ReEnteringTheOccupantCopiesNothing) {
    stCoRoutine_t *co = make([] {
        for (;;)
            co_yield_ct();
    });
    co_resume(co);
    co_stats before = stats();
    for (int i = 0; i < 1000; ++i)
        co_resume(co);
    co_stats after = stats();
    EXPECT_EQ(after.copies, before.copies);
    EXPECT_EQ(after.bytes_copied, before.bytes_copied);
    EXPECT_EQ(after.switches - before.switches, 2000U);
}

// contract 16: private coroutines in between disturb no one.
TEST_F(SharedStack, ACoroutineOnAPrivateStackInBetweenCausesNoCopy) {
    stCoRoutine_t *shared = make([] {
        for (;;)
            co_yield_ct();
    });
    stCoRoutine_t *other = CoreTest::make([] {
        for (;;)
            co_yield_ct();
    });
    co_resume(shared);
    co_resume(other);
    uint64_t copies = stats().copies;
    for (int i = 0; i < 100; ++i) {
        co_resume(other);
        co_resume(shared);
    }
    EXPECT_EQ(stats().copies, copies);
}

// contract 16: what is copied is what is live, and one that has ended is not saved.
TEST_F(SharedStack, OnlyLiveBytesAreCopied) {
    auto turns = [] {
        for (int i = 0; i < 3; ++i)
            co_yield_ct();
    };
    stCoRoutine_t *a = make(turns), *b = make(turns);
    co_resume(a);
    co_stats before = stats();
    co_resume(b); // a out
    co_stats s = stats();
    EXPECT_EQ(s.copies - before.copies, 1U);
    EXPECT_EQ(s.bytes_saved, a->tenancy.saved_bytes);
    EXPECT_GT(s.bytes_saved, 0U);
    EXPECT_LT(s.bytes_saved, 4096U) << "not the 128 KiB of the stack";
    uint64_t copies = s.copies;
    co_resume(a); // b out, a in
    EXPECT_EQ(stats().copies, copies + 2);
    co_resume(a);
    co_resume(a);
    copies = stats().copies;
    co_resume(b); // a has ended: b in
    EXPECT_EQ(stats().copies, copies + 1);
}

TEST_F(SharedStack, AStackOfAnotherGroupIsNotTouched) {
    stShareStack_t *two = co_alloc_sharestack(2, 64 * 1024);
    stCoRoutineAttr_t attr;
    attr.share_stack = two;
    stCoRoutine_t *co[2];
    for (stCoRoutine_t *&c : co)
        c = make_with(attr, [] {
            for (;;)
                co_yield_ct();
        });
    EXPECT_NE(co[0]->tenancy.home, co[1]->tenancy.home) << "the fewest tenants: one each";
    uint64_t copies = stats().copies;
    for (int i = 0; i < 10; ++i)
        for (stCoRoutine_t *c : co)
            co_resume(c);
    EXPECT_EQ(stats().copies, copies);
    EXPECT_EQ(co_release_sharestack(two), EBUSY);
    for (stCoRoutine_t *c : co)
        release(c);
    EXPECT_EQ(co_release_sharestack(two), 0);
}

TEST_F(SharedStack, ImpossibleGroupsAreRefused) {
    for (auto [count, size] : {std::pair{0, 4096}, {-1, 4096}, {1, 0}, {1, -5}, {1 << 21, 4096}}) {
        errno = 0;
        EXPECT_EQ(co_alloc_sharestack(count, size), nullptr);
        EXPECT_EQ(errno, EINVAL);
    }
    EXPECT_EQ(co_release_sharestack(nullptr), EINVAL);
}

// contract 37: a join result into a variable of the joiner's own stack, which is out when it comes.
TEST_F(SharedStack, JoinResultsArriveInStackVariablesOfTheJoiner) {
    constexpr int joiners = 20;
    int right = 0;
    std::vector<stCoRoutine_t *> targets;
    static int results[joiners];
    for (uint32_t i = 0; i < joiners; ++i) {
        stCoRoutine_t *target = nullptr;
        stCoRoutineAttr_t attr = attr_for(Stack::shared_one);
        ASSERT_EQ(co_go(
                      &target, &attr,
                      [](void *result) -> void * {
                          canaries mine(7);
                          for (int k = 0; k < 5; ++k)
                              co_yield_now();
                          return mine.intact(7) ? result : nullptr;
                      },
                      &results[i]),
                  0);
        targets.push_back(target);
        start([&right, target, i] {
            canaries above(i);
            void *result = nullptr;
            canaries below(i + 1);
            EXPECT_EQ(co_join(target, &result), 0);
            right += result == &results[i] && above.intact(i) && below.intact(i + 1);
        });
    }
    co_run();
    EXPECT_EQ(right, joiners);
    for (stCoRoutine_t *co : targets)
        co_release(co);
}

// contract 37: those who are cancelled are out; those who stay keep their bytes.
TEST_F(SharedStack, ACancelWritesToNobodyElsesStack) {
    constexpr uint32_t many = 40;
    int intact = 0, unwound = 0;
    std::vector<stCoRoutine_t *> all;
    for (uint32_t i = 0; i < many; ++i)
        all.push_back(start([&, i] {
            canaries mine(i);
            Unwound guard{&unwound};
            for (int turn = 0; turn < 10; ++turn)
                co_yield_now();
            intact += mine.intact(i);
        }));
    for (int turn = 0; turn < 3; ++turn)
        co_yield_now();
    for (uint32_t i = 0; i < many; i += 2)
        EXPECT_EQ(co_cancel(all[i]), 0);
    co_run();
    EXPECT_EQ(intact, static_cast<int>(many / 2));
    EXPECT_EQ(unwound, static_cast<int>(many));
}

// contract 37: poll writes its answer into an array on the caller's stack.
TEST_F(SharedStack, PollAnswersArriveInStackArraysOfTheCaller) {
    constexpr int many = 10;
    int pipes[many][2], right = 0;
    for (int i = 0; i < many; ++i) {
        ASSERT_EQ(pipe(pipes[i]), 0);
        start([&right, fd = pipes[i][0], i] {
            canaries above(static_cast<uint32_t>(i));
            pollfd p[2] = {{fd, POLLIN, 0x55}, {-1, POLLIN, 0x55}};
            canaries below(static_cast<uint32_t>(i));
            int n = co_poll(nullptr, p, 2, -1);
            right += n == 1 && p[0].revents == POLLIN && p[1].revents == 0 &&
                     above.intact(static_cast<uint32_t>(i)) &&
                     below.intact(static_cast<uint32_t>(i));
        });
    }
    CoreTest::start([&] {
        co_yield_now();
        for (int i = many - 1; i >= 0; --i) {
            EXPECT_EQ(::write(pipes[i][1], "x", 1), 1);
            co_yield_now();
        }
    });
    co_run();
    EXPECT_EQ(right, many);
    for (auto &p : pipes) {
        close(p[0]);
        close(p[1]);
    }
}

// The shared stacks of a thread, and those on them, go with the thread.
TEST_F(SharedStack, AThreadThatEndsLeavesNothingBehind) {
    std::thread([] {
        stCoRoutineAttr_t attr;
        attr.share_stack = co_alloc_sharestack(2, 64 * 1024);
        for (int i = 0; i < 10; ++i) {
            stCoRoutine_t *co = nullptr;
            ASSERT_EQ(co_create(
                          &co, &attr,
                          [](void *) -> void * {
                              co_yield_ct();
                              return nullptr;
                          },
                          nullptr),
                      0);
            co_resume(co);
        }
    }).join();
}

} // namespace
