// SPDX-License-Identifier: Apache-2.0
// THE blocking primitive. Everything that waits is built on these two; there is no second one.
//
//     static constexpr wait_kind sem_wait_kind{"sem", false, abandon_queue_wait};
//     ...
//     queue.push_back(&co->wait_link);
//     int r = park(sem_wait_kind, {.object = sem}, deadline_ns);  // the others run
//     // r: 0 somebody unparked us, or for nothing; -ETIMEDOUT; -ECANCELED
//
// Rules
//  - park may return 0 for nothing (an early co_resume, a wake-up that came from another thread too
//    late for the wait it was meant for): whoever calls it looks at its condition again.
//  - The caller has put itself where its waker finds it, and takes itself out after every return.
//  - park on the thread's own stack runs the loop until it is unparked.
//  - unpark: from any thread. On the coroutine's own thread it is made ready at once; from another
//    one it goes through the inbox (loop/inbox.h).
//  - The coroutine must not be freed while somebody may still unpark it: a waker takes it out of
//    the queue and unparks it under the lock that guards the queue.
#pragma once

#include "co_routine/base/clock.h"
#include "co_routine/core/env.h"

namespace corun {

int park(const wait_kind &kind, wait_subject subject, int64_t deadline_ns);
void unpark(coroutine *co);

// The coroutine that would park: the running one, or the thread's root. Makes the env if need be;
// nullptr: no memory.
inline coroutine *self_for_waiting() {
    co_env *env = current_env();
    return env ? env->running : nullptr;
}

} // namespace corun
