// SPDX-License-Identifier: Apache-2.0
// corun dump PID and its kin: what is asked of a process that runs under corun.
#ifndef CORUN_HOOK_LAUNCHER_INSPECT_H
#define CORUN_HOOK_LAUNCHER_INSPECT_H

namespace corun::launcher {

// Do the words ask for one of these? A program of the same name is started by "corun -- dump".
bool asks_for_inspection(char **arguments);
int inspect(char **arguments); // the status to end with

} // namespace corun::launcher

#endif
