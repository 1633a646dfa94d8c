// SPDX-License-Identifier: Apache-2.0
// The ways into the program that no call leads back to: a new thread's, a handler's, and a handler's end.
#include "co_hook/waist/frame_macros.h"

// clang-format off
        .hidden waist_thread
        .hidden waist_has_fsgsbase

COCTX_TEXT

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

// What the kernel returns to from our own handler. Not in a slot: it is the kernel's own. Its frame is the kernel's,
// and the registers stand in it (machine, signal_frame.h): a thread that was preempted has frames. Unwinders look
// for the byte before a return address, so this begins one earlier.
        .macro  in_frame dwarf_register, offset
        .cfi_escape 0x10, \dwarf_register, 3, 0x77, 0x80 | (\offset & 0x7f), \offset >> 7 // at rsp + offset
        .endm
        .globl  waist_restorer
        .hidden waist_restorer
        .type   waist_restorer, @function
        .p2align 6
        .cfi_startproc
        .cfi_signal_frame
        .cfi_escape 0x0f, 4, 0x77, 0x80 | (160 & 0x7f), 160 >> 7, 0x06 // the CFA is the rsp there
        in_frame 8, 40
        in_frame 9, 48
        in_frame 10, 56
        in_frame 11, 64
        in_frame 12, 72
        in_frame 13, 80
        in_frame 14, 88
        in_frame 15, 96
        in_frame 5, 104
        in_frame 4, 112
        in_frame 6, 120
        in_frame 3, 128
        in_frame 1, 136
        in_frame 0, 144
        in_frame 2, 152
        in_frame 7, 160
        in_frame 16, 168
        nop
waist_restorer:
        movl    $SYS_RT_SIGRETURN, %eax
        syscall
        hlt
        .cfi_endproc
        .size   waist_restorer, . - waist_restorer

// rt_sigreturn: the kernel wants the stack pointer as the handler left it. All registers come from
// the frame; what lies below it is free. waist_sigreturn(frame, thread) is told first.
        .hidden waist_sigreturn_entry
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
// clang-format on

COCTX_FILE_END
