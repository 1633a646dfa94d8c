// SPDX-License-Identifier: Apache-2.0
// A waist_entry that makes the call natively and counts: what the tests of the rewriting put in the
// place of the real one. rcx and r11 are the kernel's to destroy, so they are free here, and lea
// leaves the flags alone. What it is like when it is entered (co_hook/waist/slots.h):
//
//     rsp      -> back into the slot
//     rsp + 8  -> the red zone of the function that makes the call; 128 further, its rsp
#include "co_hook/waist/slots.h"

#define SYS_rt_sigreturn 15
#define SYS_clone 56
#define SYS_vfork 58
#define SYS_clone3 435
#define DOWN (CORUN_RED_ZONE + 8)
#define clone_args_stack 40
#define clone_args_stack_size 48

    .text
    .globl waist_entry
    .hidden waist_entry
    .type waist_entry, @function
    .globl waist_entry_plain
    .hidden waist_entry_plain
    .set waist_entry_plain, waist_entry // libc's functions take care of their vector registers
waist_entry:
    .cfi_startproc
    endbr64
    mov waist_calls(%rip), %rcx
    lea 1(%rcx), %rcx
    mov %rcx, waist_calls(%rip)
    pushf
    .cfi_adjust_cfa_offset 8
    cmp $SYS_rt_sigreturn, %rax
    je .Lsigreturn
    cmp $SYS_vfork, %rax
    je .Lvfork
    cmp $SYS_clone, %rax
    je .Lclone
    cmp $SYS_clone3, %rax
    je .Lclone3
    .cfi_remember_state
    popf
    .cfi_adjust_cfa_offset -8
    syscall
    ret
    .cfi_restore_state

// The kernel's frame is where the handler's rsp was.
.Lsigreturn:
    lea 8 + DOWN(%rsp), %rsp
    .cfi_undefined %rip
    syscall
    hlt

// The child runs on this stack and returns from here first: the way back is kept elsewhere.
.Lvfork:
    mov 8(%rsp), %rcx
    mov %rcx, vfork_return(%rip)
    popf
    syscall
    mov vfork_return(%rip), %rcx
    mov %rcx, (%rsp)
    ret

// A child with a stack of its own returns on that one: the way back is written there, and both sides
// find rsi as it was.
.Lclone:
    mov 8(%rsp), %rcx
    test %rsi, %rsi
    jz .Lfork
    mov %rcx, -DOWN(%rsi)
    popf
    lea -DOWN(%rsi), %rsi
    syscall
    lea DOWN(%rsi), %rsi
    ret
.Lfork:
    popf
    syscall
    ret

// The kernel takes rsp as stack + stack_size; one that is in use by nobody has room for the word.
.Lclone3:
    mov 8(%rsp), %rcx
    mov clone_args_stack(%rdi), %r11
    test %r11, %r11
    jz .Lfork
    add clone_args_stack_size(%rdi), %r11
    mov %rcx, -DOWN(%r11)
    subq $DOWN, clone_args_stack_size(%rdi)
    popf
    syscall
    test %eax, %eax
    jz .Lchild
    addq $DOWN, clone_args_stack_size(%rdi)
.Lchild:
    ret
    .cfi_endproc
    .size waist_entry, . - waist_entry

    .bss
    .balign 8
    .globl waist_calls
    .hidden waist_calls
waist_calls:
    .quad 0
vfork_return:
    .quad 0

    .section .note.GNU-stack, "", @progbits
