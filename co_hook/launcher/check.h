// SPDX-License-Identifier: Apache-2.0
// Can corun run this program here? A list of findings, the same for a start and for --check, which
// also prints what is only good to know.
#ifndef CORUN_HOOK_LAUNCHER_CHECK_H
#define CORUN_HOOK_LAUNCHER_CHECK_H

#include "co_hook/launcher/libraries.h"
#include "co_hook/launcher/machine.h"
#include "co_hook/launcher/program.h"

namespace corun::launcher {

enum class weight {
    note,   // it runs; this is to be known
    cannot, // corun cannot run it; --or-native runs it without
    never,  // refused whatever the options say
};

struct finding {
    weight is;
    const char *what;   // of the program: "is a static program"
    const char *advice; // what to do; nullptr: nothing
};

struct findings {
    static constexpr size_t most = 64;
    finding items[most];
    size_t count = 0;

    void add(weight is, const char *what, const char *advice);
    // The heaviest, the first of those; nullptr: there is none but notes.
    const finding *reason() const;
};

// All that is looked at.
struct subject {
    program what;
    machine where;
    const char *waist;        // the library; nullptr: not found,
    const char *waist_looked; // there
    library_list libraries;
    const library *libc; // nullptr: not among them
};

subject look_at(char **command);

// What decides.
void judge(const subject &s, findings *out);
// What is good to know besides: forks for connections, spins, io_uring.
void remark(const subject &s, findings *out);

// --check: the whole report on stdout. Returns the launcher's exit status.
int report(const subject &s);

} // namespace corun::launcher

#endif
