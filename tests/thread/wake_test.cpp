// SPDX-License-Identifier: Apache-2.0
// Wake-ups between threads: none is lost, whether the other loop sleeps or not.
#include "tests/thread/threads_fixture.h"

#include "co_routine/loop/inbox.h"

using namespace corun;

namespace {

using CrossWake = ThreadsTest;
using CrossUnpark = ThreadsTest;

// Two coroutines of two threads that send each other a number, one higher each time.
struct rally {
    std::atomic<stCoRoutine_t *> player[2] = {};
    std::atomic<int> turn{0}; // even: player 0 is to answer
    int last;

    void play(int side) {
        player[side] = co_self();
        while (!player[1 - side])
            co_yield_now();
        for (;;) {
            int t = turn.load(std::memory_order_acquire);
            if (t >= last)
                break;
            if (t % 2 != side) {
                co_yield_ct(); // may be for nothing: it looks again
                continue;
            }
            turn.store(t + 1, std::memory_order_release);
            EXPECT_EQ(co_wake(player[1 - side]), 0);
        }
        wait_for_the_other(side);
    }

    // A coroutine may not end while somebody wakes it.
    std::atomic<int> finished{0};
    void wait_for_the_other(int) {
        ++finished;
        while (finished < 2)
            co_yield_now();
    }
};

void run_rallies(int count, int messages_each) {
    std::vector<std::unique_ptr<rally>> rallies;
    std::vector<std::function<void()>> sides[2];
    for (int i = 0; i < count; ++i) {
        rallies.push_back(std::make_unique<rally>());
        rallies.back()->last = messages_each;
        for (int side = 0; side < 2; ++side)
            sides[side].push_back([r = rallies.back().get(), side] { r->play(side); });
    }
    loop_thread a(sides[0]), b(sides[1]);
    a.join();
    b.join();
    for (auto &r : rallies)
        EXPECT_EQ(r->turn, messages_each);
}

TEST_F(CrossWake, TenMillionMessagesBetweenTwoThreadsNoneLost) { // contract 36
    run_rallies(100, (is_plain_build ? 10000000 : rounds(10000000)) / 100);
}

TEST_F(CrossWake, OnePairWhoseLoopsSleepBetweenTheMessages) { // contract 36
    run_rallies(1, rounds(200000));
}

TEST_F(CrossWake, ManyThreadsWakeOneCoroutine) { // contract 36
    constexpr int wakers = 4;
    const int each = rounds(200000);
    std::atomic<int> sent{0};
    std::atomic<stCoRoutine_t *> sleeper{nullptr};
    std::atomic<bool> all_sent{false};
    int wakes = 0;
    loop_thread t([&] {
        sleeper = co_self();
        for (int seen = 0; seen < wakers * each; seen = sent) {
            co_yield_ct();
            ++wakes;
        }
        while (!all_sent)
            co_sleep_ms(1);
    });
    ASSERT_TRUE(eventually([&] { return sleeper.load() != nullptr; }));
    std::vector<std::thread> threads;
    for (int i = 0; i < wakers; ++i)
        threads.emplace_back([&] {
            for (int k = 0; k < each; ++k) {
                ++sent;
                EXPECT_EQ(co_wake(sleeper), 0);
            }
        });
    for (std::thread &w : threads)
        w.join();
    all_sent = true;
    t.join();
    EXPECT_EQ(sent, wakers * each);
    EXPECT_LE(wakes, wakers * each + 1); // several are one
}

void spin_for(uint64_t ticks) {
    for (uint64_t until = cycles() + ticks; cycles() < until;) {
    }
}

//   loop                                 waker
//   runs the coroutine: it has seen n
//   goes on for a moment                 waits for n, then for another moment
//   nothing is ready: falls asleep       n + 1, co_wake
//   must not sleep through it
TEST_F(CrossWake, IsNotLostWhileTheLoopFallsAsleep) { // contract 36
    const int count = rounds(200000);
    std::atomic<int> sent{0}, seen{0};
    std::atomic<stCoRoutine_t *> sleeper{nullptr};
    std::atomic<bool> over{false};
    loop_thread t([&] {
        sleeper = co_self();
        for (int n = 0; n < count; n = sent) {
            seen.store(n, std::memory_order_release);
            spin_for(static_cast<uint64_t>(n) * 53 % 2000);
            co_yield_ct();
        }
        seen = count;
        while (!over)
            co_sleep_ms(1);
    });
    ASSERT_TRUE(eventually([&] { return sleeper.load() != nullptr; }));
    int lost = 0;
    for (int n = 1; n <= count; ++n) {
        spin_for(static_cast<uint64_t>(n) * 37 % 4001);
        sent = n;
        EXPECT_EQ(co_wake(sleeper), 0);
        int64_t give_up = deadline_in(3 * ns_per_s);
        while (seen.load(std::memory_order_acquire) != n)
            if (now_ns() > give_up) {
                ++lost;
                co_wake(sleeper);
                give_up = deadline_in(3 * ns_per_s);
            }
        if (lost > 2)
            break;
    }
    EXPECT_EQ(lost, 0);
    sent = count;
    EXPECT_EQ(co_wake(sleeper), 0);
    over = true;
    t.join();
}

TEST_F(CrossWake, IsCountedAndWakesASleepingLoopOnce) {
    std::atomic<stCoRoutine_t *> sleeper{nullptr};
    std::atomic<bool> done{false};
    uint64_t cross = 0;
    loop_thread t([&] {
        sleeper = co_self();
        co_yield_ct();
        cross = stats_now().cross_wakes;
        while (!done)
            co_sleep_ms(1);
    });
    ASSERT_TRUE(eventually([&] { return sleeper.load() != nullptr; }));
    // From a thread that has no coroutines of its own.
    std::thread([&] {
        EXPECT_EQ(env_or_null(), nullptr);
        EXPECT_EQ(co_wake(sleeper), 0);
        EXPECT_EQ(env_or_null(), nullptr);
    }).join();
    done = true;
    t.join();
    EXPECT_EQ(cross, 1U);
}

// A flag under a lock and whoever waits for it: what sync/ does, with park alone.
struct mailbox {
    std::atomic_flag lock = ATOMIC_FLAG_INIT;
    int letters = 0;
    coroutine *waiter = nullptr;

