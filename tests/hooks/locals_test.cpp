// SPDX-License-Identifier: Apache-2.0
// Thread-specific data, where coroutines ask for their own.
#include "tests/hooks/threads_fixture.h"

#include <threads.h>

namespace {

void with_locals() { ASSERT_EQ(co_hook_set_families(CO_HOOK_DEFAULT | CO_HOOK_LOCALS), 0); }

TEST(PthreadLocals, EachCoroutineHasItsOwn) { // contract 29
    pthread_key_t key;
    ASSERT_EQ(pthread_key_create(&key, nullptr), 0);
    int mine = 0, of_thread = 0;
    pthread_setspecific(key, &of_thread);
    std::vector<std::function<void()>> bodies;
    for (int i = 0; i < 5; ++i)
        bodies.push_back([&] {
            with_locals();
            int value = 0;
            EXPECT_EQ(pthread_getspecific(key), nullptr);
            EXPECT_EQ(pthread_setspecific(key, &value), 0);
            pass();
            EXPECT_EQ(pthread_getspecific(key), &value);
            usleep(100);
            EXPECT_EQ(pthread_getspecific(key), &value);
            EXPECT_EQ(tss_get(key), &value);
            ++mine;
        });
    bodies.push_back([&] { EXPECT_EQ(pthread_getspecific(key), &of_thread); }); // did not ask
    run_together(bodies);
    EXPECT_EQ(mine, 5);
    EXPECT_EQ(pthread_getspecific(key), &of_thread);
    EXPECT_EQ(pthread_key_delete(key), 0);
}

pthread_key_t round_key;
int rounds;
void once_more(void *value) {
    ++rounds;
    pthread_setspecific(round_key, value);
}

TEST(PthreadLocals, DestructorsRunInFourRoundsAtTheEnd) {
    expect_same([](side &s) {
        rounds = 0;
        s.says("create", pthread_key_create(&round_key, once_more));
        s.partner([&](side &p) {
            if (p.coroutines())
                with_locals();
            static int value;
            p.says("set", pthread_setspecific(round_key, &value));
        });
        s.join();
        s.says("rounds", rounds);
        s.says("delete", pthread_key_delete(round_key));
    });
}

TEST(PthreadLocals, ACancelledCoroutinesValuesAreDestroyed) {
    static int destroyed;
    destroyed = 0;
    pthread_key_t key;
    pthread_key_create(&key, [](void *) { ++destroyed; });
    stCoRoutine_t *victim = go([&] {
        with_locals();
        pthread_setspecific(key, &key);
        usleep(60000000);
    });
    run_together({[&] {
        pass();
        co_cancel(victim);
    }});
    EXPECT_EQ(destroyed, 1);
    co_release(victim);
    pthread_key_delete(key);
}

TEST(PthreadLocals, KeysComeAndGo) {
    expect_same([](side &s) {
        if (s.coroutines())
            with_locals();
        static int destroyed, value;
        destroyed = 0;
        pthread_key_t key;
        s.says("get before create", pthread_getspecific(1023) == nullptr);
        s.says("set of no key", pthread_setspecific(1023, &value));
        s.says("set of no key", pthread_setspecific(5000, &value));
        for (int i = 0; i < 3; ++i) {
            s.says("create", pthread_key_create(&key, [](void *) { ++destroyed; }));
            s.says("new", pthread_getspecific(key) == nullptr);
            s.says("set", pthread_setspecific(key, &value));
            s.says("get", pthread_getspecific(key) == &value);
            s.says("null", pthread_setspecific(key, nullptr));
            s.says("get", pthread_getspecific(key) == nullptr);
            s.says("set", pthread_setspecific(key, &value));
            s.says("delete", pthread_key_delete(key));
            s.says("delete again", pthread_key_delete(key));
        }
        tss_t t;
        s.says("create", tss_create(&t, nullptr));
        s.says("set", tss_set(t, &value));
        s.says("get", tss_get(t) == &value);
        tss_delete(t);
        s.says("destroyed", destroyed);
    });
}

} // namespace
