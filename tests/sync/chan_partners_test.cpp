// SPDX-License-Identifier: Apache-2.0
// Channels where a partner must keep its hands off: shared stacks, other threads, or both.
#include "tests/sync/chan_fixture.h"

#include <cstdlib>

namespace {

struct Block {
    unsigned char bytes[600];
    void fill(int seed) {
        for (size_t i = 0; i < sizeof bytes; ++i)
            bytes[i] = static_cast<unsigned char>(static_cast<size_t>(seed) * 31 + i);
    }
    bool is(int seed) const {
        Block expected;
        expected.fill(seed);
        return memcmp(bytes, expected.bytes, sizeof bytes) == 0;
    }
};

// contract 37
// Both stand on one shared stack: whenever one waits, the other's frames are at its addresses.
TEST_F(Chan, ReceivesIntoStackVariablesOfASharedStack) {
    for (size_t capacity : {0, 1, 3}) {
        make(capacity, sizeof(Block));
        int checked = 0;
        const int count = rounds(1000);
        keep_shared([&] {
            Block before, item, after;
            before.fill(1000), after.fill(2000);
            for (int i = 0; i < count; ++i) {
                item.fill(9999);
                EXPECT_EQ(co_chan_recv(ch, &item), 0);
                EXPECT_TRUE(item.is(i));
                EXPECT_TRUE(before.is(1000));
                EXPECT_TRUE(after.is(2000));
                ++checked;
            }
        });
        keep_shared([&] {
            Block before, item, after;
            before.fill(3000), after.fill(4000);
            for (int i = 0; i < count; ++i) {
                item.fill(i);
                EXPECT_EQ(co_chan_send(ch, &item), 0);
                EXPECT_TRUE(item.is(i));
                EXPECT_TRUE(before.is(3000));
                EXPECT_TRUE(after.is(4000));
            }
        });
        co_run();
        EXPECT_EQ(checked, count);
    }
}

// contract 37
TEST_F(Chan, TimedOutReceiverOnASharedStackIsLeftAlone) {
    make(0, sizeof(Block));
    int done = 0;
    keep_shared([&] {
        Block item;
        item.fill(1);
        EXPECT_EQ(co_chan_timedrecv(ch, &item, 1), ETIMEDOUT);
        EXPECT_TRUE(item.is(1));
        ++done;
    });
    keep_shared([&] {
        Block canary, item;
        canary.fill(2), item.fill(3);
        EXPECT_EQ(co_sleep_ms(3), 0);
        EXPECT_EQ(co_chan_timedsend(ch, &item, 1), ETIMEDOUT);
        EXPECT_TRUE(canary.is(2));
        EXPECT_TRUE(item.is(3));
        ++done;
    });
    co_run();
    EXPECT_EQ(done, 2);
}

// contract 37
TEST_F(Chan, JoinOnOneSharedStackGivesTheResultToTheRightCoroutine) {
    int checked = 0;
    for (int i = 0; i < 50; ++i) {
        stCoRoutine_t *joined = keep_shared([&] {
            Block canary;
            canary.fill(7);
            co_yield_now();
            EXPECT_TRUE(canary.is(7));
        });
        keep_shared([&, joined] {
            Block before, after;
            before.fill(8), after.fill(9);
            void *result = &before;
            EXPECT_EQ(co_join(joined, &result), 0);
            EXPECT_EQ(result, nullptr);
            EXPECT_TRUE(before.is(8));
            EXPECT_TRUE(after.is(9));
            ++checked;
        });
    }
    co_run();
    EXPECT_EQ(checked, 50);
}

// contract 37, between threads: each thread's partners on one shared stack of its own.
TEST_F(Chan, SharedStacksOfTwoThreadsExchangeBlocks) {
    make(0, sizeof(Block));
    const int count = rounds(3000);
    std::atomic<int> received{0};
    std::vector<std::thread> threads;
    for (bool sends : {true, false})
        threads.emplace_back([&, sends] {
            coroutine_bodies bodies;
            stShareStack_t *stacks = co_alloc_sharestack(1, 64 * 1024);
            for (int c = 0; c < 3; ++c)
                bodies.go(
                    [&, sends, c] {
                        Block before, item, after;
                        before.fill(c), after.fill(c + 10);
                        for (int i = 0; i < count; ++i) {
                            if (sends)
                                item.fill(c * count + i);
                            ASSERT_EQ(sends ? co_chan_send(ch, &item) : co_chan_recv(ch, &item), 0);
                            ASSERT_TRUE(before.is(c));
                            ASSERT_TRUE(after.is(c + 10));
                            if (!sends)
                                ++received;
                        }
                    },
                    stacks, false);
            co_run();
            EXPECT_EQ(co_release_sharestack(stacks), 0);
        });
    for (std::thread &t : threads)
        t.join();
    EXPECT_EQ(received.load(), 3 * count);
}

// contract 36: every message arrives once, in order, and none is lost.
TEST_F(Chan, PingPongBetweenTwoThreadsLosesNothing) {
    make(0);
    co_chan_t *back = nullptr;
    ASSERT_EQ(co_chan_create(&back, sizeof(int), 0), 0);
    const int count = rounds(20000);
    std::thread other([&] {
        for (int i = 0; i < count; ++i) {
            int item = -1;
            ASSERT_EQ(co_chan_recv(ch, &item), 0);
            ASSERT_EQ(item, i);
            ASSERT_EQ(co_chan_send(back, &item), 0);
        }
    });
    for (int i = 0; i < count; ++i) {
        int item = i;
        ASSERT_EQ(co_chan_send(ch, &item), 0);
        ASSERT_EQ(co_chan_recv(back, &item), 0);
        ASSERT_EQ(item, i);
    }
    other.join();
    EXPECT_EQ(co_chan_destroy(back), 0);
}

// contract 36: 2 threads of senders, 2 of receivers; sums and counts agree.
TEST_F(Chan, CarriesMessagesOfFourThreadsExactlyOnce) {
    make(64, sizeof(uint64_t));
    constexpr int senders = 2 * 4;
    const int per_sender = getenv("CORUN_SOAK") ? 10000000 / senders : rounds(50000);
    std::atomic<int> sending{senders};
    std::atomic<uint64_t> received{0}, sum{0};
    run_threads(4, 4, [&](int thread, int index) {
        if (thread % 2 == 0) {
            const uint64_t base = static_cast<uint64_t>(thread * 2 + index) << 32;
            for (int i = 0; i < per_sender; ++i) {
                uint64_t item = base + static_cast<uint64_t>(i);
                ASSERT_EQ(co_chan_send(ch, &item), 0);
            }
            if (--sending == 0) {
                ASSERT_EQ(co_chan_close(ch), 0);
            }
            return;
        }
        uint64_t last[16] = {}, item;
        bool seen[16] = {};
        while (co_chan_recv(ch, &item) == 0) {
            const size_t sender = static_cast<size_t>(item >> 32);
            ASSERT_TRUE(!seen[sender] || item > last[sender]) << "out of order";
            last[sender] = item, seen[sender] = true;
            ++received;
            sum += item;
        }
    });
    uint64_t expected = 0;
    for (uint64_t s : {0U, 1U, 2U, 3U, 4U, 5U, 6U, 7U})
        for (int i = 0; i < per_sender; ++i)
            expected += (s << 32) + static_cast<uint64_t>(i);
    EXPECT_EQ(received.load(), static_cast<uint64_t>(senders) * static_cast<uint64_t>(per_sender));
    EXPECT_EQ(sum.load(), expected);
}

TEST_F(Chan, LosesNothingWhenTimeoutsMeetTransfers) {
    make(0);
    std::atomic<long> sent{0}, received{0};
    run_threads(4, 4, [&](int thread, int index) {
        for (int i = 0; i < 100; ++i) {
            int item = 1;
            if (thread % 2 == 0)
                sent += co_chan_timedsend(ch, &item, 1) == 0;
            else
                received += co_chan_timedrecv(ch, &item, 1) == 0;
            if ((i + index) % 4 == 0)
                co_sleep_ms(1);
        }
    });
    EXPECT_EQ(sent.load(), received.load());
    EXPECT_GT(sent.load(), 0);
}

// Cancels from another thread meet transfers and timeouts.
TEST_F(Chan, LosesNothingWhenCancelsMeetTransfers) {
    make(0);
    long sent = 0, received = 0;
    std::atomic<bool> done{false};
    std::thread other([&] {
        int item;
        while (!done)
            received += co_chan_timedrecv(ch, &item, 1) == 0;
    });
    for (int i = 0; i < 300; ++i) {
        stCoRoutine_t *sender = keep([&] {
            co_cancel_mode(CO_CANCEL_ERRNO);
            for (int item = 1, error = 0; error == 0; sent += error == 0)
                error = co_chan_send(ch, &item);
        });
        for (int turn = 0; turn <= i % 7; ++turn)
            co_yield_now();
        EXPECT_EQ(co_cancel(sender), 0);
        EXPECT_EQ(co_join(sender, nullptr), 0);
        release(sender);
    }
    done = true;
    other.join();
    EXPECT_EQ(sent, received);
}

} // namespace
