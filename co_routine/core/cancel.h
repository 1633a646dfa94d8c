// SPDX-License-Identifier: Apache-2.0
// Cancellation. A cancel is a flag; the coroutine acts on it itself, at a wait:
//
//     park() returns -ECANCELED -> each of our frames leaves its queues and returns
//         -> the public function, the last of our frames, calls leave_wait -> unwinding begins
//
// so unwinding crosses only the user's frames and never has to clean up after ours. It is forced
// unwinding, as pthread_cancel does it: destructors run, catch (...) runs and must rethrow.
#pragma once

#include "co_routine/core/env.h"

#include <cerrno>

namespace corun {

// Asks co, of this thread, to end: marks it and makes it ready if it is suspended.
// 0, ESRCH: it has ended, EINVAL: the thread's own stack.
int request_cancel(coroutine *co);

// True when a wait must return -ECANCELED instead of waiting.
inline bool must_leave_waits(const coroutine *co) {
    return CO_UNLIKELY(co->has(flag_cancel)) &&
           (co->has(flag_cancel_errno) || !co->has(flag_unwinding));
}

// Unwinds the running coroutine and ends it with CO_CANCELED.
[[noreturn]] void unwind_running();

// Every public function that waits returns through here with 0 or an errno value.
inline int leave_wait(int error) {
    if (CO_UNLIKELY(error == ECANCELED)) {
        coroutine *co = running_coroutine();
        if (co && must_leave_waits(co) && !co->has(flag_cancel_errno))
            unwind_running();
    }
    return error;
}

// Finds the unwinder now, on a stack with room for the dynamic linker. False: there is none.
bool prepare_unwinder();

} // namespace corun
