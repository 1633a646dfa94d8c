// SPDX-License-Identifier: Apache-2.0
/*
 * control_words_test.cpp - rounding, FTZ/DAZ, masks and x87 precision belong to each context.
 *
 * All operands are volatile, so that the processor computes and not the compiler.
 */
#include "tests/co_ctx/context_fixture.h"

#include <bit>
#include <cfenv>
#include <cstring>

#include <immintrin.h>

#include <gtest/gtest.h>

namespace {

using namespace co_ctx_test;

constexpr unsigned mxcsr_daz = 0x0040, mxcsr_ftz = 0x8000;
constexpr unsigned short x87_double_precision = 0x027f, x87_extended_precision = 0x037f;

unsigned short x87_control() {
    unsigned short w;
    asm volatile("fnstcw %0" : "=m"(w));
    return w;
}
void set_x87_control(unsigned short w) { asm volatile("fldcw %0" : : "m"(w)); }

volatile double one = 1.0, three = 3.0;
volatile float smallest_normal = 1.17549435e-38f, half = 0.5f, denormal = 1e-40f, big = 1e20f;
volatile long double long_one = 1.0L, long_three = 3.0L, long_tiny = 0x1p-60L;

// SSE by name: for i386 the compiler would compute doubles on the x87, with excess precision.
uint64_t sse_third() {
    return std::bit_cast<uint64_t>(_mm_cvtsd_f64(_mm_div_sd(_mm_set_sd(one), _mm_set_sd(three))));
}
uint32_t sse_product(float a, float b) {
    return static_cast<uint32_t>(
        _mm_cvtsi128_si32(_mm_castps_si128(_mm_mul_ss(_mm_set_ss(a), _mm_set_ss(b)))));
}
uint64_t x87_mantissa(long double x) {
    uint64_t m;
    memcpy(&m, &x, sizeof m);
    return m;
}

// What one context observes about its own arithmetic, as bits: comparing needs no arithmetic then.
struct arithmetic {
    uint64_t third = 0;     // by the rounding mode in MXCSR
    uint64_t x87_third = 0; // by rounding and precision in the x87 control word
    uint64_t x87_sum = 0;   // that of 1 and 2^-60: 1 where x87 computes with double precision
    uint32_t tiny = 0;      // 0 with FTZ
    uint32_t magnified = 0; // 0 with DAZ

    static arithmetic now() {
        arithmetic a;
        a.third = sse_third();
        a.x87_third = x87_mantissa(long_one / long_three);
        a.x87_sum = x87_mantissa(long_one + long_tiny);
        a.tiny = sse_product(smallest_normal, half);
        a.magnified = sse_product(denormal, big);
        return a;
    }
    bool operator==(const arithmetic &) const = default;
};

// Puts the thread's own control words back, whatever a test did.
class ControlWords : public testing::Test {
  protected:
    ControlWords() : mxcsr_(_mm_getcsr()), x87_(x87_control()) {}
    ~ControlWords() override {
        asm volatile("fnclex");
        _mm_setcsr(mxcsr_);
        set_x87_control(x87_);
    }
    here_context here;

  private:
    unsigned mxcsr_;
    unsigned short x87_;
};

struct worker {
    coctx_t *here, *self;
    unsigned mxcsr; // control bits to set once
    unsigned short x87;
    arithmetic expected{};
    int runs = 0, wrong = 0;

