// SPDX-License-Identifier: Apache-2.0
#include "co_routine/base/slab.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

using namespace corun;

namespace {

TEST(Slab, SizesAreRoundedInThreeScales) {
    EXPECT_EQ(slab_pool::rounded(0), 16U);
    EXPECT_EQ(slab_pool::rounded(1), 16U);
    EXPECT_EQ(slab_pool::rounded(16), 16U);
    EXPECT_EQ(slab_pool::rounded(17), 32U);
    EXPECT_EQ(slab_pool::rounded(4096), 4096U);
    EXPECT_EQ(slab_pool::rounded(4097), 4608U);
    EXPECT_EQ(slab_pool::rounded(32768), 32768U);
    EXPECT_EQ(slab_pool::rounded(32769), 36864U);
}

TEST(Slab, BlocksAreAlignedTo16AndDisjoint) {
    slab_pool pool;
    struct block {
        char *start;
        size_t bytes;
    };
    std::vector<block> blocks;
    for (size_t bytes : {size_t{1}, size_t{16}, size_t{48}, size_t{200}, size_t{4096}, size_t{5000},
                         size_t{32768}, size_t{100000}})
        for (int i = 0; i < 50; ++i) {
            char *b = static_cast<char *>(pool.allocate(bytes));
            ASSERT_NE(b, nullptr);
            EXPECT_EQ(reinterpret_cast<uintptr_t>(b) % 16, 0U);
            memset(b, 0x5A, slab_pool::rounded(bytes)); // all of it may be written
            blocks.push_back({b, bytes});
        }
    std::sort(blocks.begin(), blocks.end(),
              [](const block &x, const block &y) { return x.start < y.start; });
    for (size_t i = 1; i < blocks.size(); ++i)
        EXPECT_LE(blocks[i - 1].start + slab_pool::rounded(blocks[i - 1].bytes), blocks[i].start);
    for (const block &b : blocks)
        pool.release(b.start, b.bytes);
    EXPECT_EQ(pool.held_bytes(), 0U);
}

TEST(Slab, TheBlockFreedLastIsHandedOutFirst) {
    slab_pool pool;
    void *a = pool.allocate(100), *b = pool.allocate(100);
    pool.release(a, 100);
    pool.release(b, 100);
    EXPECT_EQ(pool.allocate(100), b);
    EXPECT_EQ(pool.allocate(100), a);
    pool.release(a, 100);
    pool.release(b, 100);
}

TEST(Slab, HeldBytesCountWhatIsHandedOut) {
    slab_pool pool;
    void *small = pool.allocate(20), *medium = pool.allocate(5000), *large = pool.allocate(50000);
    EXPECT_EQ(pool.held_bytes(), 32U + 5120U + 53248U);
    pool.release(medium, 5000);
    EXPECT_EQ(pool.held_bytes(), 32U + 53248U);
    pool.release(small, 20);
    pool.release(large, 50000);
    EXPECT_EQ(pool.held_bytes(), 0U);
}

// Every block of many slabs is freed, forwards: the slabs go back, and come again for another size.
TEST(Slab, WhatWasFreedServesOtherSizesToo) {
    slab_pool pool;
    std::vector<void *> blocks;
    for (int round = 0; round < 8; ++round) {
        size_t bytes = 64 + static_cast<size_t>(round) * 256;
        for (int i = 0; i < 5000; ++i) {
            void *b = pool.allocate(bytes);
            ASSERT_NE(b, nullptr);
            memset(b, round, bytes);
            blocks.push_back(b);
        }
        for (void *b : blocks)
            pool.release(b, bytes);
        blocks.clear();
        EXPECT_EQ(pool.held_bytes(), 0U);
    }
}

TEST(Slab, ARandomLifeMixesUpNoBytes) {
    slab_pool pool;
    constexpr unsigned seed = 20260115;
    std::mt19937 random(seed);
    struct block {
        unsigned char *start;
        size_t bytes;
        unsigned char fill;
    };
    std::vector<block> live;
    auto check_and_free = [&](size_t at) {
        block b = live[at];
        for (size_t i = 0; i < b.bytes; ++i)
            ASSERT_EQ(b.start[i], b.fill) << "seed " << seed;
        pool.release(b.start, b.bytes);
        live[at] = live.back();
        live.pop_back();
    };
    for (int step = 0; step < 20000; ++step) {
        if (live.size() < 300 && random() % 2) {
            size_t bytes = 1 + random() % (random() % 10 ? 1000 : 40000);
            auto *b = static_cast<unsigned char *>(pool.allocate(bytes));
            ASSERT_NE(b, nullptr);
            auto fill = static_cast<unsigned char>(random());
            memset(b, fill, bytes);
            live.push_back({b, bytes, fill});
        } else if (!live.empty()) {
            check_and_free(random() % live.size());
        }
    }
    while (!live.empty())
        check_and_free(0);
    EXPECT_EQ(pool.held_bytes(), 0U);
}

TEST(Slab, DestroyForgetsBlocksInUseAndThePoolCanBeginAnew) {
    slab_pool pool;
    ASSERT_NE(pool.allocate(100), nullptr);
    ASSERT_NE(pool.allocate(6000), nullptr);
    pool.destroy();
    EXPECT_EQ(pool.held_bytes(), 0U);
    void *b = pool.allocate(100);
    ASSERT_NE(b, nullptr);
    memset(b, 1, 100);
    pool.release(b, 100);
}

TEST(Slab, ARequestThatCannotBeMetGivesNull) {
    slab_pool pool;
    EXPECT_EQ(pool.allocate(sizeof(void *) == 8 ? size_t{1} << 48 : size_t{0xC0000000}), nullptr);
    EXPECT_EQ(pool.held_bytes(), 0U);
}

} // namespace
