// SPDX-License-Identifier: Apache-2.0
// Kernel threads for co_routine's helpers (loop/offload_helpers.h), made without libc: a thread of the
// program that is parked may hold the locks that pthread_create takes.
//
// They have a stack, and thread-local storage for what this library keeps there; glibc does not know
// them. What they do is system calls: libc's functions need more than that.
#pragma once

namespace corun::waist {

void make_helpers_without_libc(); // before the first one

} // namespace corun::waist
