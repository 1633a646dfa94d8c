// SPDX-License-Identifier: Apache-2.0
// Coroutines that wait for something at an address to change: what a futex is to threads. Under the
// pthread primitives, C11's and std::atomic::wait, whose words stay as libc lays them out, so that a
// plain thread may be on the other side.
//
//     coroutine                                            waker (coroutine or plain thread)
//     wait_at(kind, &word, still_locked, 2, deadline)      word = 0; wake_at(&word, 1)
//
// Rules
//  1. Wakers make their change first, then call wake_at, which begins with a full fence; the waiter
//     counts itself as waiting, then asks its question, under the queue's lock. So one of the two
//     sees the other, and no change is lost.
//  2. wake_at is that fence and one load where nobody waits. From any thread, also one that has no
//     coroutines; inside a signal handler only wake_at_in_handler.
//  3. The kernel knows nothing of these waiters: who wakes must be a hooked name, or say so itself.
//  4. First come, first served, per address. Addresses are multiples of four, as a futex's.
//  5. A waiter is touched for the last time when its slot says woken, under the lock, after unpark.
//     One that was woken and leaves by a cancel or a release hands the wake on: to the next one, or
//     to a thread that waits in the kernel.
//  6. Spin locks, held for as long as it takes to walk the waiters of one bucket. `changed` runs
//     under one: it reads a word or two, and calls nothing that locks.
//  7. In the child of a fork nobody waits but the thread's own stack, which is woken for nothing.
#pragma once

#include "co_hook/calls/wait_deadline.h"

#include "co_routine/loop/park.h"

namespace corun::calls {

// A door that has every waiter and every waker on one kernel thread, and none in a signal handler, says
// so before the first of them comes: then nothing here needs a locked instruction.
extern bool all_wait_and_wake_on_one_thread __attribute__((visibility("hidden")));

// Parks unless changed(address, argument). 0: woken (or for nothing: look again); -EAGAIN: changed
// already; -ETIMEDOUT, -ECANCELED; -ENOMEM. bitset: as FUTEX_WAIT_BITSET. The kind's abandon
// is abandon_address_wait.
int wait_at(const wait_kind &kind, const void *address,
            bool (*changed)(const void *address, uintptr_t argument), uintptr_t argument,
            wait_deadline deadline, uint32_t bitset = ~0U);
void abandon_address_wait(coroutine *co);
// The same for what is no cancellation point and must not be unwound (libc declares it noexcept):
// a cancel does not end the wait; it stays pending until the next one that it may end.
int wait_at_regardless(const wait_kind &kind, const void *address,
                       bool (*changed)(const void *address, uintptr_t argument), uintptr_t argument,
                       wait_deadline deadline, uint32_t bitset = ~0U);
// The same where a cancel ends the wait, and one that was woken as well is woken (0): somebody takes the
// cancel back.
int wait_at_interruptibly(const wait_kind &kind, const void *address,
                          bool (*changed)(const void *address, uintptr_t argument),
                          uintptr_t argument, wait_deadline deadline, uint32_t bitset = ~0U);

// Somebody has woken co, which waits here, and it has not run since.
bool is_woken(const coroutine *co);
// False: nobody waits at address (nor at others that share its queue). Begins with the waker's fence.
bool may_be_waited_at(const void *address);
// Wakes at most n of those that wait at address (and whose bitset meets bitset); how many.
int wake_at(const void *address, int n, uint32_t bitset = ~0U);
// The same for what a signal handler may do (sem_post). Where the handler has interrupted this very
// table the wake comes right after, and the result is 0.
int wake_at_in_handler(const void *address, int n, uint32_t bitset = ~0U);
// FUTEX_REQUEUE: wakes some, moves others to another address. How many were woken or moved (*woken:
// of these); -EAGAIN when changed(from, argument) is given and true.
int requeue_at(const void *from, const void *to, int wake, int move,
               bool (*changed)(const void *address, uintptr_t argument) = nullptr,
               uintptr_t argument = 0, int *woken = nullptr);

// Those that wait with a bitset of 0, as owners to be (FUTEX_LOCK_PI), are woken by these alone. Takes
// out the first one at address and wakes it; chosen is called under the lock, before it can run, also
// with nullptr: there is nobody. It reads and writes a word or two.
void hand_over_at(const void *address,
                  void (*chosen)(coroutine *co, const void *address, uintptr_t argument),
                  uintptr_t argument);
// Calls f for each of them, at whatever address, under the lock; true: it is taken out and woken.
void wake_owners_to_be(bool (*f)(coroutine *co, const void *address, uintptr_t argument),
                       uintptr_t argument);

} // namespace corun::calls
