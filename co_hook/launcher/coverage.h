// SPDX-License-Identifier: Apache-2.0
// Which system call instructions of a program and its libraries corun will lead through itself: the
// finder of co_hook/waist, on the files as the library will use it on what is loaded.
#ifndef CORUN_HOOK_LAUNCHER_COVERAGE_H
#define CORUN_HOOK_LAUNCHER_COVERAGE_H

#include "co_hook/launcher/check.h"

namespace corun::launcher {

struct object_coverage {
    const char *name;
    size_t sites, covered;
    int problem; // errno: it could not be looked at; 0
};

// Into all[0..most): those objects that have any. Calls that stay native and may wait
// stand against it: the library refuses such a program.
size_t find_coverage(const subject &s, object_coverage *all, size_t most, findings *out);

} // namespace corun::launcher

#endif
