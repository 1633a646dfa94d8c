// SPDX-License-Identifier: Apache-2.0
// What the launcher says to the library: CORUN_OPTIONS, and `sites` and `no-overflow` in CORUN_DEBUG. Read strictly,
// before libc has an environment, then taken out of the program's, with our name in LD_PRELOAD:
// children run natively unless told otherwise.
//
//     CORUN_OPTIONS=stack=65536,stats=/tmp/table,inherit
#pragma once

#include <cstddef>

namespace corun::waist {

struct options {
    size_t stack_bytes = 0;    // of threads that ask for none; 0: libc's default
    bool stats = false;        // the table at exit
    char stats_file[256] = {}; // "": stderr
    int stats_signal = 0;      // the table, when it arrives; 0: none
    int dump_signal = 3;       // the dump (SIGQUIT); 0: none
    bool inherit = false;
    bool or_native = false; // where the program cannot be run as coroutines: natively
    bool list_sites = false;
    bool report_overflows = true;
};

// With 125, as the launcher where it refuses a program (launcher/text.h).
[[noreturn]] void end_refused();

// Ends the process with one line that says what is wrong.
void read_environment(char **environment, options *out);
void clean_environment(char **environment);

} // namespace corun::waist
