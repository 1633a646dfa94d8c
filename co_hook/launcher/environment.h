// SPDX-License-Identifier: Apache-2.0
// What is handed over to the program: libcorun_waist.so in front of LD_PRELOAD, and what it is to do.
// The library takes both out of the program's environment again, unless children are to inherit them.
#ifndef CORUN_HOOK_LAUNCHER_ENVIRONMENT_H
#define CORUN_HOOK_LAUNCHER_ENVIRONMENT_H

#include "co_hook/launcher/options.h"

namespace corun::launcher {

// libcorun_waist.so, beside the launcher in a build tree, in lib/corun where it is installed. nullptr:
// there is none; *looked then says where it was looked for.
const char *find_waist(const char **looked);

// Sets LD_PRELOAD, CORUN_OPTIONS and CORUN_DEBUG. nullptr, or why it cannot be.
const char *hand_over(const options &o, const char *waist);

// A library that LD_PRELOAD or `needed` names and that cannot stand beside corun; nullptr: none.
const char *rival_in_preload();
bool is_rival(const char *name);

} // namespace corun::launcher

#endif
