// SPDX-License-Identifier: Apache-2.0
// What threads are called: by prctl of themselves, and by others as libc does it, through the file
// /proc/self/task/TID/comm, which the kernel has not got. In its place stands a file in memory; what
// was written there is the name when it is closed.
#pragma once

#include "co_hook/waist/thread.h"

namespace corun::waist {

// PR_SET_NAME and PR_GET_NAME. False: it is the kernel's, for the first thread.
bool name_call(thread *self, const word (&a)[6], word *result);
void inherit_name(const thread *self, thread *child);

// The kernel found no such file: a descriptor for it, or its error.
word open_name(const char *path, word flags);
void name_is_closing(int fd);

// "thread 250413059 'worker'", with nothing in it that a terminal would obey. Returns the length.
unsigned describe_thread(char *out, unsigned size, const thread *t);

} // namespace corun::waist
