// SPDX-License-Identifier: Apache-2.0
// The layout of a slot, for slots.S, entry.S and patch.cpp. Offsets in bytes from its start:
//
//      0  whole instructions that stood in front of the site's syscall, pushed up against 16
//     16  lea -128(%rsp), %rsp      leaves the red zone below the interrupted function alone
//     21  call waist_entry          makes the call; keeps what the kernel keeps (waist_entry_plain: but
//                                   for vector registers, where the site is plain)
//     26  lea 128(%rsp), %rsp
//     34  whole instructions that stood behind it, then jmp to the code behind the site
//     56  the address behind the site's syscall instruction
//
// lea and not sub: the flags are the interrupted function's. call and not jmp: with the ret in
// waist_entry the processor's return predictor stays right.
#pragma once

#define CORUN_SLOT_BYTES 64
#define CORUN_SLOT_COUNT 4096
#define CORUN_SLOT_ENTER 16
#define CORUN_SLOT_CALL 21
#define CORUN_SLOT_RETURN 26
#define CORUN_SLOT_LEAVE 34
#define CORUN_SLOT_SITE 56
#define CORUN_RED_ZONE 128
