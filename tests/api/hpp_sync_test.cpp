// SPDX-License-Identifier: Apache-2.0
// co_routine.hpp: locks, conditions, wait groups, channels.
#include "co_routine/co_routine.hpp"
#include "tests/api/no_coroutine_left.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

using Locks = NoCoroutineLeft;
using Cond = NoCoroutineLeft;
using Channel = NoCoroutineLeft;
using std::chrono::hours;
using std::chrono::milliseconds;

template <class F> int code_of(F f) {
    try {
        f();
    } catch (const std::system_error &e) {
        return e.code().value();
    }
    return 0;
}

} // namespace

TEST_F(Locks, MutexExcludesAcrossAWait) {
    co::mutex m;
    int inside = 0, worst = 0;
    for (int i = 0; i < 10; i++)
        co::go([&] {
            std::lock_guard<co::mutex> guard(m);
            worst = std::max(worst, ++inside);
            co::yield();
            inside--;
        });
    co::run();
    EXPECT_EQ(1, worst);
}

TEST_F(Locks, MutexErrorsAreThrownAndTimeLimitsAreResults) {
    co::mutex m;
    EXPECT_EQ(EPERM, code_of([&] { m.unlock(); }));
    m.lock();
    EXPECT_EQ(EDEADLK, code_of([&] { m.lock(); }));
    co::go([&] {
        EXPECT_FALSE(m.try_lock());
        EXPECT_FALSE(m.try_lock_for(milliseconds(2)));
        EXPECT_FALSE(m.try_lock_until(co::now() + milliseconds(2)));
    }).join();
    m.unlock();
    EXPECT_TRUE(m.try_lock());
    m.unlock();
}

TEST_F(Locks, MutexGuardsAreReleasedByACancel) {
    co::mutex m;
    auto h = co::go([&] {
        std::lock_guard<co::mutex> guard(m);
        co::sleep_for(hours(1));
    });
    co::yield();
    EXPECT_FALSE(m.try_lock());
    h.cancel();
    m.lock();
    m.unlock();
    EXPECT_EQ(ECANCELED, code_of([&] { h.join(); }));
}

TEST_F(Locks, SharedMutexLetsReadersInTogetherAndAWriterAlone) {
    co::shared_mutex rw;
    int readers = 0, most = 0;
    bool alone = true;
    for (int i = 0; i < 5; i++)
        co::go([&] {
            std::shared_lock<co::shared_mutex> guard(rw);
            most = std::max(most, ++readers);
            co::yield();
            readers--;
        });
    co::go([&] {
        std::lock_guard<co::shared_mutex> guard(rw);
        alone = readers == 0;
        EXPECT_EQ(1, co::go([&] { return rw.try_lock_shared() ? 0 : 1; }).join());
        rw.downgrade();
        EXPECT_TRUE(rw.try_lock_shared());
        rw.unlock_shared();
    });
    co::run();
    EXPECT_EQ(5, most);
    EXPECT_TRUE(alone);
}

TEST_F(Locks, SemaphoreCountsAndWaitGroupWaits) {
    co::semaphore s(2);
    co::wait_group wg(5);
    int inside = 0, worst = 0;
    for (int i = 0; i < 5; i++)
        co::go([&] {
            s.acquire();
            worst = std::max(worst, ++inside);
            co::sleep_for(milliseconds(1));
            inside--;
            s.release();
            wg.done();
        });
    EXPECT_FALSE(wg.wait_for(milliseconds(0)));
    wg.wait();
    EXPECT_EQ(2, worst);
    EXPECT_TRUE(s.try_acquire());
    EXPECT_TRUE(s.try_acquire_for(milliseconds(1)));
    EXPECT_FALSE(s.try_acquire());
    EXPECT_FALSE(s.try_acquire_for(milliseconds(1)));
    EXPECT_EQ(EINVAL, code_of([&] { wg.done(); }));
}

TEST_F(Cond, WaitGivesTheLockUpAndHasItAgain) {
    co::mutex m;
    co::cond changed;
    int stage = 0;
    auto waiter = co::go([&] {
        std::unique_lock<co::mutex> lock(m);
        changed.wait(lock, [&] { return stage == 1; });
        EXPECT_TRUE(lock.owns_lock());
        EXPECT_FALSE(co::go([&] { return m.try_lock(); }).join());
        stage = 2;
        changed.notify_all();
    });
    co::yield();
    {
        std::unique_lock<co::mutex> lock(m);
        stage = 1;
        changed.notify_one();
        changed.wait(lock, [&] { return stage == 2; });
    }
    waiter.join();
}

