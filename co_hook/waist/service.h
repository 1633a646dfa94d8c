// SPDX-License-Identifier: Apache-2.0
// A coroutine of the runtime's own beside the program's threads, on a stack of its own.
//
//     service dispatcher;
//     dispatcher.start(w, dispatch_forever);   // parks with nobody to unpark it but
//     dispatcher.wake();                       // this: from anywhere, also from a signal handler
#pragma once

#include "co_routine/core/env.h"

namespace corun::waist {

struct worker;

class service {
  public:
    // Again in the child of a fork. False: no memory.
    bool start(worker *w, pfn_co_routine_t main, size_t stack_bytes = 16 * 1024);
    void wake();

  private:
    char *stack_ = nullptr;
    coroutine *co_ = nullptr;
};

// Parks the running service until then, whatever wakes it; -ENOMEM ends it sooner.
void pause_until(int64_t deadline_ns);

} // namespace corun::waist
