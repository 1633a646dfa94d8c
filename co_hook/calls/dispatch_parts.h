// SPDX-License-Identifier: Apache-2.0
// The parts of dispatch(): each knows some numbers, and says false to the others.
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

// What makes, copies, changes and closes descriptors, in coroutines and outside.
bool dispatch_descriptor_call(long nr, const word (&a)[6], bool in_coroutine, word *result);

// In coroutines. dispatch_sockets.cpp: their calls, but for what makes them.
bool dispatch_socket_call(long nr, const word (&a)[6], word *result);
#if defined(__i386__)
// From socketcall(2) to the call that it means, if it is one of ours; -EFAULT.
word unpack_socketcall(const word (&a)[6], long *nr, word (&words)[6]);
#endif
// dispatch_files.cpp: files and their names, locks, copies.
bool dispatch_file_call(long nr, const word (&a)[6], word *result);
// dispatch_waits.cpp: epoll, signals, children, messages and semaphores.
bool dispatch_wait(long nr, const word (&a)[6], word *result);

} // namespace corun::calls
