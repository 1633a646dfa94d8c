// SPDX-License-Identifier: Apache-2.0
/*
 * coctx_swap.S (x86_64) - suspend one context, go on with another; and where a new one begins.
 *
 * void coctx_swap(coctx_t *from, coctx_t *to)         rdi = from, rsi = to
 *
 * The block (both arguments point at its byte 0; offsets from layout.h):
 *
 *     +----+----+----+----+----+----+----+----+ +-----+---+----+
 *     |  0 |  8 | 16 | 24 | 32 | 40 | 48 | 56 | |  64 | 68| 70 |
 *     | rbx| rbp| r12| r13| r14| r15| rsp| rip| |mxcsr|fcw|  - |
 *     +----+----+----+----+----+----+----+----+ +-----+---+----+
 *      one cache line, when the block is aligned  72 bytes in all
 *
 * The stack of a context that calls coctx_swap, and what is kept of it:
 *
 *            |  the caller's frame     |
 *     rsp -> |  ...                    | <- saved as rsp: its value once the call has returned
 *      -8    |  return address         | <- saved as rip; the slot itself is dead afterwards
 *            |  (free)                 |
 *
 * rsp goes from one real stack to the other in one instruction, so a signal may come anywhere.
 * The frame that an unwinder sees belongs to the leaver up to that instruction and to the newcomer
 * after it. The newcomer's registers which are not loaded yet, and its return address to the very
 * end, are then described as memory in its block.
 */
#include "co_ctx/asm.h"
#include "co_ctx/x86_64/layout.h"

#define NEWCOMERS(reg)                                                                             \
    COCTX_CFI_SAVED_AT(COCTX_DWARF_##reg, COCTX_DWARF_RSI, COCTX_OFFSET_##reg)

COCTX_TEXT

/* Both functions; they differ in how they leave for the newcomer: coctx.h says why. */
    .macro swap returns
    COCTX_ENDBR

    /* Stored first: both are slow to issue, and the comparison below waits for them. */
    stmxcsr COCTX_OFFSET_MXCSR(%rdi)
    fnstcw  COCTX_OFFSET_FCW(%rdi)

    movq (%rsp), %rax
    leaq 8(%rsp), %rcx
    movq %rbx, COCTX_OFFSET_RBX(%rdi)
    movq %rbp, COCTX_OFFSET_RBP(%rdi)
    movq %r12, COCTX_OFFSET_R12(%rdi)
    movq %r13, COCTX_OFFSET_R13(%rdi)
    movq %r14, COCTX_OFFSET_R14(%rdi)
    movq %r15, COCTX_OFFSET_R15(%rdi)
    movq %rcx, COCTX_OFFSET_RSP(%rdi)
    movq %rax, COCTX_OFFSET_RIP(%rdi)

    /* Reloading a control word stalls the pipeline, and nearly all contexts have the same ones.
     * Each is read back with the width it was stored with; any other would defeat forwarding. The
     * status flags of MXCSR are the caller's to lose and would differ all the time. */
    movl COCTX_OFFSET_MXCSR(%rsi), %eax
    xorl COCTX_OFFSET_MXCSR(%rdi), %eax
    andl $COCTX_MXCSR_CONTROL, %eax
    jne .Lload_mxcsr\@
.Lmxcsr_agrees\@:
    movzwl COCTX_OFFSET_FCW(%rsi), %eax
    cmpw COCTX_OFFSET_FCW(%rdi), %ax
    jne .Lload_fcw\@
.Lfcw_agrees\@:

    .cfi_remember_state
    movq COCTX_OFFSET_RSP(%rsi), %rsp
    .cfi_def_cfa %rsp, 0
    NEWCOMERS(RIP)
    NEWCOMERS(RBX)
    NEWCOMERS(RBP)
    NEWCOMERS(R12)
    NEWCOMERS(R13)
    NEWCOMERS(R14)
    NEWCOMERS(R15)
    movq COCTX_OFFSET_RBX(%rsi), %rbx
    .cfi_same_value %rbx
    movq COCTX_OFFSET_RBP(%rsi), %rbp
    .cfi_same_value %rbp
    movq COCTX_OFFSET_R12(%rsi), %r12
    .cfi_same_value %r12
    movq COCTX_OFFSET_R13(%rsi), %r13
    .cfi_same_value %r13
    movq COCTX_OFFSET_R14(%rsi), %r14
    .cfi_same_value %r14
    movq COCTX_OFFSET_R15(%rsi), %r15
    .cfi_same_value %r15
    .if \returns
    pushq COCTX_OFFSET_RIP(%rsi)
    .cfi_def_cfa_offset 8
    ret
    .else
    notrack jmp *COCTX_OFFSET_RIP(%rsi) /* where a suspended call goes on there is no endbr */
    .endif
    .cfi_restore_state

.Lload_mxcsr\@:
    ldmxcsr COCTX_OFFSET_MXCSR(%rsi)
    jmp .Lmxcsr_agrees\@

.Lload_fcw\@:
    /* x87 exceptions strike late: a flag that the leaver raised under its mask would strike the
     * newcomer as soon as the control word unmasks it. The flags are not kept anyway. */
    fnclex
    fldcw COCTX_OFFSET_FCW(%rsi)
    jmp .Lfcw_agrees\@
    .endm

COCTX_HIDDEN_ALIAS(coctx_swap_regs, coctx_swap)
COCTX_FUNCTION_BEGIN(coctx_swap)
    swap 0
COCTX_FUNCTION_END(coctx_swap)

    .hidden coctx_swap_alike_regs
COCTX_FUNCTION_BEGIN(coctx_swap_alike_regs)
    swap 1
COCTX_FUNCTION_END(coctx_swap_alike_regs)

/*
 * The first frame of every context. coctx_make leaves its address in rip and
 *     rbx = pfn    r12 = s    r13 = s1    rbp = 0    rsp = the top of the stack, 16-byte aligned
 *
 *     top    rsp -> +----------------------+
 *     top -  8      | return address below | written by the call; pfn enters with rsp here, which
 *                   | pfn's frame          | is 8 off a multiple of 16, as after any call
 *
 * The return address of this frame is undefined: there gdb, libunwind and exceptions stop. rbp = 0
 * stops those that follow frame pointers.
 */
    .hidden coctx_start_frame, coctx_start
COCTX_FUNCTION_BEGIN(coctx_start_frame)
    .cfi_undefined %rip
    /* Until the first instruction has run, coctx_start is a return address to an unwinder inside
     * the swap, and it looks up the byte before a return address: that byte must be ours. */
    nop
    .globl coctx_start
coctx_start:
    COCTX_ENDBR
    movq %r12, %rdi
    movq %r13, %rsi
    call *%rbx
    /* pfn returned, which it must not. */
    ud2
COCTX_FUNCTION_END(coctx_start_frame)

COCTX_FILE_END
