// SPDX-License-Identifier: Apache-2.0
#include "tests/core/core_fixture.h"

#include <thread>

namespace {

struct Locals : EachStack {};
ON_EACH_STACK(Locals);

int a_place, another_place;

// contract 29: values under pthread keys.
TEST_P(Locals, EachCoroutineHasItsOwnValueUnderAPthreadKeyAndSoHasTheThread) {
    pthread_key_t key;
    ASSERT_EQ(pthread_key_create(&key, nullptr), 0);
    ASSERT_EQ(co_setspecific(key, &a_place), 0);
    EXPECT_EQ(pthread_getspecific(key), &a_place) << "outside they are the pthread functions";
    int wrong = 0, values[20];
    for (int &value : values)
        start_detached([&wrong, &value, key] {
            wrong += co_getspecific(key) != nullptr;
            wrong += co_setspecific(key, &value) != 0;
            for (int i = 0; i < 5; ++i) {
                co_yield_now();
                wrong += co_getspecific(key) != &value;
            }
        });
    co_run();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(co_getspecific(key), &a_place);
    pthread_key_delete(key);
}

TEST_P(Locals, APthreadKeyOf1024OrMoreIsRefused) {
    int high = 0, highest = 0;
    void *value = &a_place;
    co_resume(make([&] {
        high = co_setspecific(1024, &a_place);
        highest = co_setspecific(1023, &a_place);
        value = co_getspecific(1024);
    }));
    EXPECT_EQ(high, EINVAL);
    EXPECT_EQ(highest, 0);
    EXPECT_EQ(value, nullptr);
}

TEST_P(Locals, ValuesSurviveThatTheTableGrows) {
    std::vector<co_key_t> keys(300);
    for (co_key_t &key : keys)
        ASSERT_EQ(co_key_create(&key, nullptr), 0);
    size_t right = 0;
    co_resume(make([&] {
        for (co_key_t key : keys)
            co_key_set(key, &keys[key % keys.size()]);
        for (co_key_t key : keys)
            right += co_key_get(key) == &keys[key % keys.size()];
    }));
    EXPECT_EQ(right, keys.size());
    for (co_key_t key : keys)
        EXPECT_EQ(co_key_delete(key), 0);
}

int destroyed;
void count_destroyed(void *value) {
    EXPECT_EQ(value, &a_place);
    ++destroyed;
}

struct KeyDestructors : EachStack {
    co_key_t key;
    void SetUp() override {
        EachStack::SetUp();
        destroyed = 0;
        ASSERT_EQ(co_key_create(&key, count_destroyed), 0);
    }
    void TearDown() override {
        EachStack::TearDown();
        co_key_delete(key);
    }
};
ON_EACH_STACK(KeyDestructors);

TEST_P(KeyDestructors, RunWhenTheCoroutineEnds) {
    stCoRoutine_t *co = make([&] {
        co_key_set(key, &a_place);
        co_yield_ct();
    });
    co_resume(co);
    EXPECT_EQ(destroyed, 0);
    co_resume(co);
    EXPECT_EQ(destroyed, 1);
    release(co);
    EXPECT_EQ(destroyed, 1) << "once";
}

TEST_P(KeyDestructors, RunOnTheCoroutineItself) {
    static stCoRoutine_t *ran_on;
    co_key_t own;
    ASSERT_EQ(co_key_create(&own, [](void *) { ran_on = co_self(); }), 0);
    stCoRoutine_t *co = make([&] { co_key_set(own, &a_place); });
    co_resume(co);
    EXPECT_EQ(ran_on, co);
    co_key_delete(own);
}

TEST_P(KeyDestructors, RunWhenAnUnfinishedOneIsReleased) {
    stCoRoutine_t *co = make([&] {
        co_key_set(key, &a_place);
        co_yield_ct();
    });
    co_resume(co);
    release(co);
    EXPECT_EQ(destroyed, 1);
}

TEST_P(KeyDestructors, RunWhenTheCoroutineIsCancelled) {
    stCoRoutine_t *co = make([&] {
        co_key_set(key, &a_place);
        co_yield_ct();
    });
    co_resume(co);
    EXPECT_EQ(co_cancel(co), 0);
    co_run();
    EXPECT_EQ(destroyed, 1);
}

TEST_P(KeyDestructors, DoNotRunForNullOrForAValueOfADeletedKey) {
    stCoRoutine_t *null = make([&] { co_key_set(key, nullptr); });
    co_resume(null);
    EXPECT_EQ(destroyed, 0);
    stCoRoutine_t *late = make([&] {
        co_key_set(key, &a_place);
        co_yield_ct();
    });
    co_resume(late);
    EXPECT_EQ(co_key_delete(key), 0);
    co_resume(late);
    EXPECT_EQ(destroyed, 0);
    ASSERT_EQ(co_key_create(&key, count_destroyed), 0);
}

co_key_t stubborn_key;
int stubborn_rounds;
void set_it_again(void *value) {
    ++stubborn_rounds;
    co_key_set(stubborn_key, value);
}

TEST_P(KeyDestructors, RunUpToFourRoundsForOneThatSetsItsValueAgain) {
    stubborn_rounds = 0;
    ASSERT_EQ(co_key_create(&stubborn_key, set_it_again), 0);
    co_resume(make([] { co_key_set(stubborn_key, &a_place); }));
    EXPECT_EQ(stubborn_rounds, 4);
    co_key_delete(stubborn_key);
}

TEST_P(KeyDestructors, OneRoundIsEnoughForADestructorThatSetsAnotherKey) {
    static co_key_t second;
    second = key;
    co_key_t first;
    ASSERT_EQ(co_key_create(&first, [](void *) { co_key_set(second, &a_place); }), 0);
    co_resume(make([&] { co_key_set(first, &another_place); }));
    EXPECT_EQ(destroyed, 1);
    co_key_delete(first);
}

using Keys = CoreTest;

TEST_F(Keys, OneThatIsMadeAgainFindsNoValueOfItsFormerLife) {
    co_key_t key, again;
    ASSERT_EQ(co_key_create(&key, nullptr), 0);
    stCoRoutine_t *co = make([&] {
        co_key_set(key, &a_place);
        co_yield_ct();
        EXPECT_EQ(co_key_get(key), nullptr) << "deleted";
        co_yield_ct();
        EXPECT_EQ(co_key_get(again), nullptr) << "made again";
    });
    co_resume(co);
    ASSERT_EQ(co_key_delete(key), 0);
    co_resume(co);
    ASSERT_EQ(co_key_create(&again, nullptr), 0);
    EXPECT_EQ(again, key) << "the lowest free number: else this test proves nothing";
    co_resume(co);
    co_key_delete(again);
}

TEST_F(Keys, There1024AndThenNoMore) {
    std::vector<co_key_t> keys;
    co_key_t key;
    int error;
    while ((error = co_key_create(&key, nullptr)) == 0)
        keys.push_back(key);
    EXPECT_EQ(error, EAGAIN);
    EXPECT_EQ(keys.size(), 1024U);
    for (co_key_t k : keys)
        EXPECT_EQ(co_key_delete(k), 0);
}

TEST_F(Keys, WhatIsNoKeyIsRefused) {
    EXPECT_EQ(co_key_create(nullptr, nullptr), EINVAL);
    EXPECT_EQ(co_key_delete(1024), EINVAL);
    EXPECT_EQ(co_key_set(5000, &a_place), EINVAL);
    EXPECT_EQ(co_key_get(5000), nullptr);
    co_key_t key;
    ASSERT_EQ(co_key_create(&key, nullptr), 0);
    EXPECT_EQ(co_key_delete(key), 0);
    EXPECT_EQ(co_key_delete(key), EINVAL);
    EXPECT_EQ(co_key_set(key, &a_place), EINVAL);
}

// The thread's own values, and those of coroutines that it leaves behind, go with the thread.
TEST_F(Keys, DestructorsRunAtTheEndOfAThreadForItselfAndForUnfinishedCoroutines) {
    destroyed = 0;
    co_key_t key;
    ASSERT_EQ(co_key_create(&key, count_destroyed), 0);
    std::thread([key] {
        co_key_set(key, &a_place);
        stCoRoutine_t *left_behind = nullptr;
        co_create(
            &left_behind, nullptr,
            [](void *k) -> void * {
                co_key_set(*static_cast<const co_key_t *>(k), &a_place);
                co_yield_ct();
                return nullptr;
            },
            const_cast<co_key_t *>(&key));
        co_resume(left_behind);
        EXPECT_EQ(co_key_get(key), &a_place);
    }).join();
    EXPECT_EQ(destroyed, 2);
    co_key_delete(key);
}

} // namespace
