// SPDX-License-Identifier: Apache-2.0
/*
 * signal_test.cpp - signals may come at any instruction of a swap, without sigaltstack: a storm of
 * them over millions of swaps changes nothing, and a backtrace from the handler is always whole.
 */
#include "tests/co_ctx/context_fixture.h"

#include <csignal>
#include <ctime>

#include <execinfo.h>
#include <sys/time.h>

#include <gtest/gtest.h>

namespace {

using namespace co_ctx_test;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__SANITIZE_UNDEFINED__)
constexpr uint64_t storm_swaps = 1000000;
#else
constexpr uint64_t storm_swaps = 10000000;
#endif

// A handler for as long as it lives, on the stack of whoever runs.
class handled_signal {
  public:
    handled_signal(int number, void (*handler)(int, siginfo_t *, void *)) : number_(number) {
        struct sigaction sa = {};
        sa.sa_sigaction = handler;
        sa.sa_flags = SA_SIGINFO | SA_RESTART;
        sigfillset(&sa.sa_mask);
        sigaction(number, &sa, &former_);
    }
    ~handled_signal() {
        signal(number_, SIG_IGN); // drops one that is still pending
        sigaction(number_, &former_, nullptr);
    }
    handled_signal(const handled_signal &) = delete;
    handled_signal &operator=(const handled_signal &) = delete;

  private:
    int number_;
    struct sigaction former_;
};

// A signal every period, by the monotonic clock: the profiling timers tick with the scheduler only.
class signal_timer {
  public:
    signal_timer(int number, long period_ns) {
        sigevent ev = {};
        ev.sigev_notify = SIGEV_SIGNAL;
        ev.sigev_signo = number;
        if (timer_create(CLOCK_MONOTONIC, &ev, &id_) != 0)
            abort();
        const itimerspec spec = {{0, period_ns}, {0, period_ns}};
        timer_settime(id_, 0, &spec, nullptr);
    }
    ~signal_timer() { timer_delete(id_); }
    signal_timer(const signal_timer &) = delete;
    signal_timer &operator=(const signal_timer &) = delete;

  private:
    timer_t id_;
};

/* ---- The storm ---------------------------------------------------------------------------------- */

volatile sig_atomic_t alarms, profs, inside_swap;

// Uses much of the stack below whatever was interrupted, and the vector registers.
void rage(int number, siginfo_t *, void *uc) {
    volatile char below[2048];
    for (size_t i = 0; i < sizeof below; i += 16)
        below[i] = static_cast<char>(0xee);
    asm volatile("pcmpeqd %%xmm0, %%xmm0\n\tpcmpeqd %%xmm7, %%xmm7" : : : "xmm0", "xmm7");
    if (number == SIGALRM)
        alarms = alarms + 1;
    else
        profs = profs + 1;
    if (swap_code().holds(interrupted_pc(static_cast<ucontext_t *>(uc))))
        inside_swap = inside_swap + 1;
}

struct stormed {
    coctx_t *here, *self;
    uint64_t swaps = 0, damaged = 0;

    static void *body(void *s, void *) {
        stormed *st = static_cast<stormed *>(s);
        volatile uint64_t canaries[16];
        for (uint64_t seed = 0x1000;; seed += 0x10) {
            for (volatile uint64_t &c : canaries)
                c = seed;
            st->damaged += static_cast<uint64_t>(
                canary_swap(st->self, st->here, static_cast<uintptr_t>(seed), 0, coctx_swap));
            st->swaps++;
            for (volatile uint64_t &c : canaries)
                st->damaged += c != seed;
        }
    }
};

