// SPDX-License-Identifier: Apache-2.0
// libshapes.so: system calls in every surrounding that the finder tells apart. Each function makes
// getppid or getpid and returns what its comment says; sites_test.cpp says what is found in each,
// native_waist_test.cpp runs them before and after they are patched.
#define SYS_getpid 39
#define SYS_getppid 110

    .macro begin name
    .globl \name
    .type \name, @function
    .balign 16
\name:
    .cfi_startproc
    .endm
    .macro end name
    .cfi_endproc
    .size \name, . - \name
    .endm

    .text

// Nearly all of libc's: five bytes in front.
    begin plain
    mov $SYS_getppid, %eax
    syscall
    cmp $-4096, %rax
    ja 1f
    ret
1:  mov $-1, %rax
    ret
    end plain

// The number is loaded far away, and a branch leads to the syscall: what stands behind it moves.
// Returns getppid.
    begin entered_at_syscall
    mov $SYS_getppid, %eax
    cmp $1, %edi
    je 1f
    mov $SYS_getppid, %eax
1:  syscall
    cmp $-4096, %rax
    ja 2f
    ret
2:  mov $-1, %rax
    ret
    end entered_at_syscall

// A branch to the syscall and another one behind it: no room.
    begin entered_on_both_sides
    mov $SYS_getppid, %eax
    cmp $1, %edi
    je 1f
    cmp $2, %edi
    je 2f
    mov $SYS_getppid, %eax
1:  syscall
2:  nop
    nop
    ret
    end entered_on_both_sides

// Through a table of distances in .rodata, as compilers make them: case 1 goes to the syscall.
    begin entered_by_table
    mov $SYS_getppid, %eax
    lea table(%rip), %rdx
    and $1, %edi
    movslq (%rdx,%rdi,4), %rcx
    add %rdx, %rcx
    notrack jmp *%rcx
.Lcase0:
    mov $SYS_getppid, %eax
.Lcase1:
    syscall
    mov %rax, %rcx
    mov %rcx, %rax
    ret
    end entered_by_table
    .section .rodata
    .balign 4
table:
    .long .Lcase0 - table
    .long .Lcase1 - table
    .text

// The function in front of it jumps into its middle, with one byte of distance.
    begin neighbour_below
    mov $SYS_getppid, %eax
    jmp .Linside
    end neighbour_below
    begin entered_by_neighbour
    mov $SYS_getppid, %eax
.Linside:
    syscall
    mov %rax, %rcx
    mov %rcx, %rax
    ret
    end entered_by_neighbour

// rsp changes on both sides and the number comes from afar.
    begin between_push_and_pop
    mov $SYS_getppid, %eax
    push %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    syscall
    pop %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbx
    ret
    end between_push_and_pop

// Behind a call, in front of a return.
    begin between_call_and_return
    sub $8, %rsp
    .cfi_adjust_cfa_offset 8
    call .Lnumber
    syscall
    add $8, %rsp
    .cfi_adjust_cfa_offset -8
    ret
    end between_call_and_return
    begin number
.Lnumber:
    mov $SYS_getppid, %eax
    ret
    end number

// The end of a thread in glibc 2.36, nearly: a jump is the last of the displaced instructions, and the
// first of them is jumped to. Makes the call rdi times and returns getppid.
    begin repeats
    mov $SYS_getppid, %edx
    mov %rdi, %r8
1:  mov %edx, %eax
    syscall
    jmp 2f
    nop
    nop
2:  mov %rax, %rcx
    dec %r8
    jne 1b
    mov %rcx, %rax
    ret
    end repeats

// A branch behind it by flags from in front of it. Returns getppid, or -1 if edi is not 0.
    begin branches_behind
    mov $SYS_getppid, %edx
    test %edi, %edi
    mov %edx, %eax
1:  syscall
    jne 2f
    ret
2:  mov $-1, %rax
    ret
    end branches_behind

// What __syscall_cancel_arch of glibc 2.41 ends with: the number is far away, a store in front.
    begin funnel
    sub $24, %rsp
    .cfi_adjust_cfa_offset 24
    mov $SYS_getppid, %eax
    mov $0, %r11d
    mov %r11, 8(%rsp)
    syscall
    add $24, %rsp
    .cfi_adjust_cfa_offset -24
    ret
    end funnel

// The operand of the instruction that moves is reckoned from where it stands. Returns `value`.
    begin relative_operand
    mov $SYS_getppid, %edx
    mov %edx, %eax
    test %edi, %edi
    je 1f
1:  syscall
    mov value(%rip), %rax
    ret
    end relative_operand

// No syscall: the bytes are part of a number. Returns it.
    begin number_with_bytes
    mov $0x11050f22, %eax
    ret
    end number_with_bytes

// clone's: unwind information ends at the instruction. Returns getppid.
    .globl ends_early
    .type ends_early, @function
    .balign 16
ends_early:
    .cfi_startproc
    mov $SYS_getppid, %eax
    .cfi_endproc
    syscall
    ret
    .size ends_early, . - ends_early

// The flags and the red zone are the function's own across a call. Returns 1 if they are.
    begin keeps_flags_and_red_zone
    movq $0x1234567, -8(%rsp)
    movq $0x7654321, -128(%rsp)
    mov $SYS_getppid, %eax
    stc
    mov %eax, %eax
    nop
    syscall
    setc %al
    cmpq $0x1234567, -8(%rsp)
    sete %cl
    and %cl, %al
    cmpq $0x7654321, -128(%rsp)
    sete %cl
    and %cl, %al
    movzbl %al, %eax
    ret
    end keeps_flags_and_red_zone

// A debugger's breakpoint over the first byte of `plain`: it must not go unnoticed.
    begin with_breakpoint
    .byte 0xcc, SYS_getppid, 0, 0, 0
    syscall
    cmp $-4096, %rax
    ret
    end with_breakpoint

// Behind what no decoder knows, a call and the same bytes in a number.
    begin undecodable
    jmp 1f
    .byte 0x62, 0xff, 0xff, 0xff, 0xff, 0xff
1:  mov $0x05ffffff, %ecx
    mov $SYS_getppid, %eax
    syscall
    mov $0x22050f11, %ecx
    ret
    end undecodable

    .section .rodata
    .balign 8
value:
    .quad 0x1122334455667788

    .section .note.GNU-stack, "", @progbits
