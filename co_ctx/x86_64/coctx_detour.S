// SPDX-License-Identifier: Apache-2.0
/*
 * coctx_detour.S (x86_64) - a suspended context calls a function before it goes on.
 *
 * coctx_detour left coctx_detour_start in the block's rip. The swap arrives here with rsp as it would
 * be after the suspended call's return; this frame makes itself look as if it had been called from
 * there, so that an unwinder which starts in the function goes on into the suspended code.
 *
 *     suspended rsp ->  |  the suspended frame    |
 *               -  8    |  return address         | <- coctx_detour_landing stores it here
 *               - 16    |  (alignment)            |
 */
#include "co_ctx/asm.h"

COCTX_TEXT
    .hidden coctx_detour_start, coctx_detour_landing
COCTX_FUNCTION_BEGIN(coctx_detour_start)
    COCTX_ENDBR
    .cfi_def_cfa %rsp, 0
    .cfi_undefined %rip /* not laid down yet */
    subq $8, %rsp
    .cfi_def_cfa_offset 8
    movq %rsp, %rdi
    subq $8, %rsp
    .cfi_def_cfa_offset 16
    .cfi_offset %rip, -8
    call *coctx_detour_landing(%rip)
    addq $8, %rsp
    .cfi_def_cfa_offset 8
    ret
COCTX_FUNCTION_END(coctx_detour_start)

COCTX_FILE_END
