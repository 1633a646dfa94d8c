// SPDX-License-Identifier: Apache-2.0
// contract 34, the first half: 200,000 coroutines, each on a private stack with a guard, within the
// kernel's default of 65,530 mappings.
#include "tests/core/core_fixture.h"
#include "tests/stack/guard_probe.h"

#include <cstdio>

using namespace corun;

namespace {

// i386 has 4 GiB for everything: 100,000 stacks of 16 KiB with 4 KiB of guard take half of it.
constexpr long stacks_wanted = sizeof(void *) == 8 ? 200000 : 100000;
constexpr int guard_size = sizeof(void *) == 8 ? CO_GUARD_SIZE_DEFAULT : 4096;

struct ManyStacks : CoreTest {
    std::vector<stCoRoutine_t *> all;

    void TearDown() override {
        for (stCoRoutine_t *co : all)
            co_release(co);
        CoreTest::TearDown();
    }
};

void *yield_once(void *runs) {
    ++*static_cast<long *>(runs);
    co_yield_ct();
    ++*static_cast<long *>(runs);
    return nullptr;
}

// contract 34
TEST_F(ManyStacks, EachHasItsGuardAndTheyAllRun) {
    if (kernel_guard_kind() != guard_kind::guard_install)
        GTEST_SKIP() << "this kernel has no MADV_GUARD_INSTALL (Linux 6.13); what happens then: "
                        "tests/stack/guard_fallback_test.cpp";
    const long wanted = CO_TSAN ? 5000 : rounds(stacks_wanted); // it knows 8,128 threads and fibers
    size_t lines_before = lines_of_maps();
    stCoRoutineAttr_t attr;
    attr.stack_size = 16 * 1024;
    attr.guard_size = guard_size;
    long runs = 0;
    all.reserve(static_cast<size_t>(wanted));
    for (long i = 0; i < wanted; ++i) {
        stCoRoutine_t *co = nullptr;
        ASSERT_EQ(co_create(&co, &attr, yield_once, &runs), 0) << "number " << i;
        all.push_back(co);
        co_resume(co);
    }
    EXPECT_EQ(runs, wanted);
    co_stats s = stats();
    EXPECT_EQ(s.stacks_in_use, static_cast<uint64_t>(wanted));
    EXPECT_EQ(s.stacks_unguarded, 0U);
    EXPECT_EQ(s.now_yielded, static_cast<uint64_t>(wanted));

    size_t lines = lines_of_maps();
    EXPECT_LT(lines, lines_before + 1000) << "far from 65,530";
    printf("    %ld guarded stacks, guards by %s: %zu lines of /proc/self/maps, %zu before\n",
           wanted, guard_kind_name().c_str(), lines, lines_before);

    probe p;
    for (const stCoRoutine_t *co : all) {
        ASSERT_TRUE(p.faults(co->stack_low - 1));
        ASSERT_FALSE(p.faults(co->stack_low));
    }
    for (size_t i : {size_t{0}, all.size() / 2, all.size() - 1})
        EXPECT_TRUE(dies_of_touching(all[i]->stack_low - 1));

    for (stCoRoutine_t *co : all)
        co_resume(co);
    EXPECT_EQ(runs, 2 * wanted);
    EXPECT_EQ(stats().now_ended, static_cast<uint64_t>(wanted));
}

} // namespace
