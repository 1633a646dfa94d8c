// SPDX-License-Identifier: Apache-2.0
// futex(2). Coroutines wait in the table of calls/address_wait.h, threads in the kernel, and a wake
// serves both: coroutines first, but every sixteenth wake looks into the kernel first, so that
// neither side starves.
//
//     word r = calls::futex({&word, FUTEX_WAIT_PRIVATE, 1, &timeout, nullptr, 0}, false, true);
//
// Rules
//  - Any thread may call it, so that the wakes of plain threads reach coroutines: their waits are the
//    kernel's own.
//  - Without FUTEX_PRIVATE_FLAG the word may lie in memory that other processes share. The kernel
//    is asked (/proc/self/pagemap); if it does, the wait is the real one, on a helper of its own.
//    A coroutine released in such a wait leaves the helper there until the next wake, which
//    it hands on.
//  - No cancellation point, as in threads: syscall() is noexcept, and so is std::atomic::wait. A
//    cancel stays pending until the next wait that it may end.
//  - The operations with priority inheritance are the kernel's, and block the thread: their owner is
//    a tid; unless all threads are coroutines (below). futex_waitv and the futex2 calls are always
//    the kernel's: futex_wake (454) wakes no coroutine.
//  - Wakes may be made in a signal handler. One that finds its own thread in the middle of a wake
//    or a wait of a coroutine counts no coroutines in its result.
//  - Of bad addresses only those that can be none give EFAULT; others fault here (calls.h).
#pragma once

#include "co_hook/calls/calls.h"
#include "co_routine/core/coroutine.h"

namespace corun::calls {

// a: the call's arguments; time64: the timeout has 64-bit seconds (always so on x86_64).
word futex(const word (&a)[6], bool time64, bool in_coroutine);

// A door whose coroutines are the program's threads says so here, before the first of them waits. Then
// no thread of the program waits in the kernel with a private futex, so that its wakes stay here; a
// number names the owner of a lock (calls/futex_owner.h); and a wait ends when the door interrupts it.
struct futex_threads {
    int (*tid_of)(const coroutine *co);
    bool (*is_alive)(int tid);
    // The one that has the lock at which co waits, or the thread whose end it waits for, by what libc keeps
    // in memory; nullptr: nobody, or nobody knows.
    const coroutine *(*holder_of)(const coroutine *co);
    bool (*is_private)(const void *address); // certainly; false: the kernel is asked
};
extern const futex_threads *all_threads_are_coroutines __attribute__((visibility("hidden")));

} // namespace corun::calls
