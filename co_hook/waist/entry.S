// SPDX-License-Identifier: Apache-2.0
// Between a slot and C++: the way in for system calls that are ours, and the ways out that C++ has
// no words for.
//
// Kept, as the kernel keeps it: every register but rax, rcx and r11, the flags, the vector state.
// Nothing here changes the thread pointer: that is worker.h's.
#include "co_ctx/asm.h"
#include "co_hook/waist/frame.h"

#define OTHER_FLAGS 0x40500 /* trap, direction, alignment check */

// clang-format off
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

        .macro  keep reg
        pushq   %\reg
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset \reg, 0
        .endm

        .hidden waist_table
        .hidden waist_vector_mask
        .hidden waist_vector_bytes
        .hidden waist_vectors_compact
        .hidden waist_vectors_by_hand
        .hidden waist_thread
        .hidden waist_has_fsgsbase

#define SYS_RT_SIGRETURN 15
#define SYS_ARCH_PRCTL 158
#define ARCH_SET_FS 0x1002

COCTX_TEXT

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

// rax: the number. Up to the branch only rcx and r11 are used, no flags; 0 goes to the kernel.
        .macro  dispatch
        movzwl  %ax, %ecx               // the kernel looks at eax; C++ looks again at the rest
        leaq    waist_table(%rip), %r11
        movzbl  (%r11,%rcx), %ecx
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

// void waist_leave(frame *, fs): goes on where the frame says, with that FS base. A new thread's way
// into the program, on its own stack. As above: interrupted, it is sent to waist_leave_late.
        .hidden waist_leave
COCTX_FUNCTION_BEGIN(waist_leave)
        movq    %rdi, %rsp
        .cfi_def_cfa rsp, WAIST_FRAME_BYTES
        cmpb    $0, waist_has_fsgsbase(%rip)
        je      1f
        wrfsbase %rsi
2:      .cfi_remember_state
        pop_registers
        ret
        .cfi_restore_state
1:      movl    $ARCH_SET_FS, %edi
        movl    $SYS_ARCH_PRCTL, %eax
        syscall
        jmp     2b
        .globl  waist_leave_end
        .hidden waist_leave_end
waist_leave_end:
COCTX_FUNCTION_END(waist_leave)

// void waist_enter_handler(const handler_entry *): a handler of the program, whose frame is ready.
// Interrupted, it has happened: on_signal sets these registers.
        .hidden waist_enter_handler
COCTX_FUNCTION_BEGIN(waist_enter_handler)
        .cfi_undefined rip
        movq    %rdi, %rbx
        movq    WAIST_ENTRY_FS(%rbx), %rsi
        cmpb    $0, waist_has_fsgsbase(%rip)
        je      1f
        wrfsbase %rsi
2:      movq    WAIST_ENTRY_SP(%rbx), %rsp
        movq    WAIST_ENTRY_PC(%rbx), %rcx
        movq    WAIST_ENTRY_SIGNAL(%rbx), %rdi
        movq    WAIST_ENTRY_INFO(%rbx), %rsi
        movq    WAIST_ENTRY_CONTEXT(%rbx), %rdx
        fninit
        ldmxcsr .Ldefault_mxcsr(%rip)
        xorl    %eax, %eax
        notrack jmp *%rcx
1:      movl    $ARCH_SET_FS, %edi
        movl    $SYS_ARCH_PRCTL, %eax
        syscall
        jmp     2b
        .globl  waist_enter_handler_end
        .hidden waist_enter_handler_end
waist_enter_handler_end:
COCTX_FUNCTION_END(waist_enter_handler)
        .balign 4
.Ldefault_mxcsr:
        .long   0x1F80

// What the kernel returns to from our own handler. Not in a slot: it is the kernel's own.
        .hidden waist_restorer
COCTX_FUNCTION_BEGIN(waist_restorer)
        movl    $SYS_RT_SIGRETURN, %eax
        syscall
        hlt
COCTX_FUNCTION_END(waist_restorer)

// rt_sigreturn: the kernel wants the stack pointer as the handler left it. All registers come from
// the frame; what lies below it is free. waist_sigreturn(frame, thread) is told first.
COCTX_FUNCTION_BEGIN(waist_sigreturn_entry)
        .cfi_undefined rip
        leaq    (WAIST_RED_ZONE + 8)(%rsp), %rbx
        movq    %rbx, %rdi
        movq    waist_thread@gottpoff(%rip), %rax
        movq    %fs:(%rax), %rsi
        movq    %rbx, %rsp
        andq    $-16, %rsp
        cld
        call    waist_sigreturn
        movq    %rbx, %rsp
        movl    $SYS_RT_SIGRETURN, %eax
        syscall
        hlt
COCTX_FUNCTION_END(waist_sigreturn_entry)

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
        .bss
        .p2align 6
waist_initial_x87:                      // an XSAVE area with nothing in it
        .zero   576
// clang-format on

COCTX_FILE_END
