// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_test.cpp - the unwind tables of the swap are right at every instruction, and a context's
 * stack has an end.
 *
 * The proof by single step: the trap flag makes the processor raise SIGTRAP after every instruction.
 * In the handler the stack is unwound, and the frame outside the swap must be the caller of the
 * side that owns rsp at that moment, with that side's values in every callee-saved register, and so
 * on to the side's first frame.
 */
#include "tests/co_ctx/context_fixture.h"

#include <csignal>
#include <exception>
#include <set>
#include <stdexcept>
#include <string>

#include <dlfcn.h>
#include <immintrin.h>

#include <gtest/gtest.h>

namespace {

using namespace co_ctx_test;

/* ---- The steps ---------------------------------------------------------------------------------- */

constexpr uintptr_t seed_here = 0x11110, seed_there = 0x22220;

struct step {
    void *pc, *sp;
    trace stack;
};
constexpr int step_limit = 512;
step steps[step_limit];
int step_count;
swap_function tested_swap; // the one that is tested
code_range code_of_swap;

void take_step(int, siginfo_t *, void *ucontext) {
    const ucontext_t *uc = static_cast<ucontext_t *>(ucontext);
    void *pc = interrupted_pc(uc);
    const bool ours = code_of_swap.holds(pc) || (static_cast<char *>(pc) >= coctx_start_frame &&
                                                 static_cast<char *>(pc) < coctx_start_frame + 32);
    if (!ours || step_count == step_limit)
        return;
    step &s = steps[step_count++];
    s.pc = pc;
    s.sp = interrupted_sp(uc);
    unwind_here(s.stack);
}

void clear_trap_flag() {
#if defined(__x86_64__)
    asm volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" : : : "cc", "memory");
#else
    asm volatile("pushfl\n\tandl $~0x100, (%%esp)\n\tpopfl" : : : "cc", "memory");
#endif
}

class SingleStep : public testing::TestWithParam<swap_function> {
  protected:
    SingleStep() {
        trace warm;
        unwind_here(warm); // the first unwinding may allocate
        outermost_here = warm.outermost();
        tested_swap = GetParam();
        code_of_swap = code_of(tested_swap);
        step_count = 0;
        struct sigaction sa = {};
        sa.sa_sigaction = take_step;
        sa.sa_flags = SA_SIGINFO;
        sigaction(SIGTRAP, &sa, &former);
        mxcsr = _mm_getcsr();
    }
    ~SingleStep() override {
        sigaction(SIGTRAP, &former, nullptr);
        _mm_setcsr(mxcsr);
    }

    // Checks one step taken inside the swap. caller_there: whom the context runs, or null when it
    // has not run yet and its first frame is all there is.
    void check(const step &s, void *caller_there) {
        const bool is_there = there.holds(s.sp);
        const auto offset = static_cast<char *>(s.pc) - code_of_swap.low;
        SCOPED_TRACE("swap+" + std::to_string(offset) + (is_there ? ", there" : ", here"));
        const int swap = s.stack.find_pc(s.pc);
        ASSERT_GE(swap, 0);
        ASSERT_LT(swap + 1, s.stack.depth);
        EXPECT_TRUE(s.stack.ended);
        const trace::frame &outer = s.stack.frames[swap + 1];
        if (is_there && !caller_there) {
            EXPECT_EQ(outer.start, coctx_start_frame);
            EXPECT_EQ(s.stack.depth, swap + 2);
            return;
        }
        ASSERT_EQ(outer.start, address_of(canary_swap));
        for (int i = 0; i < canary_count; i++)
            EXPECT_EQ(outer.canaries[i], canary(is_there ? seed_there : seed_here, i)) << i;
        ASSERT_LT(swap + 2, s.stack.depth);
        if (is_there) {
            EXPECT_EQ(s.stack.frames[swap + 2].start, caller_there);
        }
        EXPECT_EQ(s.stack.outermost(), is_there ? coctx_start_frame : outermost_here);
    }

