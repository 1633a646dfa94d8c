// SPDX-License-Identifier: Apache-2.0
// Whom a thread waits for, by what libc keeps in the memory at which it waits: who holds the mutex, or
// the thread that it joins. Other libraries' locks are nobody's here.
//
// Rules
//  - A mutex of glibc is told by the number it waits with, by its word, its owner, who is a thread of this
//    process, and its kind; a join by the word that the kernel zeroes when that thread ends. What looks like
//    that by chance would have to name live threads that wait for each other in turn to be called a deadlock.
//  - The memory is the program's: it is read, and not believed.
#pragma once

#include "co_hook/waist/worker.h"

namespace corun::waist {

struct held_by {
    const thread *who = nullptr; // nullptr: nobody, or nobody knows
    bool by_end = false;         // it waits for that one's end
};
held_by holder_of(const thread *t); // one that is parked. FS base: the worker's

// For calls::futex_threads: the coroutine of that thread.
const coroutine *holder_of_coroutine(const coroutine *co);

} // namespace corun::waist
