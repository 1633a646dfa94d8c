// SPDX-License-Identifier: Apache-2.0
// What a thread may do: credentials, capabilities, namespaces, filters. The kernel keeps them for each of
// its threads, and all threads of the program are one of those.
//  - What libc changes for all threads (set*id) is changed once, and every thread has that result.
//  - What is for all threads anyway (SECCOMP_FILTER_FLAG_TSYNC), or only takes away what nobody could
//    want back (no_new_privs), is made as it is.
//  - What is meant for one thread alone is refused while there are others: EPERM, and a line that names
//    the call and says what to do.
//  - Helpers end before a change (calls/credentials.h), and come back with what is in force then.
//  - Under a seccomp filter nothing goes through io_uring, which would carry calls past it.
#pragma once

#include "co_hook/waist/thread.h"

namespace corun::waist {

// False: none of these.
bool rights_call(thread *self, long nr, const word (&a)[6], word *result);
// libc begins to change credentials in all threads, by a signal to each: caller's own call is the last.
void rights_round_begins(const thread *caller);

// Does it set a seccomp filter? To be told when it has, also while there is one thread.
bool sets_filter(long nr, const word (&a)[6]);
void filter_is_set();
// At the start: one that was there before.
void look_for_filter();

} // namespace corun::waist
