// SPDX-License-Identifier: Apache-2.0
// The names of the system calls that a thread may be found in: those that may wait, or take long.
#pragma once

namespace corun {

// Its name, or nullptr: it is none of these.
const char *call_name(long number);

} // namespace corun
