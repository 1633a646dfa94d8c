// SPDX-License-Identifier: Apache-2.0
// The functions of addresses, for backtraces: what the dynamic linker knows of them (code_info), and for those
// that are not exported the symbol tables of the objects' files (symbol_file.h). What was found is
// remembered, and the files stay mapped, until it is forgotten: before each report, because objects may go.
// So a name is copied out while it is there; another thread may forget it a moment later.
//
// Rules
//  - In a handler: nothing is allocated but by mmap, and nobody waits for who looks at the files. code_info
//    may wait: dladdr takes a lock of the dynamic linker's.
#pragma once

#include <cstdint>
#include <dlfcn.h>

namespace corun {

struct code_name {
    const char *file = nullptr; // of the object, in the dynamic linker's memory
    uintptr_t base = 0;         // where the object begins
    uintptr_t begin = 0;        // where the function does
    char function[256] = "";    // "": not known; a longer name is cut
};

// False: of no object. While another thread, or the code that a handler has interrupted, looks: by
// code_info alone.
bool name_code(uintptr_t pc, code_name *out);
void forget_names();

} // namespace corun
