// SPDX-License-Identifier: Apache-2.0
// contract 9: created, run and freed by the million, memory stays flat.
#include "tests/core/core_fixture.h"

#include <cstdio>

namespace {

struct Churn : EachStack {
    static size_t resident_kib() {
        long total = 0, resident = 0;
        if (FILE *f = fopen("/proc/self/statm", "r")) {
            EXPECT_EQ(fscanf(f, "%ld %ld", &total, &resident), 2);
            fclose(f);
        }
        return static_cast<size_t>(resident) * 4;
    }

    // Runs one round so often; after the first tenth, memory may not grow by as much as a byte for
    // every hundred rounds. Under ASan the quarantine of the test's own heap would be measured.
    void expect_flat(long how_often, const std::function<void()> &round) {
        for (long i = 0; i < how_often / 10; ++i)
            round();
        size_t before = resident_kib();
        co_stats stats_before = stats();
        for (long i = 0; i < how_often; ++i)
            round();
        RecordProperty("rounds", std::to_string(how_often));
        if (!CO_SANITIZED) {
            EXPECT_LT(resident_kib(), before + 64 + static_cast<size_t>(how_often) / 100 / 1024);
        }
        EXPECT_EQ(stats().bytes_mapped, stats_before.bytes_mapped);
        EXPECT_EQ(stats().stacks, stats_before.stacks);
        EXPECT_EQ(stats().save_buffer_bytes, 0U);
    }
};
ON_EACH_STACK(Churn);

void *return_at_once(void *argument) { return argument; }
void *yield_once(void *argument) {
    co_yield_ct();
    return argument;
}

// contract 9: 10^7 on private stacks, a tenth of that for what costs more.
TEST_P(Churn, CreateRunFree) {
    stCoRoutineAttr_t attr = attr_for(GetParam());
    long how_often = rounds(GetParam() == Stack::private_one ? 10000000 : 2000000);
    expect_flat(how_often, [&] {
        stCoRoutine_t *co = nullptr;
        if (co_create(&co, &attr, return_at_once, nullptr) != 0)
            abort();
        co_resume(co);
        co_release(co);
    });
}

// contract 9: dropped while suspended.
TEST_P(Churn, CreateRunHalfFree) {
    stCoRoutineAttr_t attr = attr_for(GetParam());
    expect_flat(rounds(2000000), [&] {
        stCoRoutine_t *co = nullptr;
        if (co_create(&co, &attr, yield_once, nullptr) != 0)
            abort();
        co_resume(co);
        co_release(co);
    });
}

// contract 9: never run at all.
TEST_P(Churn, CreateFree) {
    stCoRoutineAttr_t attr = attr_for(GetParam());
    expect_flat(rounds(2000000), [&] {
        stCoRoutine_t *co = nullptr;
        if (co_create(&co, &attr, yield_once, nullptr) != 0)
            abort();
        co_release(co);
    });
}

// contract 9: with a name, a value and a wait in the loop, eight at a time, freed by themselves.
TEST_P(Churn, StartedInTheLoopWithNamesValuesAndWaits) {
    static co_key_t key;
    static long destroyed;
    destroyed = 0;
    ASSERT_EQ(co_key_create(&key, [](void *) { ++destroyed; }), 0);
    stCoRoutineAttr_t attr = attr_for(GetParam());
    long how_often = rounds(50000);
    expect_flat(how_often, [&] {
        for (int i = 0; i < 8; ++i)
            if (co_go(
                    nullptr, &attr,
                    [](void *) -> void * {
                        co_set_name(co_self(), "brief");
                        co_key_set(key, &key);
                        co_sleep_ms(0);
                        co_yield_now();
                        return nullptr;
                    },
                    nullptr) != 0)
                abort();
        co_run();
    });
    EXPECT_EQ(destroyed, 8 * (how_often + how_often / 10));
    co_key_delete(key);
}

// contract 9: cancelled in a wait and unwound.
TEST_P(Churn, CancelledInAWait) {
    stCoRoutineAttr_t attr = attr_for(GetParam());
    static long unwound;
    unwound = 0;
    struct count {
        ~count() { ++unwound; }
    };
    long how_often = rounds(50000);
    expect_flat(how_often, [&] {
        stCoRoutine_t *co = nullptr;
        if (co_go(
                &co, &attr,
                [](void *) -> void * {
                    count guard;
                    co_sleep_ms(3600 * 1000);
                    return nullptr;
                },
                nullptr) != 0)
            abort();
        co_yield_now();
        co_cancel(co);
        co_run();
        co_release(co);
    });
    EXPECT_EQ(unwound, how_often + how_often / 10);
}

} // namespace
