// SPDX-License-Identifier: Apache-2.0
// The names of functions that are not exported, for backtraces: from the symbol tables of the objects'
// files (symbol_file.h), which stay mapped, and what was found is remembered.
#pragma once

#include <cstdint>
#include <dlfcn.h>

namespace corun {

// Adds name and start of the function that pc lies in to what is known of its object (dli_fname,
// dli_fbase). False: there is none, or another thread is looking.
bool name_code(uintptr_t pc, Dl_info *info);

// Objects may have gone.
void forget_names();

} // namespace corun
