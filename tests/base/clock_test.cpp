// SPDX-License-Identifier: Apache-2.0
#include "co_routine/base/clock.h"

#include "co_routine/base/spinlock.h"

#include <gtest/gtest.h>

#include <climits>
#include <thread>
#include <vector>

using namespace corun;

namespace {

TEST(Clock, NeverGoesBack) {
    int64_t last = now_ns();
    for (int i = 0; i < 100000; ++i) {
        int64_t now = now_ns();
        ASSERT_GE(now, last);
        last = now;
    }
}

TEST(Clock, ADeadlinePastTheEndOfTimeIsForEver) {
    EXPECT_EQ(deadline_in(INT64_MAX), no_deadline);
    EXPECT_EQ(deadline_in_ms(-1), no_deadline);
    EXPECT_EQ(deadline_in_ms(LONG_MIN), no_deadline);
    if (sizeof(long) == 8) {
        EXPECT_EQ(deadline_in_ms(LONG_MAX), no_deadline);
    }
}

// contract 33: libco's wheel ends at 60 s.
TEST(Clock, ADeadlineMayLieYearsAhead) {
    long three_weeks_ms = 21L * 24 * 3600 * 1000;
    int64_t before = now_ns(), deadline = deadline_in_ms(three_weeks_ms), after = now_ns();
    EXPECT_GE(deadline, before + three_weeks_ms * ns_per_ms);
    EXPECT_LE(deadline, after + three_weeks_ms * ns_per_ms);
    EXPECT_LT(deadline_in(INT64_MAX / 2), no_deadline);
}

TEST(Clock, ATimeoutOfZeroHasPassedAtOnce) {
    int64_t deadline = deadline_in_ms(0);
    EXPECT_LE(deadline, now_ns());
}

TEST(SpinLock, TwoThreadsCountTogetherAndLoseNothing) {
    unsigned word = 0;
    long count = 0; // guarded by word
    constexpr long each = 100000;
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t)
        threads.emplace_back([&] {
            for (long i = 0; i < each; ++i) {
                spin_guard guard(&word);
                ++count;
            }
        });
    for (std::thread &t : threads)
        t.join();
    EXPECT_EQ(count, 2 * each);
    EXPECT_EQ(word, 0U);
}

} // namespace
