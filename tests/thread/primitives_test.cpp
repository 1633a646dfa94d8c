// SPDX-License-Identifier: Apache-2.0
// Semaphores, futexes and what stands on them, between coroutines of two threads and plain threads.
// Counts say that no wake-up was lost and none was taken twice.
#include "tests/thread/threads_fixture.h"

#include "co_hook/calls/address_wait.h"

#include <barrier>
#include <future>
#include <latch>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <semaphore>
#include <sys/syscall.h>

using namespace corun;

namespace {

using CrossSemaphore = ThreadsTest;
using CrossFutex = ThreadsTest;
using CrossBarrier = ThreadsTest;
using CrossOnce = ThreadsTest;
using CrossAddress = ThreadsTest;

using bodies = std::vector<std::function<void()>>;

// f(i) in `count` coroutines with hooks on.
template <class F> bodies hooked(int count, F f) {
    bodies all;
    for (int i = 0; i < count; ++i)
        all.push_back([f, i] {
            co_enable_hook_sys();
            f(i);
        });
    return all;
}

timespec in_us(long us) {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t ns = t.tv_nsec + int64_t{us} * 1000; // a long is too short for it on i386
    t.tv_sec += static_cast<time_t>(ns / 1000000000);
    t.tv_nsec = static_cast<long>(ns % 1000000000);
    return t;
}
timespec patience() { return in_us(20000000); }

// One who is never woken is a failure and not a hang.
bool take(sem_t *s) {
    timespec limit = patience();
    return sem_clockwait(s, CLOCK_MONOTONIC, &limit) == 0;
}

// Four coroutines on each of two threads and two plain threads: everybody gives and takes.
TEST_F(CrossSemaphore, HundredThousandOperationsEachNoneLost) { // contract 36
    const int each = rounds(100000);
    sem_t s;
    ASSERT_EQ(sem_init(&s, 0, 3), 0);
    std::atomic<int> lost{0}, inside{0}, most{0};
    auto body = [&](int) {
        for (int i = 0; i < each; ++i) {
            if (!take(&s)) {
                ++lost;
                return;
            }
            int now = ++inside;
            if (now > most)
                most = now;
            if (i % 64 == 0 && co_self())
                co_yield_now(); // holds it meanwhile
            --inside;
            sem_post(&s);
        }
    };
    loop_thread a(hooked(4, body)), b(hooked(4, body));
    std::thread c([&] { body(0); }), d([&] { body(0); });
    a.join();
    b.join();
    c.join();
    d.join();
    int value = 0;
    sem_getvalue(&s, &value);
    EXPECT_EQ(lost, 0);
    EXPECT_EQ(value, 3);
    EXPECT_LE(most, 3);
    sem_destroy(&s);
}

TEST_F(CrossSemaphore, PingPongNoneLost) { // contract 36
    const int turns = rounds(100000) / 4;
    constexpr int pairs = 4;
    sem_t there[pairs], back[pairs];
    std::atomic<int> lost{0};
    for (int i = 0; i < pairs; ++i) {
        sem_init(&there[i], 0, 0);
        sem_init(&back[i], 0, 0);
    }
    loop_thread a(hooked(pairs, [&](int i) {
        for (int k = 0; k < turns; ++k) {
            sem_post(&there[i]);
            if (!take(&back[i]))
                return void(++lost);
        }
    }));
    loop_thread b(hooked(pairs, [&](int i) {
        for (int k = 0; k < turns; ++k) {
            if (!take(&there[i]))
                return void(++lost);
            sem_post(&back[i]);
        }
    }));
    a.join();
    b.join();
    EXPECT_EQ(lost, 0);
}

// Waiters give up all the time, at the moment of a post if it can be.
TEST_F(CrossSemaphore, PostsThatMeetATimeoutAreKept) { // contract 38
    const int posts = rounds(20000);
    sem_t s;
    sem_init(&s, 0, 0);
    std::atomic<int> taken{0};
    std::atomic<bool> over{false};
    auto taker = [&](int i) {
        while (!over) {
            timespec limit = in_us(20 + 7 * i);
            taken += sem_clockwait(&s, CLOCK_MONOTONIC, &limit) == 0;
        }
    };
    loop_thread a(hooked(3, taker)), b(hooked(3, taker));
    std::thread c([&] { taker(5); });
    for (int i = 0; i < posts; ++i) {
        sem_post(&s);
        if (i % 8 == 0)
            std::this_thread::yield();
    }
    EXPECT_TRUE(eventually([&] { return taken == posts; })) << taken;
    over = true;
    a.join();
    b.join();
    c.join();
    int value = 0;
    sem_getvalue(&s, &value);
    EXPECT_EQ(taken + value, posts);
}

TEST_F(CrossFutex, AtomicWaitNoneLost) { // contract 36
    const int turns = rounds(100000) / 4;
    std::atomic<int> turn{0};
    auto player = [&](int side) { // of three: a coroutine here, one there, and a thread
        for (int t; (t = turn.load()) < turns;) {
            if (t % 3 != side) {
                turn.wait(t);
                continue;
            }
            turn = t + 1;
            turn.notify_all();
        }
    };
    loop_thread a(hooked(1, [&](int) { player(0); })), b(hooked(1, [&](int) { player(1); }));
    std::thread c([&] { player(2); });
    a.join();
    b.join();
    c.join();
    EXPECT_EQ(turn, turns);
}

TEST_F(CrossFutex, StandardSemaphoreLatchAndBarrier) { // contract 36
    const int each = rounds(20000);
    std::counting_semaphore<1000000> items{0};
    std::latch done{9};
    std::barrier meeting{9};
    std::atomic<int> taken{0};
    auto consumer = [&](int) {
        for (int i = 0; i < each; ++i) {
            items.acquire();
            ++taken;
        }
        done.arrive_and_wait();
        for (int i = 0; i < 20; ++i)
            meeting.arrive_and_wait();
    };
    loop_thread a(hooked(4, consumer)), b(hooked(4, consumer));
    std::thread c([&] { consumer(0); });
    for (int i = 0; i < 9 * each; ++i)
        items.release();
    a.join();
    b.join();
    c.join();
    EXPECT_EQ(taken, 9 * each);
    EXPECT_FALSE(items.try_acquire());
}

TEST_F(CrossFutex, PromisesAcrossThreads) {
    constexpr int count = 200;
    std::vector<std::promise<int>> promises(count), answers(count);
    std::atomic<int> sum{0};
    loop_thread a(
        hooked(count, [&](int i) { answers[i].set_value(promises[i].get_future().get() * 2); }));
    loop_thread b(hooked(count, [&](int i) {
        std::future<int> answer = answers[i].get_future();
        if (i % 3 == 0)
            co_sleep_ms(1);
        promises[i].set_value(i);
        sum += answer.get();
    }));
    a.join();
    b.join();
    EXPECT_EQ(sum, count * (count - 1));
}

TEST_F(CrossBarrier, CoroutinesOfTwoThreadsAndPlainThreads) { // contract 36
    const int count = rounds(4000);
    constexpr int each = 3;
    pthread_barrier_t b;
    ASSERT_EQ(pthread_barrier_init(&b, nullptr, 2 * each + 2), 0);
    std::atomic<int> arrived{0}, serial{0}, early{0};
    auto party = [&](int) {
        for (int round = 1; round <= count; ++round) {
            ++arrived;
            serial += pthread_barrier_wait(&b) == PTHREAD_BARRIER_SERIAL_THREAD;
            early += arrived < round * (2 * each + 2);
        }
    };
    loop_thread x(hooked(each, party)), y(hooked(each, party));
    std::thread c([&] { party(0); }), d([&] { party(0); });
    x.join();
    y.join();
    c.join();
    d.join();
    EXPECT_EQ(serial, count);
    EXPECT_EQ(early, 0);
    EXPECT_EQ(pthread_barrier_destroy(&b), 0);
}

std::atomic<int> once_ran;
TEST_F(CrossOnce, OneRunsItAndAllWait) {
    const int count = rounds(2000) + 10;
    std::vector<pthread_once_t> onces(count, PTHREAD_ONCE_INIT);
    std::vector<std::atomic<int>> values(count);
    std::atomic<int> early{0};
    once_ran = 0;
    auto user = [&](int) {
        for (int i = 0; i < count; ++i) {
            static thread_local std::atomic<int> *value;
            value = &values[i];
            pthread_once(&onces[i], [] {
                std::atomic<int> *mine = value;
                if (co_self())
                    co_yield_now();
                ++once_ran;
                *mine = 1;
            });
            early += values[i] == 0;
        }
    };
    loop_thread a(hooked(3, user)), b(hooked(3, user));
    std::thread c([&] { user(0); });
    a.join();
    b.join();
    c.join();
    EXPECT_EQ(once_ran, count);
    EXPECT_EQ(early, 0);
}

constexpr wait_kind address_kind{"address", false, calls::abandon_address_wait};
bool differs(const void *address, uintptr_t value) {
    return static_cast<const std::atomic<unsigned> *>(address)->load() != value;
}

// Wakers give tokens at either word, and somebody moves the waiters to and fro. A token is taken by
// whoever was woken; each was given to one.
TEST_F(CrossAddress, WaitersThatAreMovedAreWokenOnce) {
    const int wakes = rounds(4000);
    std::atomic<unsigned> words[2] = {};
    std::atomic<int> woken{0}, given{0};
    std::atomic<bool> over{false};
    auto waiter = [&](int i) {
        while (!over) {
            unsigned bits = i % 2 ? ~0U : 1U;
            int r = calls::wait_at(address_kind, &words[i % 2], differs, 0, deadline_in(ns_per_ms),
                                   bits);
            if (r == 0)
                ++woken;
            else if (r != -ETIMEDOUT)
                ADD_FAILURE() << r;
        }
    };
    loop_thread a(hooked(4, waiter)), b(hooked(4, waiter));
    std::thread mover([&] {
        for (int i = 0; !over; ++i)
            given += [&] {
                int now = 0;
                calls::requeue_at(&words[i % 2], &words[1 - i % 2], i % 3 == 0, 2, nullptr, 0,
                                  &now);
                return now;
            }();
    });
    int64_t until = soon();
    while (given < wakes && now_ns() < until) {
        given += calls::wake_at(&words[0], 1, 1);
        given += calls::wake_at(&words[1], 2);
    }
    over = true;
    mover.join();
    a.join();
    b.join();
    EXPECT_GE(given, wakes);
    EXPECT_EQ(woken, given);
}

} // namespace
