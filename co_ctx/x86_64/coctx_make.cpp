// SPDX-License-Identifier: Apache-2.0
/*
 * coctx_make.cpp (x86_64) - a context that has not run yet, written so that coctx_swap can begin it.
 *
 * The function and its arguments travel in callee-saved registers (see coctx_start in
 * coctx_swap.S), so the new stack is not touched before the context runs.
 */
#include "co_ctx/coctx.h"

#include "co_ctx/x86_64/layout.h"

#include <cstdint>

extern "C" COCTX_HIDDEN const char coctx_start[]; // code, of which only the address matters here

namespace {

// The block as coctx_swap.S writes it; regs[] is the same bytes.
struct block {
    uint64_t rbx, rbp, r12, r13, r14, r15, rsp, rip;
    uint32_t mxcsr;
    uint16_t fcw;
    uint16_t unused;
};

static_assert(offsetof(block, rbx) == COCTX_OFFSET_RBX);
static_assert(offsetof(block, rbp) == COCTX_OFFSET_RBP);
static_assert(offsetof(block, r12) == COCTX_OFFSET_R12);
static_assert(offsetof(block, r13) == COCTX_OFFSET_R13);
static_assert(offsetof(block, r14) == COCTX_OFFSET_R14);
static_assert(offsetof(block, r15) == COCTX_OFFSET_R15);
static_assert(offsetof(block, rsp) == COCTX_OFFSET_RSP);
static_assert(offsetof(block, rip) == COCTX_OFFSET_RIP);
static_assert(offsetof(block, mxcsr) == COCTX_OFFSET_MXCSR);
static_assert(offsetof(block, fcw) == COCTX_OFFSET_FCW);
static_assert(sizeof(block) == COCTX_LIVE_REGS * sizeof(void *));
static_assert(COCTX_OFFSET_RBP == COCTX_INDEX_FP * sizeof(void *));
static_assert(COCTX_OFFSET_RSP == COCTX_INDEX_SP * sizeof(void *));
static_assert(COCTX_OFFSET_RIP == COCTX_INDEX_PC * sizeof(void *));
static_assert(offsetof(coctx_t, regs) == 0 && COCTX_LIVE_REGS <= COCTX_REGS);
static_assert(sizeof(coctx_t) == 16 * sizeof(void *)); // as in libco

constexpr size_t stack_minimum_bytes = 64;

} // namespace

extern "C" {

int coctx_init(coctx_t *ctx) {
    *ctx = coctx_t{};
    return 0;
}

int coctx_make_regs(void **regs, char *stack_low, size_t stack_size_bytes, coctx_pfn_t pfn,
                    const void *s, const void *s1) {
    if (!pfn || !stack_low || stack_size_bytes < stack_minimum_bytes)
        return -1;

    block b{};
    b.rbx = reinterpret_cast<uint64_t>(pfn);
    b.r12 = reinterpret_cast<uint64_t>(s);
    b.r13 = reinterpret_cast<uint64_t>(s1);
    b.rsp = reinterpret_cast<uint64_t>(stack_low + stack_size_bytes) & ~uint64_t{15};
    b.rip = reinterpret_cast<uint64_t>(coctx_start);
    asm("stmxcsr %0" : "=m"(b.mxcsr));
    asm("fnstcw %0" : "=m"(b.fcw));
    __builtin_memcpy(regs, &b, sizeof b);
    return 0;
}

int coctx_make(coctx_t *ctx, coctx_pfn_t pfn, const void *s, const void *s1) {
    return coctx_make_regs(ctx->regs, ctx->ss_sp, ctx->ss_size, pfn, s, s1);
}

} // extern "C"
