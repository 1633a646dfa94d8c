// SPDX-License-Identifier: Apache-2.0
// The longest stretches without a yield: which are kept, and what co_dump says of them.
#include "co_routine/base/clock.h"
#include "co_routine/co_routine.h"
#include "co_routine/debug/stretches.h"

#include "tests/debug/child.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <vector>

using namespace corun;

namespace {

class Stretches : public testing::Test {
    void SetUp() override { stretches_after_fork_in_child(); } // none
    void TearDown() override { stretches_after_fork_in_child(); }
};

stretch lasting(long ms, uint64_t key = 0, int frames = 0) {
    stretch s;
    s.key = key;
    s.lasted_ns = ms * ns_per_ms;
    s.ended_ns = now_ns();
    s.count = frames;
    return s;
}

std::vector<long> kept() {
    std::vector<long> all;
    stretch s;
    for (unsigned i = 0; kept_stretch(i, &s); ++i)
        all.push_back(static_cast<long>(s.lasted_ns / ns_per_ms));
    return all;
}

TEST_F(Stretches, TheLongestAreKeptInOrder) {
    for (long ms : {5, 1, 9, 3, 7, 2, 8, 4, 6, 10, 5})
        keep_stretch(lasting(ms));
    EXPECT_EQ((std::vector<long>{10, 9, 8, 7, 6, 5, 5, 4}), kept());
}

TEST_F(Stretches, OneThatGoesOnIsKeptOnce) {
    for (long ms : {5, 3, 7})
        keep_stretch(lasting(ms));
    keep_stretch(lasting(4, 77, 2));
    EXPECT_TRUE(is_minor_stretch(77, 6 * ns_per_ms));
    EXPECT_FALSE(is_minor_stretch(77, 8 * ns_per_ms));
    note_stretch_length(77, 6 * ns_per_ms, now_ns());
    EXPECT_EQ((std::vector<long>{7, 6, 5, 3}), kept());
    keep_stretch(lasting(12, 77, 3));
    EXPECT_EQ((std::vector<long>{12, 7, 5, 3}), kept());
    stretch s;
    ASSERT_TRUE(kept_stretch(0, &s));
    EXPECT_EQ(3, s.count);
}

TEST_F(Stretches, AShortOneIsMinorOnceThereAreEight) {
    for (long ms = 10; ms < 10 + static_cast<long>(most_stretches); ++ms) {
        EXPECT_FALSE(is_minor_stretch(0, ns_per_ms));
        keep_stretch(lasting(ms));
    }
    EXPECT_TRUE(is_minor_stretch(0, 10 * ns_per_ms));
    EXPECT_FALSE(is_minor_stretch(0, 11 * ns_per_ms));
}

__attribute__((noinline)) void spin_in_this_function(int64_t until) {
    while (now_ns() < until)
        __asm__ volatile("");
}
bool is_seen_spinning() {
    auto begin = reinterpret_cast<uintptr_t>(&spin_in_this_function);
    stretch s;
    for (unsigned i = 0; kept_stretch(i, &s); ++i)
        for (int f = 0; f < s.count; ++f)
            if (reinterpret_cast<uintptr_t>(s.frames[f]) - begin < 128)
                return true;
    return false;
}
void *spin(void *) { // on a busy machine until the watcher had its turn in one of them
    for (int i = 0; i < 12 || (i < 100 && !is_seen_spinning()); ++i) {
        spin_in_this_function(now_ns() + 60 * ns_per_ms);
        co_yield_now();
    }
    return nullptr;
}

TEST_F(Stretches, DISABLED_Spin) {
    stCoRoutine_t *co = nullptr;
    co_go(&co, nullptr, spin, nullptr);
    co_set_name(co, "spinner");
    co_join(co, nullptr);
    dprintf(2, "The dump\n");
    co_dump(2, CO_DUMP_STRETCHES | CO_DUMP_STACKS);
    co_dump(2, CO_DUMP_STACKS);
    co_release(co);
}

TEST_F(Stretches, AreInTheDumpWithTheFramesOfThatTime) {
    child_result r = in_fresh_process("Stretches.DISABLED_Spin", {"CORUN_DEBUG=blocked:10"});
    std::string dump = r.text.substr(std::min(r.text.size(), r.text.find("The dump\n")));
    EXPECT_EQ(8U, count_of(dump, "\nstretch: ")) << r.text;
    EXPECT_EQ(8U, count_of(dump, " ago: coroutine 'spinner' (#N) of thread ")) << r.text;
    if (!under_asan && !under_tsan) { // whose own handlers stand in between
        EXPECT_LE(1U, count_of(dump, "spin_in_this_function")) << r.text;
    }
}

TEST_F(Stretches, AreNoneWhereNobodyAsked) {
    child_result r = in_fresh_process("Stretches.DISABLED_Spin");
    EXPECT_TRUE(r.says("The dump\n")) << r.text;
    EXPECT_EQ(0U, count_of(r.text, "stretch: ")) << r.text;
}

} // namespace
