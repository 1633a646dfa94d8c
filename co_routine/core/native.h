// SPDX-License-Identifier: Apache-2.0
// Where no call may yield, although a coroutine runs and its hooks are on:
//
//     handler_mark mark(frame);       // a signal handler begins, below this frame
//     begin_borrowing();              // from here on a vfork child may run on our memory
//     if (must_be_native()) ...       // a hook asks: then it is libc's own call
//
// Rules
//  - A signal handler may have interrupted anything: the loop in the middle of its queues, or malloc.
//    What it calls is native, and touches no queue.
//  - A handler that is left by siglongjmp leaves its mark behind. A mark counts only while somebody
//    stands below its frame, on the same stack and in the same coroutine; else it is forgotten.
//  - The child of vfork shares the thread pointer too, so what the parent writes before is what the
//    child reads. The parent stands still until the child is gone, and takes it back.
#pragma once

#include "co_routine/core/env.h"

namespace corun {

struct native_marks {
    unsigned handlers = 0;
    unsigned borrowed = 0;
    struct {
        const coroutine *running;
        const char *frame;
    } handler[8] = {};
};
extern constinit thread_local native_marks tls_native __attribute__((visibility("hidden")));

bool native_still_holds(); // for must_be_native

inline bool must_be_native() {
    return CO_UNLIKELY((tls_native.handlers | tls_native.borrowed) != 0) && native_still_holds();
}

// A vfork child: nothing of the process may be noted or changed.
inline bool memory_is_borrowed() { return tls_native.borrowed != 0; }
inline void begin_borrowing() { ++tls_native.borrowed; }
inline void end_borrowing() { --tls_native.borrowed; }

// Is this code part of a signal handler that we know of?
inline bool in_handler() {
    return CO_UNLIKELY(tls_native.handlers != 0) && !memory_is_borrowed() && native_still_holds();
}

// For the length of a handler.
class handler_mark {
  public:
    explicit handler_mark(const void *frame); // of the function that makes it
    ~handler_mark() { tls_native.handlers = former_; }
    handler_mark(const handler_mark &) = delete;
    handler_mark &operator=(const handler_mark &) = delete;

  private:
    unsigned former_;
};

} // namespace corun
