// SPDX-License-Identifier: Apache-2.0
// The frame of a call (frame.h), put together and taken apart: for entry.S, leave.S and clone.S.
#pragma once

#include "co_ctx/asm.h"
#include "co_hook/waist/frame.h"

#ifdef __ASSEMBLER__

#define SYS_RT_SIGRETURN 15
#define SYS_ARCH_PRCTL 158
#define ARCH_SET_FS 0x1002

#define OTHER_FLAGS 0x40500 /* trap, direction, alignment check */

// clang-format off
        .macro  keep reg
        pushq   %\reg
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset \reg, 0
        .endm

        .macro  push_registers vectors
        keep    rax
        keep    rdx
        keep    rsi
        keep    rdi
        keep    r8
        keep    r9
        keep    r10
        pushfq
        .cfi_adjust_cfa_offset 8
        keep    rbx
        keep    rbp
        keep    r12
        keep    r13
        keep    r14
        keep    r15
        pushq   $\vectors
        .cfi_adjust_cfa_offset 8
        cld
        movq    %rsp, %rbx
        .cfi_def_cfa rbx, WAIST_FRAME_BYTES
        .endm

        .macro  pop_registers
        leaq    8(%rsp), %rsp           // frame.vectors
        .cfi_adjust_cfa_offset -8
        popq    %r15
        .cfi_adjust_cfa_offset -8
        popq    %r14
        .cfi_adjust_cfa_offset -8
        popq    %r13
        .cfi_adjust_cfa_offset -8
        popq    %r12
        .cfi_adjust_cfa_offset -8
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        // popfq takes as long as ten pushes. Of these flags a program changes the arithmetic ones.
        popq    %rax
        .cfi_adjust_cfa_offset -8
        testl   $OTHER_FLAGS, %eax
        jz      .Larithmetic\@
        pushq   %rax
        popfq
        jmp     .Lflags_set\@
.Larithmetic\@:
        movl    %eax, %ecx
        shrl    $11, %ecx
        andl    $1, %ecx
        addb    $0x7f, %cl              // overflow
        movb    %al, %ah
        sahf
.Lflags_set\@:
        popq    %r10
        .cfi_adjust_cfa_offset -8
        popq    %r9
        .cfi_adjust_cfa_offset -8
        popq    %r8
        .cfi_adjust_cfa_offset -8
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        popq    %rsi
        .cfi_adjust_cfa_offset -8
        popq    %rdx
        .cfi_adjust_cfa_offset -8
        popq    %rax
        .cfi_adjust_cfa_offset -8
        .endm

// The vector registers that are in use (eax, as XGETBV has it), below rsp, which is a multiple of 64. A
// fifth of what XSAVE and XRSTOR take, and of the room.
        .macro  store_vectors
        testb   $WAIST_WIDE, %al
        jnz     .Lwide\@
        subq    $WAIST_NARROW_BYTES, %rsp
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        movaps  %xmm\n, \n * 16(%rsp)
        .endr
        jmp     .Lupper\@
.Lwide\@:
        subq    $WAIST_WIDE_BYTES, %rsp
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        vmovdqa64 %zmm\n, \n * 64(%rsp)
        .endr
.Lupper\@:
        testb   $WAIST_UPPER, %al
        jz      .Lstored\@
        subq    $WAIST_UPPER_BYTES, %rsp
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7
        kmovq   %k\n, \n * 8(%rsp)
        .endr
        .irp    n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        vmovdqa64 %zmm\n, (\n - 15) * 64(%rsp)
        .endr
.Lstored\@:
        .endm

        .macro  load_vectors            // rcx: where rsp was then. What was not in use is zero
        vzeroupper
        testb   $WAIST_UPPER, %al
        jz      .Lno_upper\@
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7
        kmovq   \n * 8(%rcx), %k\n
        .endr
        .irp    n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        vmovdqa64 (\n - 15) * 64(%rcx), %zmm\n
        .endr
        leaq    WAIST_UPPER_BYTES(%rcx), %rcx
        jmp     .Llower\@
.Lno_upper\@:
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7
        kxorq   %k\n, %k\n, %k\n
        .endr
        .irp    n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        vpxorq  %xmm\n, %xmm\n, %xmm\n
        .endr
.Llower\@:
        testb   $WAIST_WIDE, %al
        jnz     .Lwide\@
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        movaps  \n * 16(%rcx), %xmm\n
        .endr
        jmp     .Lloaded\@
.Lwide\@:
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        vmovdqa64 \n * 64(%rcx), %zmm\n
        .endr
.Lloaded\@:
        .endm
// clang-format on

#endif
