// SPDX-License-Identifier: Apache-2.0
// From an address to its object and function, as dladdr, but without the dynamic linker's lock: which
// a thread of the program may hold while it is parked.
#pragma once

#include <cstdint>
#include <dlfcn.h>

namespace corun::waist {

// dladdr's answer; a slot counts as the system call that it stands for.
int info_of_code(const void *pc, Dl_info *info);

// Where a thread of the program was interrupted, sp being its stack pointer: in waist_entry, which a slot
// has called and which passes a call on, the slot counts.
uintptr_t place_of_program(uintptr_t pc, uintptr_t sp);

// "read+0x10 (/lib/x86_64-linux-gnu/libc.so.6+0xf8560)"; returns the length.
unsigned format_code(char *out, unsigned size, uintptr_t pc);

} // namespace corun::waist
