// SPDX-License-Identifier: Apache-2.0
// What this kernel, this processor and the limits that lie on this process allow. All of it passes on
// to the program through exec.
#ifndef CORUN_HOOK_LAUNCHER_MACHINE_H
#define CORUN_HOOK_LAUNCHER_MACHINE_H

namespace corun::launcher {

struct machine {
    bool fsgsbase;        // wrfsbase may be used
    bool seccomp_filter;  // a filter decides which system calls there are
    bool no_new_privs;    // told only: it harms nothing
    bool deny_write_exec; // PR_SET_MDWE
    const char *release;  // "6.1.0-18-amd64"
    const char *
        forbidden; // what corun does at the start and what may not be done here, as "mprotect(PROT_EXEC): Operation not permitted"; nullptr: all may
};

machine look_at_machine();

} // namespace corun::launcher

#endif
