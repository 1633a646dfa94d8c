// SPDX-License-Identifier: Apache-2.0
#include "co_routine/base/check.h"

#include <gtest/gtest.h>

#include <climits>
#include <string>

using namespace corun;

namespace {

template <class... A> std::string formatted(const char *format, A... arguments) {
    char text[256];
    unsigned n = format_line(text, sizeof text, format, arguments...);
    EXPECT_EQ(n, strlen(text));
    return text;
}

void name_as_test(char *out, unsigned size) { format_line(out, size, "coroutine 'x' (#7): "); }
void name_nobody(char *out, unsigned) { *out = '\0'; }

testing::Matcher<const std::string &> one_line(const std::string &text) {
    return testing::Matcher<const std::string &>(text + "\n");
}

TEST(FormatLine, KnowsTheConversionsThatOurMessagesUse) {
    EXPECT_EQ(formatted("%s and %s", "one", "two"), "one and two");
    EXPECT_EQ(formatted("%d %d", 0, -17), "0 -17");
    EXPECT_EQ(formatted("%d", INT_MIN), std::to_string(INT_MIN));
    EXPECT_EQ(formatted("%u %x", 4294967295U, 255U), "4294967295 ff");
    EXPECT_EQ(formatted("%ld %lu", LONG_MIN, ULONG_MAX),
              std::to_string(LONG_MIN) + " " + std::to_string(ULONG_MAX));
    EXPECT_EQ(formatted("%lld %llu", LLONG_MIN, ULLONG_MAX),
              std::to_string(LLONG_MIN) + " " + std::to_string(ULLONG_MAX));
    EXPECT_EQ(formatted("%zu", sizeof(int)), "4");
    EXPECT_EQ(formatted("%p", reinterpret_cast<void *>(0xabc0)), "0xabc0");
    EXPECT_EQ(formatted("100%%"), "100%");
}

TEST(FormatLine, ANullStringIsSaidAndNotFollowed) {
    const char *volatile nothing = nullptr; // not known to the compiler, which would warn
    EXPECT_EQ(formatted("<%s>", nothing), "<(null)>");
}

TEST(FormatLine, WhatDoesNotFitIsCutAndTerminated) {
    char text[8];
    memset(text, '#', sizeof text);
    EXPECT_EQ(format_line(text, sizeof text, "%s", "0123456789"), 7U);
    EXPECT_STREQ(text, "0123456");
    char one[1] = {'#'};
    EXPECT_EQ(format_line(one, 1, "abc"), 0U);
    EXPECT_EQ(one[0], '\0');
}

// contract 8: one line that names the coroutine, then SIGABRT.
TEST(Check, FatalWritesOneLineWithTheNameOfTheRunningCoroutineAndAborts) {
    EXPECT_EXIT(
        {
            set_name_function(name_as_test);
            fatal("the %s is %d", "answer", 42);
        },
        testing::KilledBySignal(SIGABRT), one_line("corun: coroutine 'x' (#7): the answer is 42"));
}

TEST(Check, OutsideACoroutineTheLineHasNoName) {
    EXPECT_EXIT(
        {
            set_name_function(name_nobody);
            fatal("no %s", "memory");
        },
        testing::KilledBySignal(SIGABRT), one_line("corun: no memory"));
}

TEST(Check, WarnWritesTheSameLineAndGoesOn) {
    EXPECT_EXIT(
        {
            set_name_function(name_as_test);
            warn("take care");
            _exit(3);
        },
        testing::ExitedWithCode(3), one_line("corun: coroutine 'x' (#7): take care"));
}

TEST(Check, AVeryLongMessageStaysOneTerminatedLine) {
    EXPECT_EXIT(
        {
            set_name_function(name_nobody);
            std::string text(2000, 'y');
            fatal("%s", text.c_str());
        },
        testing::KilledBySignal(SIGABRT), testing::MatchesRegex("corun: y{480,503}\n"));
}

TEST(Check, AConditionThatHoldsCostsNothingAndOneThatDoesNotEndsTheProcess) {
    CO_CHECK(1 + 1 == 2, "not reached");
    EXPECT_EXIT(
        {
            set_name_function(name_nobody);
            int n = 3;
            CO_CHECK(n == 4, "n is %d", n);
        },
        testing::KilledBySignal(SIGABRT), one_line("corun: n is 3"));
}

} // namespace