    void put() {
        acquire();
        ++letters;
        if (coroutine *co = waiter) {
            waiter = nullptr;
            unpark(co); // under the lock: it cannot go away meanwhile
        }
        release();
    }
    void take() {
        static constexpr wait_kind kind{"mailbox", false, nullptr};
        for (;;) {
            acquire();
            if (letters > 0) {
                --letters;
                waiter = nullptr;
                release();
                return;
            }
            waiter = self_for_waiting();
            release();
            int r = park(kind, {.object = this}, soon());
            if (r != 0) {
                ADD_FAILURE() << "a letter was lost: " << r;
                return;
            }
        }
    }
    void acquire() {
        while (lock.test_and_set(std::memory_order_acquire))
            std::this_thread::yield();
    }
    void release() { lock.clear(std::memory_order_release); }
};

TEST_F(CrossUnpark, LettersBetweenTwoThreadsNoneLost) { // contract 36
    constexpr int pairs = 10;
    const int letters = rounds(1000000) / pairs;
    mailbox there[pairs], back[pairs];
    std::vector<std::function<void()>> sides[2];
    for (int i = 0; i < pairs; ++i) {
        sides[0].push_back([&, i] {
            for (int k = 0; k < letters; ++k) {
                there[i].put();
                back[i].take();
            }
        });
        sides[1].push_back([&, i] {
            for (int k = 0; k < letters; ++k) {
                there[i].take();
                back[i].put();
            }
        });
    }
    loop_thread a(sides[0]), b(sides[1]);
    a.join();
    b.join();
    for (int i = 0; i < pairs; ++i)
        EXPECT_EQ(there[i].letters + back[i].letters, 0);
}

TEST_F(CrossUnpark, WakesAThreadsOwnStack) { // contract 36
    mailbox box;
    const int letters = rounds(20000);
    std::thread t([&] {
        for (int i = 0; i < letters; ++i)
            box.put();
    });
    for (int i = 0; i < letters; ++i)
        box.take();
    t.join();
    EXPECT_EQ(box.letters, 0);
}

TEST_F(CrossUnpark, CancelReachesACoroutineOfAnotherThread) { // contract 12
    std::atomic<stCoRoutine_t *> victim{nullptr};
    std::atomic<int> unwound{0};
    struct on_unwind {
        std::atomic<int> *count;
        ~on_unwind() { ++*count; }
    };
    for (int i = 0; i < rounds(200) + 20; ++i) {
        victim = nullptr;
        std::thread t([&] {
            coroutine_bodies made;
            stCoRoutine_t *co = made.go(
                [&] {
                    on_unwind u{&unwound};
                    victim = co_self();
                    co_sleep_ms(60000);
                    ADD_FAILURE() << "it was cancelled";
                },
                nullptr, true);
            void *result = nullptr;
            EXPECT_EQ(co_join(co, &result), 0);
            EXPECT_EQ(result, CO_CANCELED);
            co_release(co);
        });
        ASSERT_TRUE(eventually([&] { return victim.load() != nullptr; }));
        EXPECT_EQ(co_cancel(victim), 0);
        t.join();
    }
    EXPECT_EQ(unwound, rounds(200) + 20);
}

} // namespace
