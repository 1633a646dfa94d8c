// SPDX-License-Identifier: Apache-2.0
// The names of the system calls, as <sys/syscall.h> had them when this was built.
#pragma once

namespace corun {

const char *call_name(long number); // "read"; nullptr: it has none

} // namespace corun
