// SPDX-License-Identifier: Apache-2.0
// The queue behind everything in sync/: coroutines, first come, first served, linked through
// coroutine::wait_link, under the object's spin lock. What a waiter gets is handed to it while it
// sleeps (a grant), so nobody who comes later can take it first.
//
//     the one who waits                          the one who grants
//     lock; enqueue(q, self); unlock             lock; owner = q->first; out.take(q, owner); unlock
//     wait_in(rules, q, object, self, deadline)  out.wake()
//
// A waiter's mark (the low bits of coroutine::wait_slot) says how far it is:
//
//     queued --take, under the lock--> taken --wake, after the lock--> granted or refused
//        \--timeout, cancel, release: the waiter unlinks itself under the lock
//
// Rules
//  1. The granter touches the object for the last time when it gives the lock back, and the waiter
//     for the last time when it writes the final mark, after unpark. So a waiter that returns may
//     destroy the object at once, and end at once.
//  2. A waiter that finds a final mark does not touch the object: the granter may have destroyed it
//     (a receiver that took the last item, a signal followed by co_cond_free).
//  3. Only the waiter's own thread ends a wait by timeout, cancel or release, and only while the
//     mark says queued. With any other mark the grant has happened; it is kept or given back.
//  4. Nothing of a waiter but wait_link and wait_slot is touched by other threads.
#pragma once

#include "co_routine/loop/park.h"

namespace corun {

enum wait_mark : uintptr_t {
    mark_queued = 0,
    mark_taken = 1,   // out of the queue; its waker is about to write one of the next two
    mark_granted = 2, // it has what it waited for
    mark_refused = 3, // it was woken without: broadcast, close
    mark_bits = 3,
};

// The upper bits of wait_slot are the primitive's own while the waiter is queued and after.
inline uintptr_t slot_of(const coroutine *co) {
    return reinterpret_cast<uintptr_t>(__atomic_load_n(&co->wait_slot, __ATOMIC_ACQUIRE));
}
inline wait_mark mark_of(const coroutine *co) {
    return static_cast<wait_mark>(slot_of(co) & mark_bits);
}
inline uintptr_t payload_of(const coroutine *co) { return slot_of(co) & ~uintptr_t{mark_bits}; }

// Under the lock.
void enqueue(co_waitq *q, coroutine *co, uintptr_t payload = 0);

// Those who were taken out of their queue under the lock, to be woken after it.
class grants {
  public:
    void take(co_waitq *q, coroutine *co);  // under the lock
    void wake(wait_mark as = mark_granted); // after it

  private:
    coroutine *first_ = nullptr, *last_ = nullptr;
};

// What a primitive adds to the queue. The functions are called under the lock.
struct queue_rules {
    wait_kind kind;
    // A waiter left the queue with nothing: who may go on now? nullptr: nobody.
    void (*left)(void *object, grants *out);
    // It was granted (or refused: how) and cannot use it. nullptr: there is nothing to give back.
    void (*give_back)(void *object, coroutine *co, wait_mark how, grants *out);
    // A grant stands although the waiter was cancelled meanwhile: the cancel acts at its next wait.
    bool grant_stands;
    int refused_error; // what a refused waiter returns
};

// Parks self, which is in q, until it is granted or gives up: 0 or an errno value. The object begins
// with a co_waitq whose lock is the object's; q is that one or another.
int wait_in(const queue_rules &rules, co_waitq *q, void *object, coroutine *self,
            int64_t deadline_ns);

// For wait_kind::abandon: the coroutine is dropped, by co_release or in the child of a fork.
void abandon_wait(const queue_rules &rules, co_waitq *q, void *object, coroutine *co);

// For wait_kind::describe: ", held by #4". Another thread's may end at any moment, and is not followed.
unsigned describe_holder(char *out, unsigned size, const coroutine *owner);

// For wait_kind::holder: the owner, unless co has been granted what it waits for.
holder_key holder_while_queued(void *object, const coroutine *co, coroutine *const *owner);

// wait_kind::subject as the object it was given as.
inline void *waited_object(const coroutine *co) { return const_cast<void *>(co->subject.object); }

} // namespace corun
