// SPDX-License-Identifier: Apache-2.0
// The system calls that return twice.
#include "co_hook/waist/frame_macros.h"

// clang-format off
COCTX_TEXT

// long waist_clone(nr, a0, a1, a2, a3, a4): clone or clone3 where the child gets a stack of its own,
// on which a frame lies. Returns in the parent alone.
        .hidden waist_clone
COCTX_FUNCTION_BEGIN(waist_clone)
        movq    %rdi, %rax
        movq    %rsi, %rdi
        movq    %rdx, %rsi
        movq    %rcx, %rdx
        movq    %r8, %r10
        movq    %r9, %r8
        syscall
        testq   %rax, %rax
        jz      1f
        ret
1:      .cfi_def_cfa rsp, WAIST_FRAME_BYTES
        pop_registers
        ret
COCTX_FUNCTION_END(waist_clone)

// void waist_vfork(vfork_save *): the call in save->registers, which leaves parent and child on one
// stack: both go on in the slot, each from what was saved. Does not return.
        .hidden waist_vfork
COCTX_FUNCTION_BEGIN(waist_vfork)
        .cfi_undefined rip
        movq    %rdi, %rbx
        movq    WAIST_VFORK_SP(%rbx), %rsp
        movq    WAIST_FRAME_RAX(%rbx), %rax
        movq    WAIST_FRAME_R10(%rbx), %r10
        movq    WAIST_FRAME_R8(%rbx), %r8
        movq    WAIST_FRAME_RSI(%rbx), %rsi
        movq    WAIST_FRAME_RDX(%rbx), %rdx
        movq    WAIST_FRAME_RDI(%rbx), %rdi
        syscall
        testq   %rax, %rax
        jz      1f
        movq    %rbx, %rdi
        movq    %rax, %rsi
        movq    WAIST_VFORK_SP(%rbx), %rsp
        subq    $WAIST_FRAME_BYTES, %rsp
        andq    $-16, %rsp
        call    waist_vfork_over
        hlt
1:      movq    %rbx, %rcx
        movq    WAIST_FRAME_R15(%rcx), %r15
        movq    WAIST_FRAME_R14(%rcx), %r14
        movq    WAIST_FRAME_R13(%rcx), %r13
        movq    WAIST_FRAME_R12(%rcx), %r12
        movq    WAIST_FRAME_RBP(%rcx), %rbp
        movq    WAIST_FRAME_RBX(%rcx), %rbx
        movq    WAIST_FRAME_R10(%rcx), %r10
        movq    WAIST_FRAME_R9(%rcx), %r9
        movq    WAIST_FRAME_R8(%rcx), %r8
        movq    WAIST_FRAME_RDI(%rcx), %rdi
        movq    WAIST_FRAME_RSI(%rcx), %rsi
        movq    WAIST_FRAME_RDX(%rcx), %rdx
        notrack jmp *WAIST_FRAME_SLOT(%rcx)
COCTX_FUNCTION_END(waist_vfork)
// clang-format on

COCTX_FILE_END
