// SPDX-License-Identifier: Apache-2.0
// Which files ld.so would load with a program: DT_NEEDED, and theirs, where ld.so looks for them. Read,
// never run. What dlopen brings later is not known here. (The subdirectories for newer processors,
// glibc-hwcaps, are not looked into: the same library is taken from its plain place.)
#ifndef CORUN_HOOK_LAUNCHER_LIBRARIES_H
#define CORUN_HOOK_LAUNCHER_LIBRARIES_H

#include "co_hook/launcher/elf_file.h"

namespace corun::launcher {

struct library {
    const char *name; // as it is needed: libc.so.6
    const char *path; // nullptr: not found
    elf_file elf;
};

struct library_list {
    library *items = nullptr;
    size_t count = 0;
    const library *find(const char *name) const;
};

// The libraries of the program in that file, without itself, each once.
library_list libraries_of(const elf_file &program, const char *path);

// "2.36" of a libc.so.6, by what it says of itself; nullptr: it does not.
const char *libc_version(const elf_file &libc);

} // namespace corun::launcher

#endif
