// SPDX-License-Identifier: Apache-2.0
/*
 * layout.h - where each register stands in coctx_t.regs on x86_64, in bytes.
 *
 * Read by coctx_swap.S; coctx_make.cpp asserts each against offsetof. Preprocessor only.
 * The first eight words are all that every swap loads: one cache line when the block is aligned.
 */
#ifndef CORUN_CO_CTX_X86_64_LAYOUT_H
#define CORUN_CO_CTX_X86_64_LAYOUT_H

#if !defined(__x86_64__) || defined(__ILP32__)
#error "co_ctx/x86_64 is for x86_64 with 64-bit pointers"
#endif

#define COCTX_OFFSET_RBX 0
#define COCTX_OFFSET_RBP 8
#define COCTX_OFFSET_R12 16
#define COCTX_OFFSET_R13 24
#define COCTX_OFFSET_R14 32
#define COCTX_OFFSET_R15 40
#define COCTX_OFFSET_RSP 48
#define COCTX_OFFSET_RIP 56
#define COCTX_OFFSET_MXCSR 64
#define COCTX_OFFSET_FCW 68

/* MXCSR without its six status flags (bits 0 to 5): what the callee keeps. */
#define COCTX_MXCSR_CONTROL (~0x3f)

/* DWARF's numbers for the registers, for CFI. */
#define COCTX_DWARF_RBX 3
#define COCTX_DWARF_RSI 4
#define COCTX_DWARF_RBP 6
#define COCTX_DWARF_R12 12
#define COCTX_DWARF_R13 13
#define COCTX_DWARF_R14 14
#define COCTX_DWARF_R15 15
#define COCTX_DWARF_RIP 16

#endif
