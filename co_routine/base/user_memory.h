// SPDX-License-Identifier: Apache-2.0
// Pointers of the program that the runtime follows itself. Where they lead nowhere the kernel would say
// EFAULT, so they are touched before they are followed:
//
//     if (!can_read(message, sizeof *message))
//         return sys::call(...);               // the kernel says in its own order what is wrong
//
// A touch is one load or store. A door that receives SIGSEGV and SIGBUS sends it to touch_failed, as the
// kernel does with its own; without such a door a bad pointer is a fault, but for what no program has
// mapped (the first page, the kernel's half).
//
// Rules
//  - What was touched holds until the coroutine parks: nobody else unmaps meanwhile.
//  - can_write leaves what is there, in one step.
#pragma once

#include "co_routine/base/check.h"
#include "co_routine/base/raw_sys.h"

#include <cstring>

#pragma GCC visibility push(hidden)
extern "C" {
// user_memory.cpp. False: it faulted, and somebody has sent it to the end.
bool corun_touch_to_read(const void *at);
bool corun_touch_to_write(void *at);
extern char corun_touch_failed[];
}
#pragma GCC visibility pop

namespace corun {

// For whoever receives a fault at pc: where to go on, or 0 if it was no touch.
inline uintptr_t end_of_touch(uintptr_t pc) {
    auto low = reinterpret_cast<uintptr_t>(&corun_touch_to_read),
         high = reinterpret_cast<uintptr_t>(corun_touch_failed);
    return pc >= low && pc < high ? high : 0;
}
// Does somebody? Set once, by the door.
extern bool touches_are_caught;

// What the kernel never maps for a program: the first page, and its own half.
inline bool cannot_be_mapped(const void *address) {
    auto place = reinterpret_cast<uintptr_t>(address);
    return place < page_size || (sizeof(void *) == 8 && place >> 56 != 0);
}

bool can_read_pages(const void *at, size_t bytes);
bool can_write_pages(void *at, size_t bytes);

inline bool lies_in_one_page(const void *at, size_t bytes) {
    return bytes - 1 < page_size - reinterpret_cast<uintptr_t>(at) % page_size; // not for no bytes
}
// Each page is touched, and mostly there is one.
inline bool can_read(const void *at, size_t bytes) {
    if (CO_LIKELY(lies_in_one_page(at, bytes)))
        return !cannot_be_mapped(at) && corun_touch_to_read(at);
    return can_read_pages(at, bytes);
}
inline bool can_write(void *at, size_t bytes) {
    if (CO_LIKELY(lies_in_one_page(at, bytes)))
        return !cannot_be_mapped(at) && corun_touch_to_write(at);
    return can_write_pages(at, bytes);
}

template <class T> bool user_read(const void *at, T *value) {
    if (!can_read(at, sizeof *value))
        return false;
    memcpy(value, at, sizeof *value);
    return true;
}
template <class T> bool user_write(void *at, const T &value) {
    if (!can_write(at, sizeof value))
        return false;
    memcpy(at, &value, sizeof value);
    return true;
}

// All of it or false, behind every door: where nobody catches touches, the kernel copies. Where a sandbox
// forbids it that too, it is done by hand.
bool copy_from_user(void *ours, const void *users, size_t bytes);
bool copy_to_user(void *users, const void *ours, size_t bytes);

} // namespace corun
