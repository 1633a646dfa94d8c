// SPDX-License-Identifier: Apache-2.0
// The futexes whose word names an owner: FUTEX_LOCK_PI and its kin, and robust lists. For a door whose
// coroutines are the program's threads (calls/futex.h, futex_threads): the owner is a thread's number.
//
// Rules
//  - The word is the kernel's: the owner's number, FUTEX_WAITERS, FUTEX_OWNER_DIED. A free lock is
//    taken by who asks, one that is unlocked goes to who has waited longest.
//  - All coroutines run alike: there is no priority to inherit.
//  - An owner in another process, of a lock that is shared, is waited for by looking again. Its death is
//    seen (ESRCH) where the number is the kernel's. One that is no thread of this process owns no private
//    lock: ESRCH.
#pragma once

#include "co_hook/calls/address_wait.h"
#include "co_routine/base/raw_sys.h"

namespace corun::calls {

sys::word lock_owned(int *at, bool shared, wait_deadline deadline);
sys::word try_lock_owned(int *at, bool shared);
sys::word unlock_owned(int *at);
// FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI: who is woken at `at` takes the lock himself, in turn.
sys::word wait_and_lock_owned(int *at, uint32_t value, wait_deadline deadline, int *lock,
                              bool shared);
sys::word wake_to_lock_owned(int *at, int *lock, int wake, int move, uint32_t value);

// The end of a thread: what it still owned is marked, and who waits for it has it. list: as
// set_robust_list has it, or nullptr.
void give_up_owned(int tid, const void *robust_list);
// The same where the process ends, and nobody here is to have anything any more: what other processes share.
void give_up_listed(int tid, const void *robust_list);

} // namespace corun::calls
