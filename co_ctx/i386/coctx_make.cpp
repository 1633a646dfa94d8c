// SPDX-License-Identifier: Apache-2.0
/*
 * coctx_make.cpp (i386) - a context that has not run yet, written so that coctx_swap can begin it.
 *
 * The function and its arguments travel in callee-saved registers (see coctx_start in
 * coctx_swap.S), so the new stack is not touched before the context runs.
 */
#include "co_ctx/coctx.h"

#include "co_ctx/i386/layout.h"

#include <cstdint>

extern "C" COCTX_HIDDEN const char coctx_start[]; // code, of which only the address matters here

namespace {

// The block as coctx_swap.S writes it; regs[] is the same bytes.
struct block {
    uint32_t ebx, esi, edi, ebp, esp, eip;
    uint32_t mxcsr;
    uint16_t fcw;
    uint16_t unused;
};

static_assert(offsetof(block, ebx) == COCTX_OFFSET_EBX);
static_assert(offsetof(block, esi) == COCTX_OFFSET_ESI);
static_assert(offsetof(block, edi) == COCTX_OFFSET_EDI);
static_assert(offsetof(block, ebp) == COCTX_OFFSET_EBP);
static_assert(offsetof(block, esp) == COCTX_OFFSET_ESP);
static_assert(offsetof(block, eip) == COCTX_OFFSET_EIP);
static_assert(offsetof(block, mxcsr) == COCTX_OFFSET_MXCSR);
static_assert(offsetof(block, fcw) == COCTX_OFFSET_FCW);
static_assert(sizeof(block) == COCTX_LIVE_REGS * sizeof(void *));
static_assert(COCTX_OFFSET_EBP == COCTX_INDEX_FP * sizeof(void *));
static_assert(COCTX_OFFSET_ESP == COCTX_INDEX_SP * sizeof(void *));
static_assert(COCTX_OFFSET_EIP == COCTX_INDEX_PC * sizeof(void *));
static_assert(offsetof(coctx_t, regs) == 0 && COCTX_LIVE_REGS <= COCTX_REGS);
static_assert(sizeof(coctx_t) == 10 * sizeof(void *)); // as in libco

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
    b.ebx = reinterpret_cast<uint32_t>(pfn);
    b.esi = reinterpret_cast<uint32_t>(s);
    b.edi = reinterpret_cast<uint32_t>(s1);
    b.esp = reinterpret_cast<uint32_t>(stack_low + stack_size_bytes) & ~uint32_t{15};
    b.eip = reinterpret_cast<uint32_t>(coctx_start);
    asm("stmxcsr %0" : "=m"(b.mxcsr));
    asm("fnstcw %0" : "=m"(b.fcw));
    __builtin_memcpy(regs, &b, sizeof b);
    return 0;
}

int coctx_make(coctx_t *ctx, coctx_pfn_t pfn, const void *s, const void *s1) {
    return coctx_make_regs(ctx->regs, ctx->ss_sp, ctx->ss_size, pfn, s, s1);
}

} // extern "C"
