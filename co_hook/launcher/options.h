// SPDX-License-Identifier: Apache-2.0
// The launcher's command line. Strict: a word that means nothing ends it with a line and 125.
#ifndef CORUN_HOOK_LAUNCHER_OPTIONS_H
#define CORUN_HOOK_LAUNCHER_OPTIONS_H

namespace corun::launcher {

struct options {
    unsigned long stack = 0; // bytes; 0: the library's default
    bool stats = false;
    const char *stats_file = nullptr; // absolute: the program may change its directory
    int stats_signal = 0;             // 0: none
    int dump_signal = 3;              // SIGQUIT; 0: none
    const char *debug = nullptr;
    bool inherit = false, or_native = false, check = false;
    char **command = nullptr; // COMMAND and its arguments, as execvp takes them
};

// Answers --help and --version by itself, and ends.
options parse_options(char **arguments);

// The value of CORUN_OPTIONS, which co_hook/waist/start.cpp reads.
char *for_library(const options &o);

} // namespace corun::launcher

#endif
