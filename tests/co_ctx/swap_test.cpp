// SPDX-License-Identifier: Apache-2.0
/*
 * swap_test.cpp - making contexts and swapping between them: what is kept and how one begins.
 */
#include "tests/co_ctx/context_fixture.h"

#include <csignal>
#include <cstring>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

namespace {

using namespace co_ctx_test;

struct shared_state {
    coctx_t *here = nullptr, *there = nullptr;
    const void *s = nullptr, *s1 = nullptr;
    void *frame = nullptr;
    int rounds = 0;
    int changed_registers = 0;
};

void *remember_arguments(void *s, void *s1) {
    shared_state *st = static_cast<shared_state *>(s);
    for (;;) {
        st->s = s, st->s1 = s1, st->frame = __builtin_frame_address(0);
        st->rounds++;
        coctx_swap(st->there, st->here);
    }
}

TEST(Coctx, InitClearsEverything) {
    coctx_t c;
    memset(&c, 0xff, sizeof c);
    EXPECT_EQ(coctx_init(&c), 0);
    const coctx_t zero{};
    EXPECT_EQ(memcmp(&c, &zero, sizeof c), 0);
}

TEST(Coctx, HasTheSizeOfLibcosAndBeginsWithTheLiveRegisters) {
    EXPECT_EQ(sizeof(coctx_t), (sizeof(void *) == 8 ? 16 : 10) * sizeof(void *));
    EXPECT_EQ(offsetof(coctx_t, regs), 0u);
    EXPECT_EQ(COCTX_LIVE_REGS * sizeof(void *), sizeof(void *) == 8 ? 72u : 32u);
}

TEST(Coctx, MakeDoesNotRunTheFunctionAndTheFirstSwapDoes) {
    here_context here;
    context there;
    shared_state st;
    st.here = &here.ctx, st.there = &there.ctx;
    int second = 0;
    ASSERT_EQ(there.make(remember_arguments, &st, &second), 0);
    EXPECT_EQ(st.rounds, 0);

    coctx_swap(&here.ctx, &there.ctx);
    EXPECT_EQ(st.rounds, 1);
    EXPECT_EQ(st.s, &st);
    EXPECT_EQ(st.s1, &second);
    EXPECT_TRUE(there.holds(st.frame));

    coctx_swap(&here.ctx, &there.ctx);
    EXPECT_EQ(st.rounds, 2);
}

TEST(Coctx, MakeRefusesWhatCannotRun) {
    coctx_t c;
    coctx_init(&c);
    const coctx_t before = c;
    char stack[64];
    EXPECT_EQ(coctx_make(&c, remember_arguments, nullptr, nullptr), -1);
    c.ss_sp = stack, c.ss_size = sizeof stack - 1;
    EXPECT_EQ(coctx_make(&c, remember_arguments, nullptr, nullptr), -1);
    c.ss_size = sizeof stack;
    EXPECT_EQ(coctx_make(&c, nullptr, nullptr, nullptr), -1);
    EXPECT_EQ(memcmp(c.regs, before.regs, sizeof c.regs), 0);
    EXPECT_EQ(coctx_make(&c, remember_arguments, nullptr, nullptr), 0);
}

// A stack costs no memory before it runs: nothing may be written to one that only was made ready.
TEST(Coctx, MakeDoesNotTouchTheStack) {
    context there;
    ASSERT_EQ(mprotect(there.ctx.ss_sp, there.ctx.ss_size, PROT_NONE), 0);
    EXPECT_EQ(there.make(remember_arguments), 0);
    ASSERT_EQ(mprotect(there.ctx.ss_sp, there.ctx.ss_size, PROT_READ | PROT_WRITE), 0);

    here_context here;
    shared_state st;
    st.here = &here.ctx, st.there = &there.ctx;
    ASSERT_EQ(there.make(remember_arguments, &st), 0);
    coctx_swap(&here.ctx, &there.ctx);
    EXPECT_EQ(st.rounds, 1);
}

TEST(Coctx, SwapWithItselfIsNothing) {
    here_context here;
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(canary_swap(&here.ctx, &here.ctx, 0x1000, 0, coctx_swap), 0);
}

void *swap_with_canaries(void *s, void *) {
    shared_state *st = static_cast<shared_state *>(s);
    for (uintptr_t seed = 0x20000;; seed += 0x100)
        st->changed_registers += canary_swap(st->there, st->here, seed, 0, coctx_swap);
}

TEST(Coctx, CalleeSavedRegistersArePreserved) {
    here_context here;
    context there;
    shared_state st;
    st.here = &here.ctx, st.there = &there.ctx;
    ASSERT_EQ(there.make(swap_with_canaries, &st), 0);
    for (uintptr_t seed = 0x10000; seed < 0x20000; seed += 0x100)
        ASSERT_EQ(canary_swap(&here.ctx, &there.ctx, seed, 0, coctx_swap), 0);
    EXPECT_EQ(st.changed_registers, 0);
}

// The detector itself: with a swap that loses a register, canary_swap must say so.
TEST(Coctx, TheRegisterCanariesNoticeALostRegister) {
    here_context here;
    context there;
    shared_state st;
    st.here = &here.ctx, st.there = &there.ctx;
    static coctx_t *damaged;
    damaged = &here.ctx;
    const auto damage = [](void *s, void *) -> void * {
        damaged->regs[0] = nullptr; // rbx, ebx
        shared_state *state = static_cast<shared_state *>(s);
        coctx_swap(state->there, state->here);
        return nullptr;
    };
    ASSERT_EQ(there.make(damage, &st), 0);
    EXPECT_EQ(canary_swap(&here.ctx, &there.ctx, 0x10000, 0, coctx_swap), 1);
}

TEST(Coctx, ASuspendedContextTellsItsStackPointerAndWhereItGoesOn) {
    here_context here;
    context there;
    shared_state st;
    st.here = &here.ctx, st.there = &there.ctx;
    ASSERT_EQ(there.make(swap_with_canaries, &st), 0);
    char *top = there.ctx.ss_sp + there.ctx.ss_size;
    EXPECT_EQ(coctx_sp(there.ctx.regs), top);
    EXPECT_EQ(coctx_fp(there.ctx.regs), nullptr);

    canary_swap(&here.ctx, &there.ctx, 0x10000, 0, coctx_swap);
    EXPECT_TRUE(there.holds(coctx_sp(there.ctx.regs)));
    EXPECT_EQ(function_at(coctx_pc(there.ctx.regs)), address_of(canary_swap));
    EXPECT_EQ(coctx_fp(there.ctx.regs), reinterpret_cast<void *>(canary(0x20000, 1)));
}

// Control blocks keep COCTX_LIVE_REGS words and nothing after them.
TEST(CoctxRegs, ABareRegisterFileIsEnoughAndNothingBehindItIsTouched) {
    struct file {
        void *regs[COCTX_LIVE_REGS];
        uintptr_t fence;
    };
    static file here, there;
    static int rounds;
    here = file{}, there = file{};
    here.fence = there.fence = 0x5a5a5a5a, rounds = 0;
    const auto body = [](void *, void *) -> void * {
        for (;;) {
            rounds++;
            coctx_swap_regs(there.regs, here.regs);
        }
    };
    context stack;
    ASSERT_EQ(
        coctx_make_regs(there.regs, stack.ctx.ss_sp, stack.ctx.ss_size, body, nullptr, nullptr), 0);
    for (int i = 1; i <= 100; i++) {
        coctx_swap_regs(here.regs, there.regs);
        ASSERT_EQ(rounds, i);
    }
    EXPECT_EQ(here.fence, 0x5a5a5a5au);
    EXPECT_EQ(there.fence, 0x5a5a5a5au);
}

TEST(Coctx, AThousandContextsStartColdAndGoOn) {
    constexpr int count = 1000;
    here_context here;
    std::vector<std::unique_ptr<context>> contexts;
    std::vector<shared_state> states(count);
    for (int i = 0; i < count; i++) {
        contexts.push_back(std::make_unique<context>(16 * 1024));
        states[i].here = &here.ctx, states[i].there = &contexts[i]->ctx;
        ASSERT_EQ(contexts[i]->make(remember_arguments, &states[i], contexts[i].get()), 0);
    }
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < count; i++) {
            coctx_swap(&here.ctx, &contexts[i]->ctx);
            ASSERT_EQ(states[i].rounds, round);
            ASSERT_EQ(states[i].s1, contexts[i].get());
            ASSERT_TRUE(contexts[i]->holds(states[i].frame));
        }
    }
}

