// SPDX-License-Identifier: Apache-2.0
#include "co_routine/base/raw_vector.h"

#include <gtest/gtest.h>

#include <cstdint>

using namespace corun;

namespace {

TEST(RawVector, ANewOneIsEmptyAndHoldsNoMemory) {
    raw_vector<int> v;
    EXPECT_TRUE(v.empty());
    EXPECT_EQ(v.size(), 0U);
    EXPECT_EQ(v.data(), nullptr);
}

TEST(RawVector, ElementsSurviveEveryGrowth) {
    raw_vector<uint32_t> v;
    constexpr uint32_t many = 300000; // from one page to 2 MiB: about nine moves
    for (uint32_t i = 0; i < many; ++i)
        ASSERT_TRUE(v.push_back(i * 2654435769U));
    ASSERT_EQ(v.size(), many);
    for (uint32_t i = 0; i < many; ++i)
        ASSERT_EQ(v[i], i * 2654435769U);
}

TEST(RawVector, ReserveMakesRoomAndChangesNothingElse) {
    raw_vector<char> v;
    ASSERT_TRUE(v.push_back('x'));
    ASSERT_TRUE(v.reserve(100000));
    const char *place = v.data();
    for (int i = 1; i < 100000; ++i)
        ASSERT_TRUE(v.push_back('y'));
    EXPECT_EQ(v.data(), place);
    EXPECT_EQ(v[0], 'x');
    EXPECT_EQ(v.size(), 100000U);
}

TEST(RawVector, WithoutMemoryItSaysSoAndKeepsWhatItHas) {
    raw_vector<char> v;
    ASSERT_TRUE(v.push_back('x'));
    const char *place = v.data();
    raw_vector<char> hog; // i386: two of 2 GiB do not fit beside each other
    constexpr bool small_world = sizeof(void *) == 4;
    if (small_world) {
        ASSERT_TRUE(hog.reserve(size_t{1} << 31));
    }
    EXPECT_FALSE(v.reserve(size_t{1} << (small_world ? 31 : 48)));
    EXPECT_EQ(v.data(), place);
    EXPECT_EQ(v.size(), 1U);
    EXPECT_EQ(v[0], 'x');
}

TEST(RawVector, PopBackAndClearKeepTheMemory) {
    raw_vector<int> v;
    for (int i = 0; i < 10; ++i)
        ASSERT_TRUE(v.push_back(i));
    const int *place = v.data();
    EXPECT_EQ(v.back(), 9);
    v.pop_back();
    EXPECT_EQ(v.back(), 8);
    v.clear();
    EXPECT_TRUE(v.empty());
    ASSERT_TRUE(v.push_back(1));
    EXPECT_EQ(v.data(), place);
}

TEST(RawVector, ResetGivesTheMemoryBackAndItCanBeginAnew) {
    raw_vector<int> v;
    ASSERT_TRUE(v.push_back(1));
    v.reset();
    EXPECT_EQ(v.data(), nullptr);
    EXPECT_TRUE(v.empty());
    ASSERT_TRUE(v.push_back(2));
    EXPECT_EQ(v[0], 2);
}

} // namespace
