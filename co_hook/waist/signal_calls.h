// SPDX-License-Identifier: Apache-2.0
// The system calls that send signals, and those that depend on how they are sent: signal_calls.cpp.
#pragma once

#include "co_hook/waist/thread.h"

namespace corun::waist {

// tgkill and its kin, timers, exec. False: none of these.
bool sending_call(thread *self, long nr, const word (&a)[6], word *result);

} // namespace corun::waist
