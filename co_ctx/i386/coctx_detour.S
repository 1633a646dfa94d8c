// SPDX-License-Identifier: Apache-2.0
/*
 * coctx_detour.S (i386) - a suspended context calls a function before it goes on.
 *
 * coctx_detour left coctx_detour_start in the block's eip. The swap arrives here with esp as it would
 * be after the suspended call's return; this frame makes itself look as if it had been called from
 * there, so that an unwinder which starts in the function goes on into the suspended code.
 *
 *     suspended esp ->  |  the suspended frame    |
 *               -  4    |  return address         | <- coctx_detour_landing stores it here
 *               -  8    |  ebp                    | esp is aligned by hand below: the i386 ABI's
 *               - ...   |  (alignment)            | older callers do not keep it at 16
 *               - 16n   |  address of the slot    | the argument
 */
#include "co_ctx/asm.h"

COCTX_TEXT
    .hidden coctx_detour_start, coctx_detour_landing
COCTX_FUNCTION_BEGIN(coctx_detour_start)
    COCTX_ENDBR
    .cfi_def_cfa %esp, 0
    .cfi_undefined %eip /* not laid down yet */
    subl $4, %esp
    .cfi_def_cfa_offset 4
    movl %esp, %eax
    pushl %ebp
    .cfi_def_cfa_offset 8
    .cfi_offset %ebp, -8
    movl %esp, %ebp
    .cfi_def_cfa %ebp, 8
    .cfi_offset %eip, -4
    andl $-16, %esp
    subl $12, %esp
    pushl %eax
    call 1f
1:  popl %ecx
    addl $_GLOBAL_OFFSET_TABLE_ + (. - 1b), %ecx
    call *coctx_detour_landing@GOTOFF(%ecx)
    leave
    .cfi_same_value %ebp
    .cfi_def_cfa %esp, 4
    ret
COCTX_FUNCTION_END(coctx_detour_start)

COCTX_FILE_END
