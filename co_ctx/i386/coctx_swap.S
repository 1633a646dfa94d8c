// SPDX-License-Identifier: Apache-2.0
/*
 * coctx_swap.S (i386) - suspend one context, go on with another; and where a new one begins.
 *
 * void coctx_swap(coctx_t *from, coctx_t *to)         4(%esp) = from, 8(%esp) = to
 *
 * The block (both arguments point at its byte 0; offsets from layout.h):
 *
 *     +----+----+----+----+----+----+-----+---+----+
 *     |  0 |  4 |  8 | 12 | 16 | 20 |  24 | 28| 30 |
 *     | ebx| esi| edi| ebp| esp| eip|mxcsr|fcw|  - |
 *     +----+----+----+----+----+----+-----+---+----+
 *      32 bytes in all
 *
 * The stack of a context that calls coctx_swap, and what is kept of it:
 *
 *            |  the caller's frame     |
 *      +8    |  to                     |
 *      +4    |  from                   | <- saved as esp: its value once the call has returned
 *     esp -> |  return address         | <- saved as eip; the slot itself is dead afterwards
 *            |  (free, no red zone)    |
 *
 * eax = from and ecx = to from the third instruction on. esp goes from one real stack to the other
 * in one instruction, so a signal may come anywhere. The frame that an unwinder sees belongs to the
 * leaver up to that instruction and to the newcomer after it. The newcomer's registers which are
 * not loaded yet, and its return address to the very end, are then described as memory in its block.
 */
#include "co_ctx/asm.h"
#include "co_ctx/i386/layout.h"

#define NEWCOMERS(reg)                                                                             \
    COCTX_CFI_SAVED_AT(COCTX_DWARF_##reg, COCTX_DWARF_ECX, COCTX_OFFSET_##reg)

COCTX_TEXT

/* Both functions; they differ in how they leave for the newcomer: coctx.h says why. */
    .macro swap returns
    COCTX_ENDBR
    movl 4(%esp), %eax
    movl 8(%esp), %ecx

    /* Stored first: both are slow to issue, and the comparison below waits for them. */
    stmxcsr COCTX_OFFSET_MXCSR(%eax)
    fnstcw  COCTX_OFFSET_FCW(%eax)

    movl (%esp), %edx
    movl %ebx, COCTX_OFFSET_EBX(%eax)
    movl %esi, COCTX_OFFSET_ESI(%eax)
    movl %edi, COCTX_OFFSET_EDI(%eax)
    movl %ebp, COCTX_OFFSET_EBP(%eax)
    movl %edx, COCTX_OFFSET_EIP(%eax)
    leal 4(%esp), %edx
    movl %edx, COCTX_OFFSET_ESP(%eax)

    /* Reloading a control word stalls the pipeline, and nearly all contexts have the same ones.
     * Each is read back with the width it was stored with; any other would defeat forwarding. The
     * status flags of MXCSR are the caller's to lose and would differ all the time. */
    movl COCTX_OFFSET_MXCSR(%ecx), %edx
    xorl COCTX_OFFSET_MXCSR(%eax), %edx
    andl $COCTX_MXCSR_CONTROL, %edx
    jne .Lload_mxcsr\@
.Lmxcsr_agrees\@:
    movzwl COCTX_OFFSET_FCW(%ecx), %edx
    cmpw COCTX_OFFSET_FCW(%eax), %dx
    jne .Lload_fcw\@
.Lfcw_agrees\@:

    .cfi_remember_state
    movl COCTX_OFFSET_ESP(%ecx), %esp
    .cfi_def_cfa %esp, 0
    NEWCOMERS(EIP)
    NEWCOMERS(EBX)
    NEWCOMERS(ESI)
    NEWCOMERS(EDI)
    NEWCOMERS(EBP)
    movl COCTX_OFFSET_EBX(%ecx), %ebx
    .cfi_same_value %ebx
    movl COCTX_OFFSET_ESI(%ecx), %esi
    .cfi_same_value %esi
    movl COCTX_OFFSET_EDI(%ecx), %edi
    .cfi_same_value %edi
    movl COCTX_OFFSET_EBP(%ecx), %ebp
    .cfi_same_value %ebp
    .if \returns
    pushl COCTX_OFFSET_EIP(%ecx)
    .cfi_def_cfa_offset 4
    ret
    .else
    notrack jmp *COCTX_OFFSET_EIP(%ecx) /* where a suspended call goes on there is no endbr */
    .endif
    .cfi_restore_state

.Lload_mxcsr\@:
    ldmxcsr COCTX_OFFSET_MXCSR(%ecx)
    jmp .Lmxcsr_agrees\@

.Lload_fcw\@:
    /* x87 exceptions strike late: a flag that the leaver raised under its mask would strike the
     * newcomer as soon as the control word unmasks it. The flags are not kept anyway. */
    fnclex
    fldcw COCTX_OFFSET_FCW(%ecx)
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
 * The first frame of every context. coctx_make leaves its address in eip and
 *     ebx = pfn    esi = s    edi = s1    ebp = 0    esp = the top of the stack, 16-byte aligned
 *
 *     top    esp -> +----------------------+
 *     top -  8      | (unused)             | so that the arguments begin on a multiple of 16
 *     top - 12      | s1                   |
 *     top - 16      | s                    |
 *     top - 20      | return address below | written by the call; pfn enters with esp here, which
 *                   | pfn's frame          | is 4 below a multiple of 16, as after any call
 *
 * The return address of this frame is undefined: there gdb, libunwind and exceptions stop. ebp = 0
 * stops those that follow frame pointers.
 */
    .hidden coctx_start_frame, coctx_start
COCTX_FUNCTION_BEGIN(coctx_start_frame)
    .cfi_undefined %eip
    /* Until the first instruction has run, coctx_start is a return address to an unwinder inside
     * the swap, and it looks up the byte before a return address: that byte must be ours. */
    nop
    .globl coctx_start
coctx_start:
    COCTX_ENDBR
    subl $8, %esp
    .cfi_adjust_cfa_offset 8
    pushl %edi
    .cfi_adjust_cfa_offset 4
    pushl %esi
    .cfi_adjust_cfa_offset 4
    call *%ebx
    /* pfn returned, which it must not. */
    ud2
COCTX_FUNCTION_END(coctx_start_frame)

COCTX_FILE_END
