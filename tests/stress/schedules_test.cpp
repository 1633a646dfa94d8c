// SPDX-License-Identifier: Apache-2.0
// contract 17: a random program, drawn from a seed, runs once on private and once on shared stacks;
// what its coroutines did, and in which order, must be the same.
//
// CORUN_SEED=n runs that one seed: what a failure prints.
#include "tests/core/core_fixture.h"

#include <cstdlib>
#include <memory>

using namespace corun;

namespace {

// One coroutine of the program: what it does next depends on its own random numbers and on the
// states of the others, which are the same in both runs.
class Program {
  public:
    Program(uint64_t seed, stShareStack_t *stacks) : seed_(seed) { attr_.share_stack = stacks; }

    std::string run() {
        for (int i = 0; i < 6; ++i)
            add();
        co_run_until_quiet();
        for (auto &m : members_)
            co_release(m->co);
        return std::move(trace_);
    }
    long wrong = 0; // locals that were not as they were left

  private:
    struct Member {
        Program *program;
        uint32_t number;
        uint64_t random;
        int steps;
        stCoRoutine_t *co = nullptr;
    };

    static uint32_t next(uint64_t &state) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        return static_cast<uint32_t>(state >> 33);
    }

    void note(const Member *m, const char *what, uint32_t detail) {
        trace_ += std::to_string(m->number) + what + std::to_string(detail) + ' ';
    }

    Member *add() {
        auto number = static_cast<uint32_t>(members_.size());
        members_.push_back(std::make_unique<Member>(
            Member{this, number, seed_ * 0x9E3779B97F4A7C15ULL + number, 60}));
        Member *m = members_.back().get();
        EXPECT_EQ(co_go(
                      &m->co, &attr_,
                      [](void *member) -> void * {
                          auto *self = static_cast<Member *>(member);
                          Noted end{self};
                          self->program->act(self, 0);
                          return self;
                      },
                      m),
                  0);
        return m;
    }

    // In the trace, an end by return and an end by cancel differ in what comes before it.
    struct Noted {
        Member *member;
        ~Noted() { member->program->note(member, "end", 0); }
    };

    Member *any(Member *m) { return members_[next(m->random) % members_.size()].get(); }

    __attribute__((noinline)) void act(Member *m, uint32_t depth) {
        volatile uint32_t mine[24];
        uint32_t mark = m->number * 1000 + depth;
        for (uint32_t i = 0; i < 24; ++i)
            mine[i] = mark + i;
        for (int here = 0; here < 8 && m->steps > 0; ++here) {
            --m->steps;
            step(m, depth);
            for (uint32_t i = 0; i < 24; ++i)
                wrong += mine[i] != mark + i;
        }
    }

    void step(Member *m, uint32_t depth) {
        switch (next(m->random) % 12) {
        case 0:
        case 1:
        case 2:
            note(m, "y", depth);
            co_yield_now();
            note(m, "b", depth);
            break;
        case 3:
        case 4:
            if (depth < 12) {
                note(m, "d", depth);
                act(m, depth + 1);
                note(m, "u", depth);
            }
            break;
        case 5: // until somebody wakes or resumes it; the end of the program wakes all
            note(m, "Y", depth);
            co_yield_ct();
            note(m, "B", depth);
            break;
        case 6:
        case 7:
            wake(m, any(m));
            break;
        case 8:
        case 9:
            resume(m, any(m));
            break;
        case 10:
            if (members_.size() < 40) {
                Member *other = add();
                note(m, "go", other->number);
            }
            break;
        case 11:
            if (next(m->random) % 4 == 0)
                cancel(m, any(m));
            else
                join(m, any(m));
        }
    }

    void wake(Member *m, Member *other) {
        note(m, "w", other->number);
        note(m, "=", static_cast<uint32_t>(co_wake(other->co)));
    }
    void resume(Member *m, Member *other) {
        co_state s = other->co->state;
        if (s != co_state::yielded && s != co_state::ready)
            return;
        note(m, "r", other->number);
        co_resume(other->co);
        note(m, "R", other->number);
    }
    void cancel(Member *m, Member *other) {
        note(m, "c", other->number);
        note(m, "=", static_cast<uint32_t>(co_cancel(other->co)));
    }
    // Upwards only: rings of joiners would wait for ever.
    void join(Member *m, Member *other) {
        if (other->number <= m->number)
            return;
        note(m, "j", other->number);
        void *result = nullptr;
        co_join(other->co, &result);
        wrong += result != other && result != CO_CANCELED;
        note(m, "J", result == CO_CANCELED);
    }

    // Yielded ones that nobody wakes are woken, so that every program ends.
    void co_run_until_quiet() {
        for (bool alive = true; alive;) {
            for (int i = 0; i < 100 && env_or_null()->ready_first; ++i)
                co_yield_now();
            alive = false;
            for (size_t i = 0; i < members_.size(); ++i) {
                stCoRoutine_t *co = members_[i]->co;
                alive |= co->state != co_state::ended;
                if (co->state == co_state::yielded)
                    co_wake(co);
            }
        }
    }

    uint64_t seed_;
    stCoRoutineAttr_t attr_;
    std::string trace_;
    std::vector<std::unique_ptr<Member>> members_;
};

using RandomSchedules = CoreTest;

void compare(uint64_t seed, long *longest) {
    Program on_private(seed, nullptr);
    std::string expected = on_private.run();
    stShareStack_t *one = co_alloc_sharestack(1, 128 * 1024);
    stShareStack_t *three = co_alloc_sharestack(3, 128 * 1024);
    for (stShareStack_t *stacks : {one, three}) {
        Program on_shared(seed, stacks);
        std::string trace = on_shared.run();
        ASSERT_EQ(trace, expected) << "CORUN_SEED=" << seed;
        ASSERT_EQ(on_shared.wrong, 0) << "CORUN_SEED=" << seed;
    }
    ASSERT_EQ(on_private.wrong, 0) << "CORUN_SEED=" << seed;
    ASSERT_EQ(co_release_sharestack(one), 0);
    ASSERT_EQ(co_release_sharestack(three), 0);
    if (static_cast<long>(expected.size()) > *longest)
        *longest = static_cast<long>(expected.size());
}

// contract 17. Seeds are numbers from 1 on; a soak run draws others.
TEST_F(RandomSchedules, TheSameProgramLeavesTheSameTraceOnPrivateAndOnSharedStacks) {
    long longest = 0;
    if (const char *given = getenv("CORUN_SEED")) {
        compare(strtoull(given, nullptr, 10), &longest);
        return;
    }
    uint64_t first = getenv("CORUN_SOAK") ? static_cast<uint64_t>(time(nullptr)) << 20 : 1;
    RecordProperty("first_seed", std::to_string(first));
    for (uint64_t seed = first; seed < first + static_cast<uint64_t>(rounds(400)); ++seed) {
        compare(seed, &longest);
        if (HasFatalFailure())
            return;
    }
    EXPECT_GT(longest, 2000) << "programs that do nothing prove nothing";
}

} // namespace
