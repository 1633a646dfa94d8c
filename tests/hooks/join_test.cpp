// SPDX-License-Identifier: Apache-2.0
// Joining threads from coroutines.
#include "tests/hooks/threads_fixture.h"

#include <atomic>
#include <dirent.h>

namespace {

void *sleep_and_answer(void *us) {
    usleep(static_cast<useconds_t>(reinterpret_cast<uintptr_t>(us)));
    return us;
}
pthread_t start(uintptr_t us) {
    pthread_t t;
    EXPECT_EQ(pthread_create(&t, nullptr, sleep_and_answer, reinterpret_cast<void *>(us)), 0);
    return t;
}
int open_descriptors() {
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        ++n;
    closedir(d);
    return n;
}

TEST(PthreadJoin, AsWithThreads) {
    expect_same([](side &s) {
        void *result = nullptr;
        s.says("join", pthread_join(start(3000), &result));
        s.says("result", reinterpret_cast<uintptr_t>(result));
        pthread_t ended = start(0);
        usleep(5000);
        s.says("join one that has ended", pthread_join(ended, nullptr));
        s.says("join myself", pthread_join(pthread_self(), nullptr));
        pthread_t slow = start(40000);
        s.says("try", pthread_tryjoin_np(slow, &result));
        timespec past{0, 0}, soon = after_ms(CLOCK_REALTIME, 2);
        s.says("timed, past", pthread_timedjoin_np(slow, &result, &past));
        s.says("timed", pthread_timedjoin_np(slow, &result, &soon));
        soon = after_ms(CLOCK_MONOTONIC, 2);
        s.says("clock", pthread_clockjoin_np(slow, &result, CLOCK_MONOTONIC, &soon));
        // (libc spins until the thread ends where the manual says EINVAL.)
        timespec bad{0, -1};
        s.says("bad time", s.coroutines() ? pthread_timedjoin_np(slow, &result, &bad) : EINVAL);
        timespec later = after_ms(CLOCK_REALTIME, 60000);
        s.says("in time", pthread_timedjoin_np(slow, &result, &later));
        s.says("result", reinterpret_cast<uintptr_t>(result));
        pthread_attr_t a;
        pthread_attr_init(&a);
        pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
        pthread_t detached;
        pthread_create(&detached, &a, sleep_and_answer, reinterpret_cast<void *>(20000));
        s.says("detached", pthread_join(detached, nullptr));
        usleep(30000); // it uses what the sanitizers hold against it at exit
    });
}

TEST(PthreadJoin, TheOthersGoOnMeanwhile) {
    int ticks = 0, joined = 0;
    int before = open_descriptors();
    std::vector<std::function<void()>> bodies{[&] {
        while (joined < 8 && ++ticks < 100000)
            usleep(500);
    }};
    for (int i = 0; i < 8; ++i)
        bodies.push_back([&, i] {
            std::thread t([i] { usleep(static_cast<useconds_t>(4000 + 500 * i)); });
            t.join();
            ++joined;
        });
    run_together(bodies);
    EXPECT_EQ(joined, 8);
    EXPECT_GT(ticks, 2);
    EXPECT_LE(open_descriptors(), before + 3); // the loop's own
}

TEST(PthreadJoin, ACancelledJoinLosesNoThread) {
    std::atomic<bool> release{false};
    pthread_t t;
    pthread_create(
        &t, nullptr,
        [](void *r) -> void * {
            while (!*static_cast<std::atomic<bool> *>(r))
                usleep(200);
            return r;
        },
        &release);
    bool after = false;
    void *result = nullptr;
    stCoRoutine_t *victim = go([&] {
        pthread_join(t, nullptr);
        after = true;
    });
    run_together({[&] {
        pass();
        usleep(1000);
        co_cancel(victim);
        pass();
        pass();
        release = true;
        EXPECT_EQ(pthread_join(t, &result), 0);
    }});
    co_release(victim);
    EXPECT_FALSE(after);
    EXPECT_EQ(result, &release);
}

TEST(PthreadJoin, ResultsOnASharedStack) { // contract 37
    stShareStack_t *stack = co_alloc_sharestack(1, 128 * 1024);
    int right = 0;
    std::vector<stCoRoutine_t *> all;
    for (uintptr_t i = 1; i <= 4; ++i)
        all.push_back(go(
            [&, i] {
                void *result = nullptr;
                EXPECT_EQ(pthread_join(start(i * 1000), &result), 0);
                right += result == reinterpret_cast<void *>(i * 1000);
            },
            stack));
    co_run();
    EXPECT_EQ(right, 4);
    for (stCoRoutine_t *co : all)
        co_release(co);
    co_release_sharestack(stack);
}

} // namespace
