// SPDX-License-Identifier: Apache-2.0
// Objects that are loaded after the start (dlopen): the dynamic linker maps a file, executable parts
// too, and closes it before anything runs there. At that close its system calls are led to us.
#pragma once

#include "co_hook/waist/thread.h"

namespace corun::waist {

void set_report_of_sites(bool on);
// After a mmap that succeeded; before a close.
void note_mapping(const word (&a)[6], word address);
void note_closing(int fd);

} // namespace corun::waist