/*  A          B          C
 *  swap B ->
 *             swap C ->
 *                        swap A ->
 *  ...                                  contexts need no tree: any may follow any */
TEST(Coctx, AnyContextMayFollowAnyOther) {
    struct ring {
        coctx_t *self, *next;
        std::vector<int> *order;
        int id;
    };
    here_context here;
    context b, c;
    std::vector<int> order;
    const auto body = [](void *s, void *) -> void * {
        ring *r = static_cast<ring *>(s);
        for (;;) {
            r->order->push_back(r->id);
            coctx_swap(r->self, r->next);
        }
    };
    ring rb{&b.ctx, &c.ctx, &order, 2}, rc{&c.ctx, &here.ctx, &order, 3};
    ASSERT_EQ(b.make(body, &rb), 0);
    ASSERT_EQ(c.make(body, &rc), 0);
    for (int i = 0; i < 3; i++) {
        order.push_back(1);
        coctx_swap(&here.ctx, &b.ctx);
    }
    EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 1, 2, 3, 1, 2, 3}));
}

/* ---- Entry -------------------------------------------------------------------------------------- */

void *entry_sp_seen;
coctx_t *entry_here, *entry_there;

extern "C" __attribute__((used, visibility("hidden"))) void coctx_test_entry_body(void *sp) {
    entry_sp_seen = sp;
    coctx_swap(entry_there, entry_here);
    abort();
}

