// SPDX-License-Identifier: Apache-2.0
// The functions of addresses, for backtraces: what the dynamic linker knows of them (code_info), and for those
// that are not exported the symbol tables of the objects' files (symbol_file.h). What was found is
// remembered, and the files stay mapped, until it is forgotten: before each report, because objects may go.
#pragma once

#include <cstdint>
#include <dlfcn.h>

namespace corun {

// As dladdr. False: of no object. While another thread, or the code that a handler has interrupted, looks: by
// code_info alone.
bool name_code(uintptr_t pc, Dl_info *out);
void forget_names();

} // namespace corun
