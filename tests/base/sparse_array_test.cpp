// SPDX-License-Identifier: Apache-2.0
#include "co_routine/base/sparse_array.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <sys/resource.h>
#include <thread>
#include <vector>

using namespace corun;

namespace {

struct entry {
    uint64_t value;
    void *pointer;
};

size_t resident_bytes() {
    long pages[2] = {0, 0};
    if (FILE *f = fopen("/proc/self/statm", "r")) {
        EXPECT_EQ(fscanf(f, "%ld %ld", &pages[0], &pages[1]), 2);
        fclose(f);
    }
    return static_cast<size_t>(pages[1]) * 4096;
}

TEST(SparseArray, FindMakesNothing) {
    sparse_array<entry> a;
    EXPECT_EQ(a.find(0), nullptr);
    EXPECT_EQ(a.find(5000), nullptr);
    ASSERT_NE(a.at(5000), nullptr);
    EXPECT_EQ(a.find(0), nullptr) << "another chunk than the one that was made";
    EXPECT_NE(a.find(5001), nullptr) << "the same chunk";
}

TEST(SparseArray, ElementsBeginAsZeroAndNeverMove) {
    sparse_array<entry> a;
    entry *first = a.at(3);
    ASSERT_NE(first, nullptr);
    EXPECT_EQ(first->value, 0U);
    EXPECT_EQ(first->pointer, nullptr);
    first->value = 7;
    for (size_t i = 0; i < 200; ++i)
        ASSERT_NE(a.at(i * 10000), nullptr);
    EXPECT_EQ(a.find(3), first);
    EXPECT_EQ(first->value, 7U);
}

// contract 35: the table of descriptors has no fixed size and knows no rlimit.
TEST(SparseArray, ElementOneMillionWorksWhateverTheLimitOfDescriptors) {
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    RecordProperty("rlimit_nofile_hard", std::to_string(limit.rlim_max));
    sparse_array<entry> a;
    entry *e = a.at(1000000);
    ASSERT_NE(e, nullptr);
    e->value = 1000000;
    EXPECT_EQ(a.find(1000000)->value, 1000000U);
    EXPECT_EQ(a.find(999999 - 1024), nullptr) << "the numbers below cost nothing";
}

// contract 35: every number up to a million at once, each element its own.
TEST(SparseArray, AMillionElementsStandSideBySide) {
    sparse_array<uint32_t> a;
    constexpr size_t million = 1000000;
    for (size_t i = 0; i <= million; ++i) {
        uint32_t *e = a.at(i);
        ASSERT_NE(e, nullptr) << i;
        ASSERT_EQ(*e, 0U) << i;
        *e = static_cast<uint32_t>(i + 1);
    }
    for (size_t i = 0; i <= million; ++i)
        ASSERT_EQ(*a.find(i), i + 1);
}

// contract 35: fs.nr_open can be raised to 2^30 and no further; what lies above is no descriptor.
TEST(SparseArray, TheLastPossibleDescriptorWorksAndTheNextIsRefused) {
    using array = sparse_array<entry>;
    array a;
    ASSERT_NE(a.at(array::limit - 1), nullptr);
    EXPECT_EQ(a.at(array::limit), nullptr);
    EXPECT_EQ(a.find(array::limit), nullptr);
    EXPECT_EQ(a.at(SIZE_MAX), nullptr) << "a negative descriptor";
    EXPECT_EQ(a.find(SIZE_MAX), nullptr);
}

TEST(SparseArray, MemoryIsUsedOnlyWhereElementsAre) {
    sparse_array<entry> a;
    size_t before = resident_bytes();
    for (size_t i = 0; i < 16; ++i)
        ASSERT_NE(a.at(i * (sparse_array<entry>::limit / 16)), nullptr);
    EXPECT_LT(resident_bytes() - before, size_t{4} << 20); // the directory alone spans 4 or 8 MiB
}

TEST(SparseArray, ForEachVisitsEachElementOfEachChunkOnceInOrder) {
    sparse_array<uint32_t> a;
    *a.at(1) = 11;
    *a.at(70000) = 12;
    *a.at(1000000) = 13;
    std::vector<size_t> found;
    size_t visits = 0;
    a.for_each([&](size_t index, uint32_t &e) {
        ++visits;
        if (e)
            found.push_back(index);
    });
    EXPECT_EQ(found, (std::vector<size_t>{1, 70000, 1000000}));
    EXPECT_EQ(visits, 3 * sparse_array<uint32_t>::chunk_elements);
}

TEST(SparseArray, ForEachOfAnEmptyOneVisitsNothing) {
    sparse_array<uint32_t> a;
    a.for_each([](size_t, uint32_t &) { FAIL(); });
}

TEST(SparseArray, ResetForgetsEverythingAndItCanBeginAnew) {
    sparse_array<entry> a;
    a.at(1000000)->value = 1;
    a.reset();
    EXPECT_EQ(a.find(1000000), nullptr);
    a.reset();
    EXPECT_EQ(a.at(1000000)->value, 0U);
}

// Four threads ask for the same new chunks at once: all get the same element, none is lost.
TEST(SparseArray, ThreadsThatMakeTheSameChunkAgreeOnIt) {
    sparse_array<uint32_t> a;
    constexpr size_t chunks = 500, threads = 4;
    std::vector<std::thread> all;
    for (size_t t = 0; t < threads; ++t)
        all.emplace_back([&a] {
            for (size_t c = 0; c < chunks; ++c)
                __atomic_fetch_add(a.at(c * 1024 + 5), 1U, __ATOMIC_RELAXED);
        });
    for (std::thread &t : all)
        t.join();
    for (size_t c = 0; c < chunks; ++c)
        ASSERT_EQ(*a.find(c * 1024 + 5), threads);
}

} // namespace
