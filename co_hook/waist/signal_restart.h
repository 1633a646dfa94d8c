// SPDX-License-Identifier: Apache-2.0
// What a signal does to the call that a thread waits in.
#pragma once

#include "co_hook/waist/thread.h"

namespace corun::waist {

enum class interruption {
    never,    // the call ends by itself
    restarts, // goes on after a handler with SA_RESTART, else EINTR
    ends,     // EINTR after any handler
};
interruption interruption_of(long nr, const frame *f);

// Does it wait for descriptors, of which there may be none ready?
bool polls(long nr);

// Does the kernel look for a result once more before it says EINTR?
bool looks_once_more(long nr);

// Makes t, if it waits in such a call, leave it.
void interrupt(thread *t);
// What interrupt did is undone. Was there anything?
bool take_interruption(thread *t);

} // namespace corun::waist
