// SPDX-License-Identifier: Apache-2.0
// What the table says about memory, by system calls alone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace corun::waist {

// From /proc/self/status, in KiB; 0: not known.
struct memory_use {
    size_t resident = 0, most_resident = 0, page_tables = 0;
};
memory_use memory_now();

// Bytes from the lowest one in use to high: the first page of [low, high) that is in memory and not
// all zeros counts from its first byte that is not zero. Pages that were swapped out, and frames of
// nothing but zeros, are not seen. 0: nothing.
size_t stack_used(uintptr_t low, uintptr_t high);

} // namespace corun::waist