    static void *body(void *s, void *) {
        worker *w = static_cast<worker *>(s);
        _mm_setcsr((_mm_getcsr() & 0x3fu) | w->mxcsr);
        set_x87_control(w->x87);
        w->expected = arithmetic::now();
        for (;;) {
            coctx_swap(w->self, w->here);
            w->runs++;
            w->wrong += !(arithmetic::now() == w->expected);
            w->wrong += (_mm_getcsr() & ~0x3fu) != w->mxcsr;
            w->wrong += x87_control() != w->x87;
        }
    }
};

// contract 2
TEST_F(ControlWords, RoundingFlushingAndPrecisionBelongToEachContext) {
    constexpr unsigned base = 0x1f80;
    constexpr struct {
        unsigned mxcsr;
        unsigned short x87;
    } settings[] = {
        {base, x87_extended_precision},
        {base, x87_double_precision},
        {base | _MM_ROUND_UP, x87_extended_precision | 0x800},
        {base | _MM_ROUND_DOWN, x87_extended_precision | 0x400},
        {base | _MM_ROUND_TOWARD_ZERO, x87_double_precision | 0xc00},
        {base | mxcsr_ftz, x87_extended_precision},
        {base | mxcsr_daz, x87_extended_precision},
        {base | mxcsr_ftz | mxcsr_daz | _MM_ROUND_UP, x87_double_precision},
    };
    constexpr int count = sizeof settings / sizeof settings[0];
    context contexts[count];
    worker workers[count];
    const arithmetic mine = arithmetic::now();
    for (int i = 0; i < count; i++) {
        workers[i] = worker{&here.ctx, &contexts[i].ctx, settings[i].mxcsr, settings[i].x87};
        ASSERT_EQ(contexts[i].make(worker::body, &workers[i]), 0);
    }
    for (int round = 0; round < 1000; round++) {
        const int i = round * 5 % count; // every one follows every other of distance 5
        coctx_swap(&here.ctx, &contexts[i].ctx);
        ASSERT_TRUE(arithmetic::now() == mine);
    }
    for (worker &w : workers) {
        EXPECT_EQ(w.wrong, 0);
        EXPECT_GE(w.runs, 100);
    }
    // They were different, so that equality above could have failed.
    EXPECT_NE(workers[2].expected.third, workers[3].expected.third);
    EXPECT_NE(workers[2].expected.x87_third, workers[3].expected.x87_third);
    EXPECT_NE(workers[0].expected.x87_sum, workers[1].expected.x87_sum);
    EXPECT_NE(workers[0].expected.tiny, workers[5].expected.tiny);
    EXPECT_NE(workers[0].expected.magnified, workers[6].expected.magnified);
}

// contract 2
TEST_F(ControlWords, AFloatOperationMayBeTheFirstThingAContextDoes) {
    static uint64_t third;
    static coctx_t *self, *back;
    const auto body = [](void *, void *) -> void * {
        third = sse_third();
        coctx_swap(self, back);
        abort();
    };
    context there;
    self = &there.ctx, back = &here.ctx;
    ASSERT_EQ(there.make(body), 0);
    coctx_swap(&here.ctx, &there.ctx);
    EXPECT_EQ(third, sse_third());
}

TEST_F(ControlWords, ANewContextStartsWithItsCreatorsControlWords) {
    struct seen {
        coctx_t *self, *back;
        uint64_t third;
        unsigned mxcsr;
        unsigned short x87;
    };
    const auto body = [](void *s, void *) -> void * {
        seen *w = static_cast<seen *>(s);
        w->third = sse_third();
        w->mxcsr = _mm_getcsr() & ~0x3fu;
        w->x87 = x87_control();
        coctx_swap(w->self, w->back);
        abort();
    };
    context there;
    seen w{&there.ctx, &here.ctx, 0, 0, 0};
    const uint64_t third_to_nearest = sse_third();

    ASSERT_EQ(fesetround(FE_UPWARD), 0);
    const uint64_t third_upward = sse_third();
    const unsigned mxcsr_upward = _mm_getcsr() & ~0x3fu;
    const unsigned short x87_upward = x87_control();
    ASSERT_EQ(there.make(body, &w), 0);
    ASSERT_EQ(fesetround(FE_TONEAREST), 0);

    coctx_swap(&here.ctx, &there.ctx);
    EXPECT_EQ(w.third, third_upward);
    EXPECT_EQ(w.mxcsr, mxcsr_upward);
    EXPECT_EQ(w.x87, x87_upward);
    EXPECT_EQ(sse_third(), third_to_nearest);
    EXPECT_EQ(fegetround(), FE_TONEAREST);
    EXPECT_NE(third_upward, third_to_nearest);
}

// A masked x87 exception of one context leaves its flag behind; x87 raises late, so a context that
// unmasks that exception would be struck by it in its first float instruction.
TEST_F(ControlWords, AMaskedExceptionOfOneContextDoesNotStrikeAnotherThatUnmasksIt) {
    struct seen {
        coctx_t *self, *back;
        int runs;
    };
    const auto body = [](void *s, void *) -> void * {
        seen *w = static_cast<seen *>(s);
        set_x87_control(x87_extended_precision & ~0x04); // division by zero is not masked here
        for (;;) {
            coctx_swap(w->self, w->back);
            asm volatile("fwait"); // where SIGFPE would come
            w->runs++;
        }
    };
    context there;
    seen w{&there.ctx, &here.ctx, 0};
    ASSERT_EQ(there.make(body, &w), 0);
    coctx_swap(&here.ctx, &there.ctx);
    volatile long double zero = 0;
    for (int i = 0; i < 10; i++) {
        volatile long double infinity = long_one / zero;
        (void)infinity;
        coctx_swap(&here.ctx, &there.ctx);
    }
    EXPECT_EQ(w.runs, 10);
}

} // namespace
