// SPDX-License-Identifier: Apache-2.0
// From a slot into C++ and back: the way of the system calls that are ours.
//
// Kept, as the kernel keeps it: every register but rax, rcx and r11, the flags, the vector state.
// Nothing here changes the thread pointer but on the way back: that is worker.h's.
#include "co_hook/waist/frame_macros.h"

// clang-format off
        .hidden waist_table
        .hidden waist_vector_mask
        .hidden waist_vector_bytes
        .hidden waist_vectors_compact
        .hidden waist_vectors_by_hand
        .hidden waist_thread
        .hidden waist_has_fsgsbase
        .hidden waist_sigreturn_entry   // leave.S

COCTX_TEXT

// rax: the number. Up to the branch only rcx and r11 are used, no flags; 0 goes to the kernel.
        .macro  dispatch
        movzwl  %ax, %ecx               // the kernel looks at eax; C++ looks again at the rest
        leaq    waist_table(%rip), %r11
        movzbl  (%r11,%rcx), %ecx
        .endm

// What the slots call: waist_entry, or waist_entry_plain where nothing is in vector registers.
        .hidden waist_entry
COCTX_FUNCTION_BEGIN(waist_entry)
        dispatch
        jrcxz   1f
        jmp     2f
        .globl  waist_entry_plain
        .hidden waist_entry_plain
        .p2align 5
waist_entry_plain:
        dispatch
        jrcxz   1f
        jmp     3f
1:      syscall
        ret
5:      jmp     waist_sigreturn_entry
        .globl  waist_entry_passed
        .hidden waist_entry_passed
waist_entry_passed:                     // up to here: code of the program, to its signals

        .cfi_remember_state
3:      leaq    -WAIST_SIGRETURN(%rcx), %rcx
        jrcxz   5b
        push_registers 0
        andq    $-16, %rsp
        jmp     4f
        .cfi_restore_state

2:      leaq    -WAIST_SIGRETURN(%rcx), %rcx
        jrcxz   5b
        push_registers WAIST_VECTORS_XSAVED
        cmpb    $0, waist_vectors_by_hand(%rip)
        je      3f
        movl    $1, %ecx
        xgetbv                          // eax: what is not as at the program's begin
        testb   $WAIST_X87, %al
        jnz     10f
11:     movl    $WAIST_VECTORS_STORED, WAIST_FRAME_VECTORS(%rbx)
        movl    %eax, WAIST_FRAME_VECTORS_IN_USE(%rbx)
        andq    $-64, %rsp
        store_vectors
        jmp     4f
3:      subq    waist_vector_bytes(%rip), %rsp
        andq    $-64, %rsp
        xorl    %eax, %eax
        movq    %rax, 512(%rsp)         // the XSAVE header, of which XSAVE writes a part
        movq    %rax, 520(%rsp)
        movq    %rax, 528(%rsp)
        movq    %rax, 536(%rsp)
        movq    %rax, 544(%rsp)
        movq    %rax, 552(%rsp)
        movq    %rax, 560(%rsp)
        movq    %rax, 568(%rsp)
        movl    waist_vector_mask(%rip), %eax
        movl    waist_vector_mask+4(%rip), %edx
        cmpb    $0, waist_vectors_compact(%rip)
        je      8f
        xsavec64 (%rsp)
        jmp     4f
8:      xsave64 (%rsp)
4:      movq    %rbx, %rdi
        movq    waist_thread@gottpoff(%rip), %rax
        movq    %fs:(%rax), %rsi
        call    waist_call
// From here to waist_returned nobody looks for signals any more: on_signal (signal_delivery.cpp) that
// interrupts it sends it back to waist_again, which needs the frame alone.
        .globl  waist_returning
        .hidden waist_returning
waist_returning:                        // rax: the FS base to go on with, or 0
        testq   %rax, %rax
        jz      7f
        cmpb    $0, waist_has_fsgsbase(%rip)
        je      6f
        wrfsbase %rax
7:      cmpb    $WAIST_VECTORS_XSAVED, WAIST_FRAME_VECTORS(%rbx)
        jb      9f
        je      8f
        movq    %rsp, %rcx
        movl    WAIST_FRAME_VECTORS_IN_USE(%rbx), %eax
        load_vectors
        jmp     9f
8:      movl    waist_vector_mask(%rip), %eax
        movl    waist_vector_mask+4(%rip), %edx
        xrstor64 (%rsp)
9:      movq    %rbx, %rsp
        .cfi_remember_state
        .cfi_def_cfa rsp, WAIST_FRAME_BYTES
        pop_registers
        ret
        .cfi_restore_state
6:      movq    %rax, %rsi
        movl    $ARCH_SET_FS, %edi
        movl    $SYS_ARCH_PRCTL, %eax
        syscall
        jmp     7b
        .globl  waist_returned
        .hidden waist_returned
waist_returned:
// Every return from a signal handler leaves the x87 unit in use, mostly with nothing in it: then it is
// as at the program's begin again, and stays so for the next calls.
10:     leaq    -64(%rsp), %rsp
        fnstenv (%rsp)                  // masks exceptions; those that are not masked by it come back
        cmpw    $0x37F, (%rsp)
        jne     12f
        cmpw    $0, 4(%rsp)             // status
        jne     12f
        cmpw    $-1, 8(%rsp)            // tags: all empty
        jne     12f
        movl    $WAIST_X87, %eax
        xorl    %edx, %edx
        xrstor64 waist_initial_x87(%rip)
        leaq    64(%rsp), %rsp
        movl    $1, %ecx
        xgetbv
        testb   $WAIST_X87, %al
        jnz     3b
        jmp     11b
12:     fldcw   (%rsp)
        leaq    64(%rsp), %rsp
        jmp     3b
        .globl  waist_again
        .hidden waist_again
waist_again:                            // rbx and rdi: the frame, rsi: the thread
        call    waist_call_late
        jmp     waist_returning
COCTX_FUNCTION_END(waist_entry)

// void waist_load_vectors(const void *stored, uint64_t in_use): as store_vectors has left them.
        .hidden waist_load_vectors
COCTX_FUNCTION_BEGIN(waist_load_vectors)
        movq    %rdi, %rcx
        movl    %esi, %eax
        load_vectors
        ret
COCTX_FUNCTION_END(waist_load_vectors)

        .bss
        .p2align 6
waist_initial_x87:                      // an XSAVE area with nothing in it
        .zero   576
// clang-format on

COCTX_FILE_END
