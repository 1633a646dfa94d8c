// SPDX-License-Identifier: Apache-2.0
// Who looks at a stack under corun sees all of it: from slots, from the way into the runtime, in
// threads that are coroutines.
#include "tests/waist/programs.h"

#include <gtest/gtest.h>

using namespace programs;

namespace {

// contract 42
void expect_whole_stacks(const std::string &arguments, int least_samples) {
    SCOPED_TRACE(arguments);
    samples s = unwound(run("timeout -s KILL 60 " + directory() + "/../corun " +
                            built("unwind_prog") + " " + arguments));
    EXPECT_GE(s.taken, least_samples);
    EXPECT_EQ(s.truncated, 0);
}

TEST(Unwinding, ProfilersSeeTheWholeStackInALoopOfSystemCalls) {
    expect_whole_stacks("libgcc 1000", 1000);
    expect_whole_stacks("libunwind 1000", 1000);
}
TEST(Unwinding, ProfilersSeeTheWholeStackOfThreads) {
    expect_whole_stacks("libgcc 1000 thread", 1000);
    expect_whole_stacks("libunwind 1000 thread", 1000);
}
TEST(Unwinding, TheWholeStackIsSeenFromEveryInstruction) {
    expect_whole_stacks("libgcc step", 1000);
    expect_whole_stacks("libunwind step", 1000);
}

} // namespace