TEST_F(Cond, TimeLimitsAreResults) {
    co::mutex m;
    co::cond never;
    std::unique_lock<co::mutex> lock(m);
    EXPECT_FALSE(never.wait_for(lock, milliseconds(2)));
    EXPECT_TRUE(lock.owns_lock());
    auto begin = co::now();
    EXPECT_FALSE(never.wait_for(lock, milliseconds(3), [] { return false; }));
    EXPECT_GE(co::now() - begin, milliseconds(3));
    EXPECT_TRUE(never.wait_for(lock, hours(1), [] { return true; }));
    lock.unlock();
    EXPECT_EQ(EPERM, code_of([&] { never.wait(lock); }));
}

TEST_F(Cond, WakesInTheOrderOfWaiting) {
    co::mutex m;
    co::cond c;
    std::string order;
    for (char name : {'a', 'b', 'c', 'd'})
        co::go([&, name] {
            std::unique_lock<co::mutex> lock(m);
            c.wait(lock);
            order += name;
        });
    co::yield();
    c.notify_one();
    for (int i = 0; i < 3; i++)
        co::yield();
    EXPECT_EQ("a", order);
    c.notify_all();
    co::run();
    EXPECT_EQ("abcd", order);
}

//   waiter 1           waiter 2           test
//   waits              waits
//                                         notify_one -> waiter 1
//                                         cancels waiter 1 before it runs
//                      woken instead
TEST_F(Cond, AWakeUpThatMeetsACancelGoesToTheNext) {
    co::mutex m;
    co::cond c;
    bool held_in_destructor = false, second = false;
    auto first = co::go([&] {
        std::unique_lock<co::mutex> lock(m);
        struct at_end {
            std::unique_lock<co::mutex> &lock;
            bool &held;
            ~at_end() { held = lock.owns_lock(); }
        } mark = {lock, held_in_destructor};
        c.wait(lock);
        co::sleep_for(hours(1));
    });
    auto other = co::go([&] {
        std::unique_lock<co::mutex> lock(m);
        second = c.wait_for(lock, std::chrono::seconds(10));
    });
    co::yield();
    c.notify_one();
    first.cancel();
    other.join();
    EXPECT_TRUE(second);
    EXPECT_TRUE(held_in_destructor);
    EXPECT_EQ(ECANCELED, code_of([&] { first.join(); }));
}

TEST_F(Cond, ACancelInErrnoModeIsThrown) {
    co::mutex m;
    co::cond c;
    auto h = co::go([&] {
        co_cancel_mode(CO_CANCEL_ERRNO);
        std::unique_lock<co::mutex> lock(m);
        return code_of([&] { c.wait(lock); });
    });
    co::yield();
    h.cancel();
    EXPECT_EQ(ECANCELED, h.join());
    EXPECT_TRUE(m.try_lock());
    m.unlock();
}

// time limit: 240 s
TEST_F(Cond, ThreadsAndCoroutinesPassATokenAround) {
    constexpr int rounds = 2000, players = 3;
    co::mutex m;
    co::cond changed;
    int turn = 0;
    std::vector<std::thread> threads;
    for (int me = 0; me < players; me++)
        threads.emplace_back([&, me] {
            auto play = [&, me] {
                for (int i = 0; i < rounds; i++) {
                    std::unique_lock<co::mutex> lock(m);
                    changed.wait(lock, [&] { return turn % players == me; });
                    turn++;
                    changed.notify_all();
                }
            };
            me == 0 ? play() : co::go(play).join();
        });
    for (std::thread &t : threads)
        t.join();
    EXPECT_EQ(rounds * players, turn);
}

TEST_F(Channel, MovesValuesInOrder) {
    co::channel<std::unique_ptr<int>> ch(4);
    co::go([&] {
        for (int i = 0; i < 20; i++)
            ch.send(std::unique_ptr<int>(new int(i)));
        ch.close();
    });
    int next = 0;
    for (std::unique_ptr<int> &p : ch)
        EXPECT_EQ(next++, *p);
    EXPECT_EQ(20, next);
}

TEST_F(Channel, WithoutCapacityASenderWaitsForItsReceiver) {
    co::channel<std::string> ch;
    bool sent = false;
    co::go([&] {
        ch.send("one");
        sent = true;
    });
    co::yield();
    EXPECT_FALSE(sent);
    EXPECT_EQ("one", ch.recv());
    co::run();
    EXPECT_TRUE(sent);
}

