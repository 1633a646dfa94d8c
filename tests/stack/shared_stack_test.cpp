// SPDX-License-Identifier: Apache-2.0
// The copying alone, with tenants that no coroutine stands behind, and who gets which stack.
#include "co_routine/stack/shared_stack.h"

#include "co_routine/base/sanitizer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

using namespace corun;

namespace {

struct SaveBuffer : testing::Test {
    static constexpr size_t stack_bytes = 128 * 1024;
    alignas(64) static inline char stack[stack_bytes];
    char *const high = stack + stack_bytes;
    slab_pool pool;
    copy_counts counts;
    tenant t;
    uint8_t loose = 0;

    void fill(size_t bytes, char with) { memset(high - bytes, with, bytes); }
    bool save(size_t bytes) {
        return save_live_bytes(&t, &loose, high - bytes, high, &pool, &counts);
    }
    void restore() { restore_live_bytes(&t, high, &counts); }

    void TearDown() override {
        drop_saved_bytes(&t, &pool, &counts);
        EXPECT_EQ(pool.held_bytes(), 0U);
        EXPECT_EQ(counts.bytes_saved, 0U);
    }
};

TEST_F(SaveBuffer, BringsTheSameBytesBackToTheSameAddresses) {
    for (size_t bytes : {size_t{16}, size_t{240}, size_t{512}, size_t{528}, size_t{100000}}) {
        for (size_t i = 0; i < bytes; ++i)
            high[-static_cast<ptrdiff_t>(i) - 1] = static_cast<char>(i * 7 + bytes);
        ASSERT_TRUE(save(bytes));
        fill(stack_bytes, '#'); // somebody else's turn
        restore();
        for (size_t i = 0; i < bytes; ++i)
            ASSERT_EQ(high[-static_cast<ptrdiff_t>(i) - 1], static_cast<char>(i * 7 + bytes)) << i;
        EXPECT_EQ(high[-static_cast<ptrdiff_t>(bytes) - 1], '#') << "and nothing below them";
    }
}

TEST_F(SaveBuffer, AStackPointerBetweenMultiplesOf16SavesTheWholeUnit) {
    fill(32, 'a');
    ASSERT_TRUE(save(20)); // sp is 20 below the top
    EXPECT_EQ(t.saved_bytes, 32U);
    fill(64, '#');
    restore();
    EXPECT_EQ(memcmp(high - 20, "aaaaaaaaaaaaaaaaaaaa", 20), 0);
}

// contract 16: the memory held is what is needed, to 16 bytes; only from 1 KiB on it comes in steps.
TEST_F(SaveBuffer, IsExactTo16Bytes) {
    for (size_t bytes : {size_t{16}, size_t{176}, size_t{1008}}) {
        ASSERT_TRUE(save(bytes));
        EXPECT_EQ(t.saved_capacity, buffer_bytes(bytes));
#if !CO_ASAN
        EXPECT_EQ(t.saved_capacity, bytes);
#endif
        EXPECT_EQ(pool.held_bytes(), t.saved_capacity);
        restore();
    }
}

TEST_F(SaveBuffer, GrowsWhenMoreIsNeeded) {
    ASSERT_TRUE(save(160));
    restore();
    ASSERT_TRUE(save(50000));
    EXPECT_GE(t.saved_capacity, 50000U);
    EXPECT_EQ(pool.held_bytes(), t.saved_capacity) << "the small one is gone";
    restore();
}

// contract 16: 32 saves in a row that need less, and the buffer shrinks to the last one's need.
TEST_F(SaveBuffer, ShrinksAfter32SavesInARowThatNeededLess) {
    ASSERT_TRUE(save(8000));
    restore();
    size_t large = t.saved_capacity;
    for (int i = 1; i < 32; ++i) {
        ASSERT_TRUE(save(320));
        restore();
        ASSERT_EQ(t.saved_capacity, large) << "save " << i;
    }
    ASSERT_TRUE(save(320));
    EXPECT_EQ(t.saved_capacity, buffer_bytes(320));
    restore();
}

TEST_F(SaveBuffer, OneThatSwingsBetweenTwoDepthsKeepsTheLargerOne) {
    ASSERT_TRUE(save(8000));
    restore();
    size_t large = t.saved_capacity;
    for (int i = 0; i < 1000; ++i) {
        ASSERT_TRUE(save(i % 20 == 19 ? 8000 : 320));
        restore();
        ASSERT_EQ(t.saved_capacity, large) << "save " << i;
    }
}

TEST_F(SaveBuffer, CountsCopiesAndBytes) {
    ASSERT_TRUE(save(1600));
    EXPECT_EQ(counts.copies, 1U);
    EXPECT_EQ(counts.bytes_copied, 1600U);
    EXPECT_EQ(counts.bytes_saved, 1600U);
    restore();
    EXPECT_EQ(counts.copies, 2U);
    EXPECT_EQ(counts.bytes_copied, 3200U);
    EXPECT_EQ(counts.bytes_saved, 0U);
    restore();
    EXPECT_EQ(counts.copies, 2U) << "one that is in place has nothing to bring back";
}

TEST_F(SaveBuffer, OneThatIsDroppedWhileOutLeavesNothingBehind) {
    ASSERT_TRUE(save(1600));
    drop_saved_bytes(&t, &pool, &counts);
    EXPECT_EQ(t.saved, nullptr);
    EXPECT_EQ(pool.held_bytes(), 0U);
    EXPECT_EQ(counts.bytes_saved, 0U);
}

struct LeastCrowded : testing::Test {
    static constexpr int count = 8;
    shared_stack stacks[count];
    stShareStack_t group{};
    LeastCrowded() {
        group.count = count;
        group.stacks = stacks;
        for (shared_stack &s : stacks)
            s.group = &group;
    }
    shared_stack *move_in() {
        shared_stack *s = least_crowded(&group);
        enter_shared_stack(s);
        return s;
    }
    void move_out(shared_stack *s) { leave_shared_stack(s, nullptr); }
    unsigned fewest() const {
        unsigned least = stacks[0].tenants;
        for (const shared_stack &s : stacks)
            least = s.tenants < least ? s.tenants : least;
        return least;
    }
};

TEST_F(LeastCrowded, NewTenantsSpreadEvenly) {
    for (int i = 0; i < 10 * count; ++i)
        move_in();
    for (const shared_stack &s : stacks)
        EXPECT_EQ(s.tenants, 10U);
}

TEST_F(LeastCrowded, AnEmptiedStackIsFilledBeforeTheOthersGrow) {
    for (int i = 0; i < 3 * count; ++i)
        move_in();
    for (int i = 0; i < 3; ++i)
        move_out(&stacks[5]);
    for (int i = 0; i < 3; ++i)
        EXPECT_EQ(move_in(), &stacks[5]);
}

TEST_F(LeastCrowded, ANewTenantGoesToOneThatHasTheFewest) {
    std::vector<shared_stack *> homes;
    unsigned random = 12345; // a fixed walk
    for (int step = 0; step < 20000; ++step) {
        random = random * 1103515245 + 12345;
        unsigned r = random >> 16;
        if (homes.size() < 100 && r % 3) {
            unsigned before = fewest();
            shared_stack *s = move_in();
            ASSERT_EQ(s->tenants, before + 1);
            homes.push_back(s);
        } else if (!homes.empty()) {
            size_t at = r % homes.size();
            move_out(homes[at]);
            homes[at] = homes.back();
            homes.pop_back();
        }
    }
}

} // namespace
