// SPDX-License-Identifier: Apache-2.0
// Who owns a lock: the coroutine, by a number that no thread can have. It goes where libc keeps the
// owner's thread id (mutex, rwlock), so that two coroutines of one thread are two owners, and libc's
// own code, run by a plain thread, sees somebody else.
//
//     m->__data.__owner = owner_id(co);
//     if (is_coroutine(owner)) ...     // unlocked by a hook for certain; a thread may do it inside libc
//
// Thread ids are below 2^22 (the kernel's PID_MAX_LIMIT). Coroutine ids are unique in the process
// (core/coroutine.cpp) until 2^32 were created; the number of one that was created 4 thousand million
// coroutines ago and still holds a lock may come again.
#pragma once

#include "co_routine/base/check.h"
#include "co_routine/core/coroutine.h"

namespace corun::calls {

inline constexpr uint32_t first_owner = 1U << 23;

inline int owner_id(const coroutine *co) {
    uint32_t number = co->id + first_owner;
    return static_cast<int>(number >= first_owner ? number : number | first_owner);
}

inline bool is_coroutine(int owner) { return static_cast<uint32_t>(owner) >= first_owner; }

// For wait_kind::describe: ", held by #4"; the length.
inline unsigned describe_owner(char *out, unsigned size, int owner) {
    if (owner == 0)
        return 0;
    if (!is_coroutine(owner))
        return format_line(out, size, ", held by thread %d", owner);
    return format_line(out, size, ", held by #%u", static_cast<uint32_t>(owner) - first_owner);
}

// For wait_kind::holder.
inline holder_key key_of_owner(int owner) {
    return key_of_number(static_cast<uint32_t>(owner) - first_owner);
}

} // namespace corun::calls