TEST_F(Channel, AValueThatFindsNoRoomStaysTheSenders) {
    co::channel<std::unique_ptr<int>> ch(1);
    std::unique_ptr<int> a(new int(1)), b(new int(2));
    EXPECT_TRUE(ch.try_send(std::move(a)));
    EXPECT_FALSE(ch.try_send(std::move(b)));
    EXPECT_FALSE(ch.send_for(std::move(b), milliseconds(1)));
    ASSERT_NE(nullptr, b);
    EXPECT_EQ(2, *b);
    EXPECT_EQ(1u, ch.size());
}

TEST_F(Channel, ClosedMeansEpipeForSendersAndTheRestForReceivers) {
    co::channel<int> ch(2);
    ch.send(1);
    ch.close();
    ch.close();
    EXPECT_EQ(EPIPE, code_of([&] { ch.send(2); }));
    int value = 0;
    EXPECT_TRUE(ch.recv(value));
    EXPECT_EQ(1, value);
    EXPECT_FALSE(ch.recv(value));
    EXPECT_FALSE(ch.try_recv(value));
    EXPECT_EQ(EPIPE, code_of([&] { ch.recv(); }));
}

TEST_F(Channel, EmptyIsAResultForTryAndTimedReceives) {
    co::channel<int> ch(1);
    int value = 5;
    EXPECT_FALSE(ch.try_recv(value));
    EXPECT_FALSE(ch.recv_for(value, milliseconds(2)));
    EXPECT_EQ(5, value);
}

TEST_F(Channel, DestroysWhatNobodyReceivedAndWhatACancelKeptFromBeingSent) {
    auto shared = std::make_shared<int>(1);
    {
        co::channel<std::shared_ptr<int>> ch(2);
        ch.send(shared);
        ch.send(shared);
        auto blocked = co::go([&] { ch.send(shared); });
        co::yield();
        EXPECT_EQ(4, shared.use_count());
        blocked.cancel();
        EXPECT_EQ(ECANCELED, code_of([&] { blocked.join(); }));
        EXPECT_EQ(3, shared.use_count());
    }
    EXPECT_EQ(1, shared.use_count());
}

TEST(ChannelDeathTest, DestroyedUnderAWaitingSenderOrReceiverEndsTheProcess) {
    auto destroy_under = [](size_t capacity, bool sender) {
        co::channel<int> ch(capacity);
        for (size_t i = 0; sender && i < capacity; ++i)
            ch.send(1);
        auto waiting = co::go([&] { sender ? ch.send(2) : static_cast<void>(ch.recv()); });
        co::yield();
        waiting.detach();
    };
    const char *line = "corun: co::channel destroyed while it is in use";
    EXPECT_DEATH(destroy_under(0, true), line);
    EXPECT_DEATH(destroy_under(2, true), line);
    EXPECT_DEATH(destroy_under(2, false), line);
}

// contract 37
TEST_F(Channel, ItemsCrossASharedStackUnharmed) {
    struct item {
        int id;
        char text[60];
    };
    co::shared_stacks stacks(1, 64 * 1024);
    co::channel<item> ch;
    constexpr int count = 200;
    for (int sender = 0; sender < 4; sender++)
        co::go(
            [&ch, sender] {
                for (int i = sender; i < count; i += 4) {
                    item it = {i, {}};
                    snprintf(it.text, sizeof it.text, "item %d", i);
                    ch.send(it);
                }
            },
            stacks);
    int intact = 0;
    auto receiver = co::go(
        [&ch, &intact] {
            for (int i = 0; i < count; i++) {
                item it = ch.recv();
                char expected[60];
                snprintf(expected, sizeof expected, "item %d", it.id);
                intact += strcmp(expected, it.text) == 0;
            }
        },
        stacks);
    receiver.join();
    co::run();
    EXPECT_EQ(count, intact);
}

TEST_F(Channel, CarriesValuesBetweenThreads) {
    co::channel<int> there(8), back(8);
    std::thread echo([&] {
        co::go([&] {
            for (int &n : there)
                back.send(n + 1);
            back.close();
        }).join();
    });
    long sum = 0;
    co::go([&] {
        for (int i = 0; i < 10000; i++)
            there.send(i);
        there.close();
    });
    for (int &n : back)
        sum += n;
    echo.join();
    EXPECT_EQ(10000L * 10001 / 2, sum);
}
