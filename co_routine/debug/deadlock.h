// SPDX-License-Identifier: Apache-2.0
// Coroutines that wait for each other for ever, found as the loop is about to sleep:
//
//     corun: deadlock: coroutine 'a' (#1) waits for coroutine 'b' (#2), which waits for coroutine 'a' (#1)
//     #1 'a' parked in mutex (0x55d0c1a0, held by #2) for 12 ms; private stack 131072 bytes, 1208 used
//         #0 0x5581d0c0de0e co_mutex_lock+0x5e (./prog+0x11e0e)
//     corun: all coroutines are asleep: 3 wait, and nothing is left that could wake one
//
// Rules
//  - No report is false. A cycle is one of locks with a known owner (mutexes, rwlocks that are held for
//    writing) and of joins, each waited for without a time limit by coroutines of one thread: whatever
//    else runs, only a cancel can end it, or who unlocks another one's pthread mutex. Some programs do
//    that, as if it were a semaphore, so one that waits for itself is not called a deadlock while others run.
//  - All are asleep if each that waits does so for what other coroutines alone do, no deadline is left,
//    there is no other thread in the process, and it handles no signal (faults that corun alone reports do
//    not count). Those who yielded are nobody's to wake. So a server that waits for a connection is not asleep.
//  - All are looked at when the loop has nothing to do until a descriptor or a deadline comes, once in
//    about a second (of at most 16,384 coroutines, and not for more than a thousandth of the time); and each
//    time when it is to sleep for ever, but where one of them, or another thread, may end that.
//  - Each cycle is reported once, 16 of them at most, and that all are asleep once in a process; the
//    child of a fork begins anew. Nothing else happens: it goes on sleeping, as threads would.
//  - Cycles that pass through another thread's coroutines are not seen: they are not ours to read.
#pragma once

#include "co_routine/base/raw_vector.h"
#include "co_routine/core/env.h"

namespace corun {

// Those of one thread that wait for each other, as they are now. One that waits for itself is a cycle where
// all are asleep.
class wait_cycles {
  public:
    explicit wait_cycles(const co_env *env, bool all_asleep = false);
    size_t count() const { return first_.size(); }
    const coroutine *first(size_t cycle) const { return first_[cycle]; } // of its lowest number
    const coroutine *next(const coroutine *co) const; // of one in a cycle: whom it waits for
    bool has(const coroutine *co) const;

  private:
    struct waiter {
        holder_key key, holder;
        const coroutine *co; // nullptr: a free place
        size_t walk;         // the one that has met it
    };
    void add(const coroutine *co, holder_key key, holder_key holder);
    size_t find(holder_key key) const; // its place; places_: it waits for nobody
    size_t place_of(holder_key key) const;
    void walk_from(size_t at, bool counts_itself);

    size_t places_ = 0;
    raw_vector<waiter> table_; // by key
    raw_vector<const coroutine *> first_;
};

// "deadlock: coroutine #1 waits for ..."; named: how one is called. Returns the length.
using name_of_coroutine = unsigned (*)(char *out, unsigned size, const coroutine *co);
unsigned format_cycle(char *out, unsigned size, const wait_cycles &cycles, size_t cycle,
                      name_of_coroutine name);

inline constexpr unsigned most_asleep_listed = 16;

// What a door does its own way; co_hook/waist puts its own here.
struct deadlock_door {
    // By something that is no coroutine of env's, though they all wait for coroutines.
    bool (*may_be_woken)(const co_env *env);
    // In the loop: that all are asleep, or that there are cycles which were not reported.
    void (*report)(co_env *env, bool all_asleep);
};
extern deadlock_door deadlocks __attribute__((visibility("hidden")));

bool was_reported(const wait_cycles &cycles, size_t cycle);
void note_reported(const wait_cycles &cycles, size_t cycle);
// Waits for other coroutines, and no deadline ends that.
bool is_asleep(const coroutine *co);

} // namespace corun
