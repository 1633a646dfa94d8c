// SPDX-License-Identifier: Apache-2.0
// Whom a thread waits for, by what libc keeps in the memory at which it waits: who holds the mutex, or
// the thread that it joins. Other libraries' locks are nobody's here.
//
// Rules
//  - A mutex of glibc is told by the number it waits with, by its word, its owner, who is a thread of this
//    process, and its kind; a join by the word that the kernel zeroes when that thread ends. What looks like
//    that by chance would have to name live threads that wait for each other in turn to be called a deadlock.
//  - The memory is the program's: it is read, and not believed.
//  - `corun ps` does the same from outside (launcher/holders.cpp).
#pragma once

#include "co_hook/waist/worker.h"

#include <linux/futex.h>

namespace corun::waist {

// A call of futex that waits.
struct futex_wait {
    uint64_t at;
    int command;
    uint32_t value;

    explicit futex_wait(const frame &f)
        : at(f.rdi), command(static_cast<int>(f.rsi) & FUTEX_CMD_MASK),
          value(static_cast<uint32_t>(f.rdx)) {}
    bool is_plain() const { return command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET; }
    bool is_for_owner() const { return command == FUTEX_LOCK_PI || command == FUTEX_LOCK_PI2; }
};

// What a pthread_mutex_t of glibc begins with.
struct mutex_words {
    uint32_t lock, count;
    int owner;
    uint32_t users, kind;
};

// The number of a thread that holds the mutex, if that is what stands there; 0: it is none.
inline int holder_in(const futex_wait &w, const mutex_words &m) {
    constexpr uint32_t locked_and_waited_for = 2, known_kinds = 0x3ff;
    if (w.is_for_owner())
        return static_cast<int>(m.lock & FUTEX_TID_MASK);
    bool is_normal = w.value == locked_and_waited_for && m.lock == locked_and_waited_for;
    bool is_robust = (w.value & FUTEX_WAITERS) != 0 && m.lock == w.value &&
                     (m.lock & FUTEX_TID_MASK) == static_cast<uint32_t>(m.owner);
    bool is_mutex = (is_normal || is_robust) && m.users > 0 && (m.kind & ~known_kinds) == 0;
    return w.is_plain() && is_mutex ? m.owner : 0;
}

struct held_by {
    const thread *who = nullptr; // nullptr: nobody, or nobody knows
    bool by_end = false;         // it waits for that one's end
};
held_by holder_of(const thread *t); // one that is parked. FS base: the worker's

// For calls::futex_threads: the coroutine of that thread.
const coroutine *holder_of_coroutine(const coroutine *co);

} // namespace corun::waist
