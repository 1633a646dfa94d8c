// SPDX-License-Identifier: Apache-2.0
/*
 * layout.h - where each register stands in coctx_t.regs on i386, in bytes.
 *
 * Read by coctx_swap.S; coctx_make.cpp asserts each against offsetof. Preprocessor only.
 * All eight words are used: half a cache line when the block is aligned.
 */
#ifndef CORUN_CO_CTX_I386_LAYOUT_H
#define CORUN_CO_CTX_I386_LAYOUT_H

#if !defined(__i386__)
#error "co_ctx/i386 is for i386"
#endif

#define COCTX_OFFSET_EBX 0
#define COCTX_OFFSET_ESI 4
#define COCTX_OFFSET_EDI 8
#define COCTX_OFFSET_EBP 12
#define COCTX_OFFSET_ESP 16
#define COCTX_OFFSET_EIP 20
#define COCTX_OFFSET_MXCSR 24
#define COCTX_OFFSET_FCW 28

/* MXCSR without its six status flags (bits 0 to 5): what the callee keeps. */
#define COCTX_MXCSR_CONTROL (~0x3f)

/* DWARF's numbers for the registers, for CFI. */
#define COCTX_DWARF_ECX 1
#define COCTX_DWARF_EBX 3
#define COCTX_DWARF_EBP 5
#define COCTX_DWARF_ESI 6
#define COCTX_DWARF_EDI 7
#define COCTX_DWARF_EIP 8

#endif
