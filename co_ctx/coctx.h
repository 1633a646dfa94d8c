// SPDX-License-Identifier: Apache-2.0
/*
 * coctx.h - a context: the registers a function call keeps, and a stack. For C99 and C++11 on.
 *
 *     static coctx_t here, there;
 *     static void *body(void *a, void *b) {        // runs on there's stack
 *         for (;;)
 *             coctx_swap(&there, &here);
 *     }
 *     coctx_init(&there);
 *     there.ss_sp = stack, there.ss_size = sizeof stack;
 *     coctx_make(&there, body, "one", "two");
 *     coctx_init(&here);                           // needs no stack: it is filled by the swap
 *     coctx_swap(&here, &there);                   // body("one", "two") begins
 *
 * Rules
 *  - pfn must not return: there is nobody to return to, and the process ends with SIGILL at that
 *    place. It swaps away for good instead.
 *  - A context is kept by one thread at a time. It may be resumed by another thread only if the
 *    suspended code can live with new thread-locals.
 *  - Kept across a swap: what the psABI has the callee keep. General registers, the stack pointer,
 *    the control bits of MXCSR (rounding, FTZ, DAZ, masks) and the x87 control word. Not kept: the
 *    status flags (fetestexcept), vector registers, errno, the signal mask.
 *  - A new context starts with the control words of the one that called coctx_make.
 *  - coctx_make touches no byte of the stack, so a stack costs no memory until it runs.
 *  - All of it is async-signal-safe, and signals may arrive at any instruction of it.
 *
 * The types and the first three functions are libco's by source. regs[] is larger on x86_64 than what is
 * used, as in libco; its order is ours (x86_64/layout.h, i386/layout.h).
 */
#ifndef CORUN_CO_CTX_COCTX_H
#define CORUN_CO_CTX_COCTX_H

#include <stddef.h>

/* Words in coctx_t, the words of those that are live, and where in them three registers stand. */
#if defined(__x86_64__) && !defined(__ILP32__)
#define COCTX_REGS 14
#define COCTX_LIVE_REGS 9
#define COCTX_INDEX_FP 1
#define COCTX_INDEX_SP 6
#define COCTX_INDEX_PC 7
#elif defined(__i386__)
#define COCTX_REGS 8
#define COCTX_LIVE_REGS 8
#define COCTX_INDEX_FP 3
#define COCTX_INDEX_SP 4
#define COCTX_INDEX_PC 5
#else
#error "co_ctx knows x86_64 and i386; a port is a directory beside x86_64/ and a branch here"
#endif

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default) /* what a public header declares is what the library exports */
#endif

typedef void *(*coctx_pfn_t)(void *s, void *s2);

struct coctx_param_t {
    const void *s1;
    const void *s2;
};
typedef struct coctx_param_t coctx_param_t;

struct coctx_t {
    void *regs[COCTX_REGS];
    size_t ss_size; /* bytes of stack */
    char *ss_sp;    /* its lowest byte; the caller's, before and after */
};
typedef struct coctx_t coctx_t;

/* Sets every byte of *ctx to zero. Returns 0. */
int coctx_init(coctx_t *ctx);

/* Prepares ctx, whose ss_sp and ss_size are set, to call pfn(s, s1) when it is first swapped to.
 * Returns 0, or -1 and leaves ctx alone when pfn or the stack is missing or too small to call a
 * function on (64 bytes). */
int coctx_make(coctx_t *ctx, coctx_pfn_t pfn, const void *s, const void *s1);

/* Suspends the running code into *from and goes on where *to was suspended, or begins it. Returns
 * when somebody swaps to *from. from and to may be the same: then nothing happens. */
void coctx_swap(coctx_t *from, coctx_t *to);

/* ---- Bare register files ------------------------------------------------------------------------
 * The same on the first COCTX_LIVE_REGS words alone, for control blocks that know their stack by
 * other means; a coctx_t begins with one. Best aligned to 64 bytes: the eight words that every swap
 * loads are then one cache line. Not exported by the shared library, so that calls inside it are
 * direct; programs reach them by linking libcorun.a. */
#define COCTX_HIDDEN __attribute__((visibility("hidden")))

COCTX_HIDDEN int coctx_make_regs(void **regs, char *stack_low, size_t stack_size_bytes,
                                 coctx_pfn_t pfn, const void *s, const void *s1);
COCTX_HIDDEN void coctx_swap_regs(void **from, void **to);
/* The same, left by a ret, which a processor predicts to go back where the last call came from. Faster
 * where to was suspended by this same call, and its callers are the same: then this ret and theirs are
 * predicted rightly. Where it stopped somewhere else each would be wrong; coctx_swap_regs jumps, and
 * nothing is predicted of the newcomer's returns. */
COCTX_HIDDEN void coctx_swap_alike_regs(void **from, void **to);

/* Makes a suspended context, which has run before, call landing first when it is resumed. Returns the
 * address where it would have gone on: landing must store that in *return_slot before anything
 * else; when it returns, the context goes on there. There is one landing function in a process. */
typedef void (*coctx_landing_t)(void **return_slot);
COCTX_HIDDEN void *coctx_detour(void **regs, coctx_landing_t landing);

/* What a suspended register file holds. sp: the lowest live byte of its stack is *sp; what lies
 * below is free (no red zone: it stopped in a call). pc: where it goes on. fp: the frame pointer
 * register, whatever the compiler used it for. */
static inline void *coctx_sp(void *const *regs) { return regs[COCTX_INDEX_SP]; }
static inline void *coctx_pc(void *const *regs) { return regs[COCTX_INDEX_PC]; }
static inline void *coctx_fp(void *const *regs) { return regs[COCTX_INDEX_FP]; }

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
