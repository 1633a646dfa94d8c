// SPDX-License-Identifier: Apache-2.0
// What COMMAND is: found as execvp finds it, and through scripts to the ELF file that the kernel will
// load in the end.
#ifndef CORUN_HOOK_LAUNCHER_PROGRAM_H
#define CORUN_HOOK_LAUNCHER_PROGRAM_H

#include "co_hook/launcher/elf_file.h"

namespace corun::launcher {

struct program {
    const char *path;      // for execv
    char **arguments;      // for execv
    const char *file;      // whose machine code runs: path itself, or the last interpreter
    const char *script;    // the first script on the way; nullptr: none
    elf_file elf;          // of `file`; not good(): `other` says what it is
    const char *other;     // nullptr where elf is good
    const char *privilege; // "setuid", ...: one of the files on the way has it; nullptr: none
    const char *privileged_file;
};

// Ends the launcher with 126 or 127 when there is nothing to execute.
//
// "#!/usr/bin/env X" is stepped over, by doing what env would do: the program that env starts would
// otherwise run without corun, as all children do.
program find_program(char **command);

// A program that is there to start another one, which would run natively ("nice"). By its name.
bool is_wrapper(const char *path);
bool is_shell(const char *path);

} // namespace corun::launcher

#endif