// contract 1
TEST(SignalStorm, TenMillionSwapsLoseNoRegisterAndNoByteOfStack) {
    constexpr int count = 4;
    here_context here;
    context contexts[count];
    stormed states[count];
    for (int i = 0; i < count; i++) {
        states[i].here = &here.ctx, states[i].self = &contexts[i].ctx;
        ASSERT_EQ(contexts[i].make(stormed::body, &states[i]), 0);
    }
    alarms = 0;
    profs = 0;
    inside_swap = 0;
    swap_code(); // found here, not in the handler
    uint64_t swaps = 0, damaged = 0;
    {
        handled_signal alarm(SIGALRM, rage), prof(SIGPROF, rage);
        signal_timer prof_timer(SIGPROF, 173000);
        // Not oftener: delivery to a 32-bit process takes 50 microseconds on some machines, and the
        // swaps between two signals are what is tested.
        const itimerval often = {{0, 211}, {0, 211}}, never = {};
        setitimer(ITIMER_REAL, &often, nullptr);
        // Both bounds: a fast machine makes more swaps, so that enough signals meet them.
        while (swaps < storm_swaps || alarms < 1000 || profs < 1000 || inside_swap < 100) {
            volatile uint64_t canaries[16];
            for (volatile uint64_t &c : canaries)
                c = swaps;
            coctx_t *to = &contexts[swaps / 2 % count].ctx;
            damaged += static_cast<uint64_t>(
                canary_swap(&here.ctx, to, static_cast<uintptr_t>(swaps), 0, coctx_swap));
            for (volatile uint64_t &c : canaries)
                damaged += c != swaps;
            swaps += 2;
            ASSERT_LT(swaps, 100 * storm_swaps) << "signals do not come";
        }
        setitimer(ITIMER_REAL, &never, nullptr);
    }
    EXPECT_EQ(damaged, 0u);
    for (const stormed &st : states)
        EXPECT_EQ(st.damaged, 0u);
    printf("  %llu swaps, %d SIGALRM, %d SIGPROF, %d of them inside coctx_swap\n",
           static_cast<unsigned long long>(swaps), static_cast<int>(alarms),
           static_cast<int>(profs), static_cast<int>(inside_swap));
}

/* ---- Backtraces from the handler ---------------------------------------------------------------- */

struct profile {
    const context *there;
    void *outermost_here; // the last frame of the thread's own stack
    int samples, on_context, in_swap, truncated, short_backtraces;
} seen;

void take_backtrace(int, siginfo_t *, void *ucontext) {
    const ucontext_t *uc = static_cast<ucontext_t *>(ucontext);
    void *pcs[64];
    const int depth = backtrace(pcs, 64);
    trace t;
    unwind_here(t);

    const bool on_context = seen.there->holds(interrupted_sp(uc));
    void *last = on_context ? const_cast<char *>(coctx_start_frame) : seen.outermost_here;
    seen.samples++;
    seen.on_context += on_context;
    seen.in_swap += swap_code().holds(interrupted_pc(uc));
    seen.truncated += !t.ended || t.outermost() != last || t.find_pc(interrupted_pc(uc)) < 0;
    // backtrace() gives the undefined return address of the last frame as one entry more.
    seen.short_backtraces += depth < t.depth - 1;
}

void *swap_for_ever(void *self, void *back) {
    for (;;)
        coctx_swap(static_cast<coctx_t *>(self), static_cast<coctx_t *>(back));
}

// contract 3
TEST(SignalBacktrace, FromAnyPointOfASwapLoopIsWholeAndEndsAtTheFirstFrame) {
    here_context here;
    context there;
    ASSERT_EQ(there.make(swap_for_ever, &there.ctx, &here.ctx), 0);
    coctx_swap(&here.ctx, &there.ctx);

    void *warm[64];
    backtrace(warm, 64); // the first call loads a library, which a handler must not do
    trace mine;
    unwind_here(mine);
    ASSERT_TRUE(mine.ended);
    seen = profile{&there, mine.outermost(), 0, 0, 0, 0, 0};
    swap_code();
    {
        handled_signal prof(SIGPROF, take_backtrace);
        signal_timer timer(SIGPROF, 200000);
        int thousands = 0; // no clock here: the vDSO of i386 has code without unwind tables
        while (seen.samples < 3000 || seen.on_context < 500 || seen.in_swap < 500) {
            for (int i = 0; i < 1000; i++)
                coctx_swap(&here.ctx, &there.ctx);
            ASSERT_LT(++thousands, 10000000) << "signals do not come";
        }
    }
    EXPECT_EQ(seen.truncated, 0);
    EXPECT_EQ(seen.short_backtraces, 0);
    printf("  %d samples, %d on the context's stack, %d inside coctx_swap\n", seen.samples,
           seen.on_context, seen.in_swap);
}

} // namespace
