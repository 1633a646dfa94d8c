// SPDX-License-Identifier: Apache-2.0
// From an address to its object and function, as dladdr, but without the dynamic linker's lock: which
// a thread of the program may hold while it is parked.
#pragma once

#include <cstdint>
#include <dlfcn.h>

namespace corun::waist {

// dladdr's answer; a slot counts as the system call that it stands for.
int info_of_code(const void *pc, Dl_info *info);

// "read+0x10 (/lib/x86_64-linux-gnu/libc.so.6+0xf8560)"; returns the length.
unsigned format_code(char *out, unsigned size, uintptr_t pc);

} // namespace corun::waist
