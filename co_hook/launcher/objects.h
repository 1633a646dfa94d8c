// SPDX-License-Identifier: Apache-2.0
// The program and the libraries that another process has mapped: whose code an address is, how it is
// unwound, and what function. All of it is read from outside, and nothing of it believed.
#ifndef CORUN_HOOK_LAUNCHER_OBJECTS_H
#define CORUN_HOOK_LAUNCHER_OBJECTS_H

#include "co_hook/launcher/attach.h"

#include "co_routine/debug/remote_walk.h"

namespace corun::launcher {

void read_objects(const attached &p);

// False: of no object, or of one that says nothing of its frames.
bool code_at(uintptr_t pc, remote_code *out);
// A word of an object, of which pages are read once: nobody writes to code.
bool read_code(const attached &p, uintptr_t at, uintptr_t *out);

// "recv+0x64 (/lib/x86_64-linux-gnu/libc.so.6+0x10a974)", for a terminal, until the next; "": of no object.
// is_exact: it is where something stands, and no return address, whose call lies before it.
const char *name_of_code(const attached &p, uintptr_t pc, bool is_exact);

} // namespace corun::launcher

#endif
