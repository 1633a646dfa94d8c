// SPDX-License-Identifier: Apache-2.0
// C11's and C++'s names for the same objects, and i386's with 64-bit times.
#include "tests/hooks/threads_fixture.h"

#include <condition_variable>
#include <mutex>
#include <threads.h>

namespace {

TEST(C11Threads, MutexesAsWithThreads) {
    for (int type : {int{mtx_plain}, int{mtx_timed}, mtx_timed | mtx_recursive})
        expect_same([type](side &s) {
            mtx_t m;
            s.says("init", mtx_init(&m, type));
            s.says("lock", mtx_lock(&m));
            s.says("try", mtx_trylock(&m));
            s.partner([&](side &p) {
                p.says("try by another", mtx_trylock(&m));
                timespec soon = after_ms(CLOCK_REALTIME, 3), bad{0, -1};
                p.says("timed", mtx_timedlock(&m, &soon));
                p.says("bad time", mtx_timedlock(&m, &bad));
                p.says("lock", mtx_lock(&m));
                p.says("unlock", mtx_unlock(&m));
            });
            usleep(15000);
            if (type & mtx_recursive)
                s.says("unlock", mtx_unlock(&m));
            s.says("unlock", mtx_unlock(&m));
            s.join();
            mtx_destroy(&m);
        });
}

TEST(C11Threads, ConditionsAsWithThreads) {
    expect_same([](side &s) {
        mtx_t m;
        cnd_t c;
        int stage = 0;
        mtx_init(&m, mtx_plain);
        s.says("init", cnd_init(&c));
        s.partner([&](side &p) {
            mtx_lock(&m);
            while (stage == 0)
                cnd_wait(&c, &m);
            p.says("stage", stage);
            stage = 2;
            p.says("broadcast", cnd_broadcast(&c));
            mtx_unlock(&m);
        });
        usleep(2000);
        mtx_lock(&m);
        stage = 1;
        s.says("signal", cnd_signal(&c));
        timespec later = after_ms(CLOCK_REALTIME, 60000), bad{0, -1};
        while (stage == 1)
            s.says("timed", cnd_timedwait(&c, &m, &later));
        timespec soon = after_ms(CLOCK_REALTIME, 3);
        s.says("timed out", cnd_timedwait(&c, &m, &soon));
        s.says("bad time", cnd_timedwait(&c, &m, &bad));
        mtx_unlock(&m);
        s.join();
        cnd_destroy(&c);
        mtx_destroy(&m);
    });
}

TEST(C11Threads, APlainThreadOnTheOtherSide) {
    mtx_t m;
    cnd_t c;
    int turn = 0;
    mtx_init(&m, mtx_plain);
    cnd_init(&c);
    auto play = [&](int mine) {
        for (int i = 0; i < 200; ++i) {
            mtx_lock(&m);
            while (turn != mine)
                cnd_wait(&c, &m);
            turn = 1 - mine;
            cnd_signal(&c);
            mtx_unlock(&m);
        }
    };
    std::thread plain(play, 1);
    in_coroutine([&] { play(0); });
    plain.join();
    EXPECT_EQ(turn, 0);
    cnd_destroy(&c);
    mtx_destroy(&m);
}

TEST(C11Threads, Join) {
    expect_same([](side &s) {
        thrd_t t;
        int result = 0;
        thrd_create(
            &t,
            [](void *) {
                usleep(3000);
                return -7;
            },
            nullptr);
        s.says("join", thrd_join(t, &result));
        s.says("result", result);
        s.says("join myself", thrd_join(thrd_current(), &result));
    });
}

TEST(StdConditionVariable, EveryWait) {
    using namespace std::chrono;
    std::mutex m;
    std::condition_variable c;
    std::condition_variable_any any;
    int stage = 0;
    run_together({[&] {
                      std::unique_lock lock(m);
                      c.wait(lock, [&] { return stage == 1; });
                      EXPECT_FALSE(c.wait_for(lock, milliseconds(3), [] { return false; }));
                      EXPECT_EQ(c.wait_until(lock, steady_clock::now() + milliseconds(3)),
                                std::cv_status::timeout);
                      EXPECT_EQ(c.wait_until(lock, system_clock::now() + milliseconds(3)),
                                std::cv_status::timeout);
                      stage = 2;
                      any.notify_all();
                      EXPECT_TRUE(c.wait_for(lock, seconds(60), [&] { return stage == 3; }));
                  },
                  [&] {
                      std::unique_lock lock(m);
                      stage = 1;
                      c.notify_one();
                      any.wait(lock, [&] { return stage == 2; });
                      stage = 3;
                      lock.unlock();
                      c.notify_one();
                  }});
    EXPECT_EQ(stage, 3);
}

TEST(StdConditionVariable, ACancelUnwindsItsWait) {
    std::mutex m;
    std::condition_variable c;
    bool destroyed = false;
    stCoRoutine_t *victim = go([&] {
        struct mark {
            bool &b;
            ~mark() { b = true; }
        } at_end{destroyed};
        std::unique_lock lock(m);
        c.wait(lock, [] { return false; });
    });
    run_together({[&] {
        pass();
        co_cancel(victim);
    }});
    co_release(victim);
    EXPECT_TRUE(destroyed);
    EXPECT_TRUE(m.try_lock());
    m.unlock();
}

#if defined(__i386__)
// What a program built with 64-bit times calls.
struct timespec64 {
    int64_t tv_sec;
    int32_t tv_nsec, padding;
};
extern "C" {
int __pthread_cond_timedwait64(pthread_cond_t *, pthread_mutex_t *, const timespec64 *);
int __pthread_cond_clockwait64(pthread_cond_t *, pthread_mutex_t *, clockid_t, const timespec64 *);
int __pthread_mutex_timedlock64(pthread_mutex_t *, const timespec64 *);
int __pthread_mutex_clocklock64(pthread_mutex_t *, clockid_t, const timespec64 *);
int __pthread_rwlock_timedrdlock64(pthread_rwlock_t *, const timespec64 *);
int __pthread_rwlock_clockwrlock64(pthread_rwlock_t *, clockid_t, const timespec64 *);
int __pthread_timedjoin_np64(pthread_t, void **, const timespec64 *);
int __pthread_clockjoin_np64(pthread_t, void **, clockid_t, const timespec64 *);
int __mtx_timedlock64(mtx_t *, const timespec64 *);
int __cnd_timedwait64(cnd_t *, mtx_t *, const timespec64 *);
}
TEST(Pthreads, TheNamesWith64BitTimes) {
    expect_same([](side &s) {
        auto in_5_ms = [](clockid_t clock) {
            timespec t = after_ms(clock, 5);
            return timespec64{t.tv_sec, static_cast<int32_t>(t.tv_nsec), -1};
        };
        timespec64 past{-1, 0, 0}, bad{0, -1, 0}, real, monotonic;
        pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
        pthread_cond_t c = PTHREAD_COND_INITIALIZER;
        pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
        mtx_t mtx;
        cnd_t cnd;
        mtx_init(&mtx, mtx_timed);
        cnd_init(&cnd);
        pthread_mutex_lock(&m);
        pthread_rwlock_wrlock(&rw);
        mtx_lock(&mtx);
        real = in_5_ms(CLOCK_REALTIME);
        s.says("cond", __pthread_cond_timedwait64(&c, &m, &real));
        s.says("cond, past", __pthread_cond_timedwait64(&c, &m, &past));
        s.says("cond, bad", __pthread_cond_timedwait64(&c, &m, &bad));
        monotonic = in_5_ms(CLOCK_MONOTONIC);
        s.says("cond", __pthread_cond_clockwait64(&c, &m, CLOCK_MONOTONIC, &monotonic));
        real = in_5_ms(CLOCK_REALTIME);
        s.says("cnd", __cnd_timedwait64(&cnd, &mtx, &real));
        s.partner([&](side &p) {
            real = in_5_ms(CLOCK_REALTIME);
            p.says("mutex", __pthread_mutex_timedlock64(&m, &real));
            p.says("mutex, bad", __pthread_mutex_timedlock64(&m, &bad));
            monotonic = in_5_ms(CLOCK_MONOTONIC);
            p.says("mutex", __pthread_mutex_clocklock64(&m, CLOCK_MONOTONIC, &monotonic));
            p.says("mtx", __mtx_timedlock64(&mtx, &real));
            real = in_5_ms(CLOCK_REALTIME);
            p.says("rwlock", __pthread_rwlock_timedrdlock64(&rw, &real));
            monotonic = in_5_ms(CLOCK_MONOTONIC);
            p.says("rwlock", __pthread_rwlock_clockwrlock64(&rw, CLOCK_MONOTONIC, &monotonic));
            std::thread slow([] { usleep(40000); });
            real = in_5_ms(CLOCK_REALTIME);
            p.says("join", __pthread_timedjoin_np64(slow.native_handle(), nullptr, &real));
            monotonic = in_5_ms(CLOCK_MONOTONIC);
            p.says("join", __pthread_clockjoin_np64(slow.native_handle(), nullptr, CLOCK_MONOTONIC,
                                                    &monotonic));
            slow.join();
        });
        s.join();
        mtx_unlock(&mtx);
        pthread_rwlock_unlock(&rw);
        pthread_mutex_unlock(&m);
    });
}
#endif

} // namespace
