// SPDX-License-Identifier: Apache-2.0
// The slots (slots.h has their layout), in the library's own text: an unwinder knows what stands in
// a loaded object, and one FDE describes all of them. patch.cpp fills a slot in for each site.
//
// What the FDE says, at any instruction of any slot, for libgcc, libunwind and gdb alike:
//     CFA = rsp, and 128 more where the red zone has been stepped over (pc & 63 in [21, 34)): so the
//           caller's rsp, which is the CFA, is that of the interrupted function;
//     RA  = the word at (pc & ~63) + 56: the unwinder goes on behind the site's syscall, with the
//           CFI that the site's own object has for it. Nothing on the stack is a return address.
// Behind the call the pc is 26: the pc - 1 that unwinders look up lies in the same slot.
//
// References: DWARF 5, 2.5 (expressions) and 6.4.2 (call frame instructions); System V ABI for
// x86_64, 3.2.2 (the red zone) and figure 3.36 (register 7 is rsp, 16 the return address).
#include "co_hook/waist/slots.h"

#define DW_CFA_def_cfa_expression 0x0f
#define DW_CFA_expression 0x10
#define DW_OP_const1u 0x08
#define DW_OP_const1s 0x09
#define DW_OP_dup 0x12
#define DW_OP_swap 0x16
#define DW_OP_and 0x1a
#define DW_OP_plus 0x22
#define DW_OP_plus_uconst 0x23
#define DW_OP_shl 0x24
#define DW_OP_ge 0x2a
#define DW_OP_lt 0x2d
#define DW_OP_lit7 0x37
#define DW_OP_breg7 0x77
#define DW_OP_breg16 0x80
#define RETURN_ADDRESS 16

    .section .text.corun_slots, "ax", @progbits
    .balign 4096
    .hidden waist_entry
    .globl corun_slots
    .hidden corun_slots
    .type corun_slots, @function
corun_slots:
    .cfi_startproc
    .cfi_escape DW_CFA_def_cfa_expression, 19, \
        DW_OP_breg7, 0, \
        DW_OP_breg16, 0, DW_OP_const1u, CORUN_SLOT_BYTES - 1, DW_OP_and, \
        DW_OP_dup, DW_OP_const1u, CORUN_SLOT_CALL, DW_OP_ge, DW_OP_swap, \
        DW_OP_const1u, CORUN_SLOT_LEAVE, DW_OP_lt, DW_OP_and, \
        DW_OP_lit7, DW_OP_shl, DW_OP_plus
    .cfi_escape DW_CFA_expression, RETURN_ADDRESS, 7, \
        DW_OP_breg16, 0, DW_OP_const1s, 0x100 - CORUN_SLOT_BYTES, DW_OP_and, \
        DW_OP_plus_uconst, CORUN_SLOT_SITE
    .rept CORUN_SLOT_COUNT
    .fill CORUN_SLOT_ENTER, 1, 0x90
    lea -CORUN_RED_ZONE(%rsp), %rsp
    call waist_entry
    lea CORUN_RED_ZONE(%rsp), %rsp
    ud2
    .balign CORUN_SLOT_BYTES, 0xcc
    .endr
    .cfi_endproc
    .size corun_slots, . - corun_slots

    .section .note.GNU-stack, "", @progbits
