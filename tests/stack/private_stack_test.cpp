// SPDX-License-Identifier: Apache-2.0
#include "co_routine/stack/private_stack.h"

#include "tests/stack/guard_probe.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <sys/mman.h>
#include <vector>

using namespace corun;

namespace {

constexpr size_t stack_bytes = 32 * 1024, guard_bytes = 64 * 1024;

struct PrivateStack : testing::Test {
    stack_pool pool{stack_bytes, guard_bytes};
    std::vector<stack_range> held;

    stack_range acquire() {
        stack_range s;
        EXPECT_TRUE(pool.acquire(&s));
        held.push_back(s);
        return s;
    }
    void release_all() {
        for (stack_range s : held)
            pool.release(s.low);
        held.clear();
    }
    void TearDown() override {
        release_all();
        EXPECT_EQ(pool.counts().in_use, 0U);
    }
};

size_t resident_pages(const stack_range &s) {
    std::vector<unsigned char> resident(s.bytes() / page_size);
    EXPECT_EQ(mincore(s.low, s.bytes(), resident.data()), 0);
    return static_cast<size_t>(
        std::count_if(resident.begin(), resident.end(), [](unsigned char r) { return r & 1; }));
}

TEST_F(PrivateStack, HasTheSizeThatWasAskedForAndAllOfItCanBeWritten) {
    stack_range s = acquire();
    EXPECT_EQ(s.bytes(), stack_bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(s.low) % page_size, 0U);
    memset(s.low, 0x77, s.bytes());
    EXPECT_EQ(s.low[0], 0x77);
    EXPECT_EQ(s.high[-1], 0x77);
}

TEST_F(PrivateStack, StacksDoNotOverlapAndAGuardLiesBetweenThem) {
    for (int i = 0; i < 500; ++i)
        acquire();
    std::sort(held.begin(), held.end(),
              [](const stack_range &a, const stack_range &b) { return a.low < b.low; });
    for (size_t i = 1; i < held.size(); ++i)
        ASSERT_GE(held[i].low - held[i - 1].high, static_cast<ptrdiff_t>(guard_bytes));
}

TEST_F(PrivateStack, TheGuardFaultsFromItsFirstByteToItsLast) {
    probe p;
    stack_range s = acquire();
    EXPECT_TRUE(p.faults(s.low - 1));
    EXPECT_FALSE(p.faults(s.low));
    EXPECT_FALSE(p.faults(s.high - 1));
    if (kernel_guard_kind() == guard_kind::guard_install) { // the fallback guards one page
        EXPECT_TRUE(p.faults(s.low - guard_bytes));
    }
    EXPECT_TRUE(dies_of_touching(s.low - 1));
    EXPECT_FALSE(dies_of_touching(s.low));
}

TEST_F(PrivateStack, TheStackFreedLastIsHandedOutFirst) {
    stack_range a = acquire(), b = acquire();
    release_all();
    EXPECT_EQ(acquire().low, b.low);
    EXPECT_EQ(acquire().low, a.low);
}

TEST_F(PrivateStack, AReusedStackKeepsItsGuardAndItsPages) {
    probe p;
    stack_range s = acquire();
    memset(s.low, 1, s.bytes());
    release_all();
    ASSERT_EQ(acquire().low, s.low);
    EXPECT_TRUE(p.faults(s.low - 1));
    EXPECT_EQ(resident_pages(s), stack_bytes / page_size) << "one free stack is not worth a call";
}

// 3,000 stacks are touched in full and freed: about 1,024 may keep their pages, guards all stay.
TEST_F(PrivateStack, ManyFreeStacksGiveTheirPagesBackAndKeepTheirGuards) {
    probe p;
    constexpr size_t many = 3000;
    for (size_t i = 0; i < many; ++i)
        memset(acquire().low, 1, stack_bytes);
    std::vector<stack_range> all = held;
    release_all();
    size_t resident = 0;
    for (const stack_range &s : all) {
        resident += resident_pages(s) != 0;
        ASSERT_TRUE(p.faults(s.low - 1));
    }
    EXPECT_LE(resident, 1025U);
    EXPECT_GE(resident, 512U);
    EXPECT_EQ(pool.counts().in_use, 0U);
    EXPECT_GE(pool.counts().mapped, many);
    std::set<char *> again;
    for (size_t i = 0; i < many; ++i)
        again.insert(acquire().low);
    EXPECT_EQ(again.size(), many) << "each came back once";
    EXPECT_LT(pool.counts().mapped, many + 1024) << "and nothing new was mapped for them";
}

TEST_F(PrivateStack, CountsSayWhatIsMappedAndInUse) {
    EXPECT_EQ(pool.counts().mapped, 0U);
    acquire();
    acquire();
    EXPECT_EQ(pool.counts().in_use, 2U);
    EXPECT_GE(pool.counts().mapped, 2U);
    EXPECT_EQ(pool.counts().bytes_mapped, pool.counts().mapped * (stack_bytes + guard_bytes));
    EXPECT_EQ(pool.counts().unguarded, 0U);
}

TEST_F(PrivateStack, FindKnowsTheStackOfAnAddressAndOfItsGuard) {
    stack_range first = acquire(), second = acquire();
    auto at = [](char *p) { return reinterpret_cast<uintptr_t>(p); };
    EXPECT_EQ(pool.find(at(first.low)).low, first.low);
    EXPECT_EQ(pool.find(at(first.high - 1)).low, first.low);
    EXPECT_EQ(pool.find(at(second.low - 1)).low, second.low) << "a guard belongs to what it guards";
    EXPECT_EQ(pool.find(at(second.low - guard_bytes)).high, second.high);
    char elsewhere;
    EXPECT_EQ(pool.find(at(&elsewhere)).low, nullptr);
}

TEST(PrivateStackWithoutGuard, StacksStandSideBySide) {
    stack_pool pool(stack_bytes, 0);
    probe p;
    stack_range a, b;
    ASSERT_TRUE(pool.acquire(&a));
    ASSERT_TRUE(pool.acquire(&b));
    EXPECT_EQ(std::max(a.low, b.low), std::min(a.high, b.high));
    EXPECT_FALSE(p.faults(std::max(a.low, b.low) - 1));
    EXPECT_EQ(pool.counts().unguarded, 0U) << "nothing was asked for, nothing is missing";
    pool.release(a.low);
    pool.release(b.low);
}

TEST(PrivateStackWithoutMemory, AcquireSaysSoAndCountsNothing) {
    stack_pool pool(sizeof(void *) == 8 ? size_t{1} << 47 : size_t{0xC0000000}, 0);
    stack_range s;
    EXPECT_FALSE(pool.acquire(&s));
    EXPECT_EQ(pool.counts().in_use, 0U);
    EXPECT_EQ(pool.counts().mapped, 0U);
}

} // namespace
