// SPDX-License-Identifier: Apache-2.0
// The kernel as specification: random programs (program.h) on threads and in coroutines give the same
// trace. Contract 19.
//
//     CORUN_SEED=17 hooks_test --gtest_filter=RandomPrograms.*     one program again
//     CORUN_SOAK=1 ...  (make soak)                                other programs, for a minute
//
// time limit: 300 s
#include "tests/hooks/program.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <sys/resource.h>

namespace {

using random_program::program;

uint64_t seed_under_way;

const char *how_to_rerun(uint64_t seed) {
    static char line[160];
    snprintf(line, sizeof line,
             "seed %llu; again: CORUN_SEED=%llu hooks_test --gtest_filter='RandomPrograms.*'",
             static_cast<unsigned long long>(seed), static_cast<unsigned long long>(seed));
    return line;
}

void on_alarm(int) {
    const char *line = how_to_rerun(seed_under_way);
    (void)!write(2, "no end: ", 8);
    (void)!write(2, line, strlen(line));
    (void)!write(2, "\n", 1);
    co_dump(2, CO_DUMP_STACKS);
    abort();
}

// A program takes milliseconds; on a loaded machine under a sanitizer a few seconds.
void limit_time(uint64_t seed, unsigned seconds) {
    seed_under_way = seed;
    signal(SIGALRM, on_alarm);
    alarm(seconds);
}

std::string difference(const both_traces &t) {
    size_t i = 0;
    while (i < t.native.size() && i < t.ours.size() && t.native[i] == t.ours[i])
        ++i;
    std::string text = "line " + std::to_string(i) + "\n";
    for (size_t k = i < 6 ? 0 : i - 6; k < i; ++k)
        text += "      both " + t.native[k] + "\n";
    for (size_t k = i; k < i + 4; ++k) {
        text += "    native " + (k < t.native.size() ? t.native[k] : "(nothing)") + "\n";
        text += "      ours " + (k < t.ours.size() ? t.ours[k] : "(nothing)") + "\n";
    }
    return text;
}

size_t lines_seen;

bool agrees(uint64_t seed) {
    limit_time(seed, 30);
    both_traces t = traces_of([seed](side &s) { program(seed).run(s); });
    alarm(0);
    EXPECT_EQ(t.native == t.ours, true) << how_to_rerun(seed) << "\n" << difference(t);
    lines_seen += t.native.size();
    return t.native == t.ours && !t.native.empty();
}

class RandomPrograms : public testing::Test {
  protected:
    void SetUp() override { signal(SIGPIPE, SIG_IGN); }
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_UNDEFINED__)
constexpr uint64_t seeds_in_a_test = 50;
#else
constexpr uint64_t seeds_in_a_test = 200;
#endif

TEST_F(RandomPrograms, GiveTheSameTraceOnThreadsAndInCoroutines) {
    if (const char *only = getenv("CORUN_SEED")) {
        EXPECT_TRUE(agrees(strtoull(only, nullptr, 0)));
        return;
    }
    for (uint64_t seed = 1; seed <= seeds_in_a_test; ++seed)
        ASSERT_TRUE(agrees(seed));
    EXPECT_GT(lines_seen, 100 * seeds_in_a_test); // they do something
}

// The traces tell: one call in a program that ends otherwise is found.
TEST_F(RandomPrograms, ADifferenceIsSeen) {
    both_traces t = traces_of([](side &s) {
        program(1).run(s);
        s.says("at last", s.coroutines() ? 1 : 2);
    });
    EXPECT_NE(t.native, t.ours);
    EXPECT_NE(difference(t).find("ours at last = 1"), std::string::npos) << difference(t);
}

TEST_F(RandomPrograms, ThreadsAloneAgreeWithThemselves) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        limit_time(seed, 30);
        auto body = [seed](side &s) { program(seed).run(s); };
        both_traces twice{native_trace(body), native_trace(body)};
        alarm(0);
        EXPECT_TRUE(twice.native == twice.ours) << how_to_rerun(seed) << difference(twice);
    }
}

// make soak: programs that nobody has run yet, until the minute is over.
TEST_F(RandomPrograms, Soak) {
    if (!getenv("CORUN_SOAK"))
        GTEST_SKIP() << "only with CORUN_SOAK=1 (make soak)";
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = static_cast<uint64_t>(now.tv_sec) * 100000;
    time_t end = time(nullptr) + 60, told = 0;
    for (uint64_t n = 1; time(nullptr) < end; ++n) {
        ASSERT_TRUE(agrees(++seed));
        if (time(nullptr) >= told + 10) {
            told = time(nullptr);
            fprintf(stderr, "random programs: %llu agreed, the last was seed %llu\n",
                    static_cast<unsigned long long>(n), static_cast<unsigned long long>(seed));
        }
    }
}

} // namespace