    void check_all(void *caller_there) {
        ASSERT_LT(step_count, step_limit);
        int crossings = 0;
        bool was_there = false, first = true;
        for (int i = 0; i < step_count; i++) {
            if (!code_of_swap.holds(steps[i].pc))
                continue;
            check(steps[i], caller_there);
            covered.insert(static_cast<const char *>(steps[i].pc));
            const bool is_there = there.holds(steps[i].sp);
            crossings += !first && is_there != was_there;
            was_there = is_there, first = false;
        }
        EXPECT_EQ(crossings, 1);
        step_count = 0;
    }

    here_context here;
    context there;
    std::set<const char *> covered;
    const void *outermost_here;

  private:
    struct sigaction former;
    unsigned mxcsr;
};

struct sides {
    coctx_t *here, *there;
    uintptr_t flags; // for the context's next swap
    int changed_registers;
};

void *answer(void *s, void *) {
    sides *both = static_cast<sides *>(s);
    for (;;) {
        both->changed_registers +=
            canary_swap(both->there, both->here, seed_there, both->flags, tested_swap);
    }
}

// contract 3
TEST_P(SingleStep, EveryInstructionOfASwapUnwindsToTheSideThatOwnsTheStack) {
    sides both{&here.ctx, &there.ctx, 0, 0};
    ASSERT_EQ(there.make(answer, &both), 0);
    tested_swap(&here.ctx, &there.ctx);

    const unsigned nearest = _mm_getcsr();
    const unsigned short x87_default = 0x037f, x87_double = 0x027f;
    for (int differs = 0; differs < 4; differs++) { // MXCSR, the x87 control word, both or none
        SCOPED_TRACE("control words that differ: " + std::to_string(differs));
        if (differs & 1)
            _mm_setcsr(nearest | _MM_ROUND_UP);
        if (differs & 2)
            asm volatile("fldcw %0" : : "m"(x87_double));
        both.flags = 0; // stepped on the way in
        EXPECT_EQ(canary_swap(&here.ctx, &there.ctx, seed_here, trap_flag, tested_swap), 0);
        check_all(address_of(answer));
        both.flags = trap_flag; // stepped on the way back
        EXPECT_EQ(canary_swap(&here.ctx, &there.ctx, seed_here, 0, tested_swap), 0);
        check_all(address_of(answer));
        asm volatile("fldcw %0" : : "m"(x87_default));
        _mm_setcsr(nearest);
    }
    EXPECT_EQ(both.changed_registers, 0);

    // Nothing was skipped: the steps cover the function from its first byte to its last, and the
    // gaps are no longer than one instruction.
    const char *previous = code_of_swap.low;
    ASSERT_FALSE(covered.empty());
    EXPECT_EQ(*covered.begin(), previous);
    for (const char *pc : covered) {
        EXPECT_LE(pc - previous, 8) << "after +" << previous - code_of_swap.low;
        previous = pc;
    }
    EXPECT_LE(code_of_swap.high - previous, 8);
}

// contract 3
TEST_P(SingleStep, TheSwapThatBeginsAContextAndItsFirstFrameUnwindToTheEnd) {
    const auto begin = [](void *s, void *) -> void * {
        clear_trap_flag();
        sides *both = static_cast<sides *>(s);
        tested_swap(both->there, both->here);
        abort();
    };
    sides both{&here.ctx, &there.ctx, 0, 0};
    ASSERT_EQ(there.make(begin, &both), 0);
    EXPECT_EQ(canary_swap(&here.ctx, &there.ctx, seed_here, trap_flag, tested_swap), 0);

    int in_first_frame = 0;
    for (int i = 0; i < step_count; i++) {
        const step &s = steps[i];
        if (code_of_swap.holds(s.pc))
            continue;
        in_first_frame++;
        const int first = s.stack.find_pc(s.pc);
        ASSERT_GE(first, 0);
        EXPECT_EQ(s.stack.frames[first].start, coctx_start_frame);
        EXPECT_EQ(s.stack.depth, first + 1);
        EXPECT_TRUE(s.stack.ended);
    }
    EXPECT_GE(in_first_frame, 3); // endbr, the arguments, the call
    check_all(nullptr);
}

// The other has the same arguments, and works on what a coctx_t begins with.
INSTANTIATE_TEST_SUITE_P(Of, SingleStep,
                         testing::Values(coctx_swap,
                                         reinterpret_cast<swap_function>(coctx_swap_alike_regs)),
                         [](const testing::TestParamInfo<swap_function> &which) {
                             return which.param == coctx_swap ? "Swap" : "SwapAlike";
                         });

/* ---- The end of the stack ----------------------------------------------------------------------- */

struct unwinding {
    coctx_t *here, *there;
    trace gcc;
    void *libunwind_pcs[64];
    int libunwind_depth;
    std::string caught;
};

using unw_backtrace_t = int (*)(void **, int);

unw_backtrace_t find_unw_backtrace() {
    void *lib = dlopen("libunwind.so.8", RTLD_NOW);
    return lib ? reinterpret_cast<unw_backtrace_t>(dlsym(lib, "unw_backtrace")) : nullptr;
}

__attribute__((noinline)) void three_calls_deep(unwinding &u, int depth) {
    if (depth) {
        three_calls_deep(u, depth - 1);
        asm volatile("" : : : "memory"); // no tail call
        return;
    }
    unwind_here(u.gcc);
    static const unw_backtrace_t unw_backtrace = find_unw_backtrace();
    u.libunwind_depth = unw_backtrace ? unw_backtrace(u.libunwind_pcs, 64) : 0;
    asm volatile("" : : : "memory");
}

void *unwind_on_context(void *s, void *) {
    unwinding *u = static_cast<unwinding *>(s);
    three_calls_deep(*u, 3);
    coctx_swap(u->there, u->here);
    abort();
}

// contract 3
TEST(Unwind, EndsCleanlyAtTheFirstFrameOfAContext) {
    here_context here;
    context there;
    unwinding u{&here.ctx, &there.ctx, {}, {}, 0, {}};
    ASSERT_EQ(there.make(unwind_on_context, &u), 0);
    coctx_swap(&here.ctx, &there.ctx);
    EXPECT_TRUE(u.gcc.ended);
    EXPECT_EQ(u.gcc.outermost(), coctx_start_frame);
    ASSERT_GE(u.gcc.depth, 3);
    EXPECT_EQ(u.gcc.frames[u.gcc.depth - 2].start, address_of(unwind_on_context));
}

TEST(Unwind, LibunwindEndsThereToo) {
    if (!find_unw_backtrace())
        GTEST_SKIP() << "libunwind.so.8 is not installed for this architecture";
    here_context here;
    context there;
    unwinding u{&here.ctx, &there.ctx, {}, {}, 0, {}};
    ASSERT_EQ(there.make(unwind_on_context, &u), 0);
    coctx_swap(&here.ctx, &there.ctx);
    ASSERT_GE(u.libunwind_depth, 3);
    int at = u.libunwind_depth - 1;
    if (!u.libunwind_pcs[at])
        at--;
    EXPECT_EQ(function_at(u.libunwind_pcs[at]), coctx_start_frame);
    EXPECT_EQ(function_at(u.libunwind_pcs[at - 1]), address_of(unwind_on_context));
}

TEST(Unwind, ExceptionsAreThrownAndCaughtOnAContext) {
    here_context here;
    context there;
    unwinding u{&here.ctx, &there.ctx, {}, {}, 0, {}};
    const auto body = [](void *s, void *) -> void * {
        unwinding *w = static_cast<unwinding *>(s);
        try {
            throw std::runtime_error("from a context");
        } catch (const std::exception &e) {
            w->caught = e.what();
        }
        coctx_swap(w->there, w->here);
        abort();
    };
    ASSERT_EQ(there.make(body, &u), 0);
    coctx_swap(&here.ctx, &there.ctx);
    EXPECT_EQ(u.caught, "from a context");
}

// Phase one of the unwinder must find the end, and not wander off the stack: that is terminate().
TEST(UnwindDeathTest, AnExceptionThatNobodyCatchesOnAContextIsTerminate) {
    const auto run = [] {
        signal(SIGABRT, SIG_DFL);
        here_context here;
        context there;
        there.make([](void *, void *) -> void * { throw std::runtime_error("nobody's"); });
        coctx_swap(&here.ctx, &there.ctx);
    };
    EXPECT_EXIT(run(), testing::KilledBySignal(SIGABRT), "nobody's");
}

} // namespace
