// SPDX-License-Identifier: Apache-2.0
/* Frames that a compiler would not make: one that depends on the psABI's alignment at entry, and one
 * without unwind data. For alignment_test.cpp and hard_cancel_test.cpp. */

    .text

/* void *entry_that_uses_movaps(void *): stores the register below the return address. The psABI has
 * the stack at a multiple of 16 before the call, so 16 bytes fit there aligned; anything else faults. */
    .globl entry_that_uses_movaps
    .type entry_that_uses_movaps, @function
entry_that_uses_movaps:
#if defined(__x86_64__)
    movaps %xmm0, -24(%rsp)
    movq %rdi, %rax
#else
    movaps %xmm0, -28(%esp)
    movl 4(%esp), %eax
#endif
    ret
    .size entry_that_uses_movaps, . - entry_that_uses_movaps

/* void call_without_unwind_data(void (*f)(void *), void *argument): no .cfi_startproc, so no unwinder
 * finds a way through this frame. */
    .globl call_without_unwind_data
    .type call_without_unwind_data, @function
call_without_unwind_data:
#if defined(__x86_64__)
    subq $8, %rsp
    movq %rdi, %rax
    movq %rsi, %rdi
    call *%rax
    addq $8, %rsp
#else
    subl $12, %esp
    movl 20(%esp), %eax
    movl %eax, (%esp)
    call *16(%esp)
    addl $12, %esp
#endif
    ret
    .size call_without_unwind_data, . - call_without_unwind_data

    .section .note.GNU-stack, "", @progbits
