// SPDX-License-Identifier: Apache-2.0
// From a system call's number to what it means in calls/: for doors that see numbers.
//
//     word result;
//     if (!dispatch(nr, arguments, in_coroutine, &result))
//         ...the system call itself...
//
// What it does not know may block the thread. Outside coroutines it knows what coroutines must hear
// of: wakes of futexes, and closed and replaced descriptors.
#pragma once

#include "co_hook/calls/calls.h"

namespace corun::calls {

bool dispatch(long nr, const word (&a)[6], bool in_coroutine, word *result);

} // namespace corun::calls
