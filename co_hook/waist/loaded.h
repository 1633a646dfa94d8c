// SPDX-License-Identifier: Apache-2.0
// Objects that are loaded after the start (dlopen): the dynamic linker maps a file, executable parts
// too, and closes it before anything runs there. At that close its system calls are led to us, whatever
// else was mapped in between.
#pragma once

#include "co_hook/waist/thread.h"

namespace corun::waist {

// report: list the sites of each object. tolerant: one that makes system calls which cannot be covered
// is named on stderr; else it ends the process: nothing runs half covered.
void watch_loading(bool report, bool tolerant);
// After a mmap that succeeded; before a close.
void note_mapping(const word (&a)[6], word address);
void note_closing(int fd);

} // namespace corun::waist