// movaps faults on an address that is not a multiple of 16, the very first instruction included.
extern "C" __attribute__((naked, noinline, used)) void *coctx_test_movaps_entry(void *, void *) {
#if defined(__x86_64__)
    asm("movaps %xmm0, -24(%rsp)\n\t"
        "movq %rsp, %rdi\n\t"
        "jmp coctx_test_entry_body");
#else
    asm("movaps %xmm0, -28(%esp)\n\t"
        "movl %esp, 4(%esp)\n\t"
        "jmp coctx_test_entry_body");
#endif
}

// contract 6
TEST(CoctxEntry, StackIsAlignedAsAfterACallWhateverTheStackIs) {
    here_context here;
    for (size_t low = 0; low < 16; low += 3) {
        for (size_t cut = 0; cut < 32; cut++) {
            context there;
            coctx_t c;
            coctx_init(&c);
            c.ss_sp = there.ctx.ss_sp + low;
            c.ss_size = there.ctx.ss_size - low - cut;
            entry_here = &here.ctx, entry_there = &c;
            ASSERT_EQ(coctx_make(&c, coctx_test_movaps_entry, nullptr, nullptr), 0);
            coctx_swap(&here.ctx, &c);
            ASSERT_EQ((reinterpret_cast<uintptr_t>(entry_sp_seen) + sizeof(void *)) % 16, 0u);
            ASSERT_LT(static_cast<char *>(entry_sp_seen), c.ss_sp + c.ss_size);
        }
    }
}

TEST(CoctxEntryDeathTest, AFunctionThatReturnsEndsTheProcessAtThatPlace) {
    const auto run = [] {
        signal(SIGILL, SIG_DFL); // a sanitizer may have put a reporter there
        here_context here;
        context there;
        there.make([](void *, void *) -> void * { return nullptr; });
        coctx_swap(&here.ctx, &there.ctx);
    };
    EXPECT_EXIT(run(), testing::KilledBySignal(SIGILL), "");
}

} // namespace
