// SPDX-License-Identifier: Apache-2.0
// corun top: what corun ps lists, again and again, with what happened in between.
#ifndef CORUN_HOOK_LAUNCHER_TOP_H
#define CORUN_HOOK_LAUNCHER_TOP_H

namespace corun::launcher {

// The words behind "top". Returns the status to end with.
int top(char **words);

} // namespace corun::launcher

#endif
