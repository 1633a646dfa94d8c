// SPDX-License-Identifier: Apache-2.0
// The parts of dispatch(): each knows some numbers, and says false to the others. In coroutines.
#pragma once

#include "co_hook/calls/calls.h"

#include <type_traits>

namespace corun::calls {

inline constexpr bool words_are_long = sizeof(long) == 8; // then every time is a time64

template <class T> T as(word w) {
    if constexpr (std::is_pointer_v<T>)
        return reinterpret_cast<T>(w);
    else
        return static_cast<T>(w);
}

// dispatch_files.cpp: files and their names, locks, copies.
bool dispatch_file_call(long nr, const word (&a)[6], word *result);
// dispatch_waits.cpp: epoll, signals, children, messages and semaphores.
bool dispatch_wait(long nr, const word (&a)[6], word *result);

} // namespace corun::calls
