// SPDX-License-Identifier: Apache-2.0
/*
 * asm.h - what every assembly file of co_ctx needs, once.
 *
 *     #include "co_ctx/asm.h"
 *     COCTX_TEXT
 *     COCTX_FUNCTION_BEGIN(name)
 *         ...
 *     COCTX_FUNCTION_END(name)
 *     COCTX_FILE_END
 *
 * Rules
 *  - Every function has CFI that is right at every instruction (invariant 3 of README.md).
 *  - COCTX_FILE_END stands last in every .S: without its notes the linker would give the whole
 *    program an executable stack, or would drop the IBT note of the whole library.
 *  - The note claims IBT alone. A shadow stack (SHSTK) would have to be switched with the stack, and
 *    nothing here does that, so nothing here may claim it.
 *  - One statement a line is not possible in a macro: `;` separates, in gas and in clang.
 */
#ifndef CORUN_CO_CTX_ASM_H
#define CORUN_CO_CTX_ASM_H

#if !defined(__ELF__)
#error "co_ctx is written for ELF systems"
#endif

/* Where an indirect jump or call may land, under IBT. A NOP everywhere else. */
#if defined(__x86_64__)
#define COCTX_ENDBR endbr64
#define COCTX_NOTE_ALIGN 3
#elif defined(__i386__)
#define COCTX_ENDBR endbr32
#define COCTX_NOTE_ALIGN 2
#else
#error "co_ctx has no assembly for this architecture"
#endif

#define COCTX_TEXT .text

// clang-format off

/* 64: a function whose hot path is two cache lines shall not take three. */
#define COCTX_FUNCTION_BEGIN(name)                                                                 \
    .globl name;                                                                                   \
    .type name, @function;                                                                         \
    .p2align 6;                                                                                    \
    name:;                                                                                         \
    .cfi_startproc

/* A second name for the function that begins here; bound inside the library, never exported. */
#define COCTX_HIDDEN_ALIAS(alias, name)                                                            \
    .globl alias;                                                                                  \
    .hidden alias;                                                                                 \
    .type alias, @function;                                                                        \
    .set alias, name

#define COCTX_FUNCTION_END(name)                                                                   \
    .cfi_endproc;                                                                                  \
    .size name, . - name

/* ---- CFI that the assembler has no directive for ----------------------------------------------
 * DW_CFA_expression (0x10): register `reg` of the caller is stored at address `base` + `offset`.
 * The expression is two bytes: DW_OP_breg0 (0x70) + base, and the offset as one byte of SLEB128,
 * which ends at 63. */
#define COCTX_CFI_SAVED_AT(reg, base, offset) .cfi_escape 0x10, reg, 2, 0x70 + base, offset

/* ---- The notes ---------------------------------------------------------------------------------
 * .note.gnu.property: name size 4, descriptor size, type 5 (NT_GNU_PROPERTY_TYPE_0), "GNU"; then
 * property 0xc0000002 (GNU_PROPERTY_X86_FEATURE_1_AND), 4 bytes, value 1 (IBT), padded to a word. */
#define COCTX_FILE_END                                                                             \
    .section .note.gnu.property, "a", @note;                                                       \
    .p2align COCTX_NOTE_ALIGN;                                                                     \
    .long 4, 12 + (COCTX_NOTE_ALIGN - 2) * 4, 5;                                                   \
    .asciz "GNU";                                                                                  \
    .long 0xc0000002, 4, 1;                                                                        \
    .p2align COCTX_NOTE_ALIGN;                                                                     \
    .section .note.GNU-stack, "", @progbits

// clang-format on

#endif
