// SPDX-License-Identifier: Apache-2.0
// The wall clock may jump, forward and back: no deadline moves, because nobody asks it. The suite's
// clock_gettime stands in front of libc's here, so it can jump without disturbing the machine.
#include "tests/loop/loop_fixture.h"

#include <atomic>
#include <dlfcn.h>

namespace {

std::atomic<int64_t> wall_offset_s{0};
std::atomic<int> wall_clock_asks{0};

using ask_fn = int (*)(clockid_t, timespec *);
std::atomic<ask_fn> libcs{nullptr};

} // namespace

extern "C" int clock_gettime(clockid_t clock, timespec *t) noexcept {
    ask_fn ask = libcs;
    if (!ask) {
        ask = reinterpret_cast<ask_fn>(dlsym(RTLD_NEXT, "clock_gettime"));
        libcs = ask;
    }
    int r = ask(clock, t);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        ++wall_clock_asks;
        t->tv_sec += wall_offset_s;
    }
    return r;
}

using namespace corun;

namespace {

using WallClock = LoopTest;

int64_t wall_s() {
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec;
}

TEST_F(WallClock, AJumpMovesNoDeadline) { // contract 33
    constexpr int64_t a_year_s = 365 * 24 * 3600;
    stream_pair p;
    const int64_t begin = now_ns(), real_s = wall_s();
    int ended = 0;
    go([&] {
        EXPECT_EQ(co_sleep_ms(60), 0);
        EXPECT_GE(now_ns() - begin, 60 * ns_per_ms);
        ++ended;
    });
    go([&] {
        pollfd f{p.a, POLLIN, 0};
        EXPECT_EQ(co_poll(nullptr, &f, 1, 60), 0);
        EXPECT_GE(now_ns() - begin, 60 * ns_per_ms);
        ++ended;
    });
    for (int64_t jump_s : {a_year_s, -a_year_s})
        go([=, &ended] {
            co_sleep_ms(jump_s > 0 ? 5 : 10);
            wall_offset_s = jump_s;
            EXPECT_GE((wall_s() - real_s) * (jump_s > 0 ? 1 : -1), a_year_s - 60) << "it does jump";
            EXPECT_EQ(ended, 0);
        });
    int asked = wall_clock_asks;
    co_run();
    EXPECT_EQ(wall_clock_asks, asked + 2) << "those of the test itself";
    EXPECT_EQ(ended, 2);
    EXPECT_LT(now_ns() - begin, patience_ns);
    wall_offset_s = 0;
}

} // namespace
