// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/futex_owner.h"

#include "co_hook/calls/back_off.h"
#include "co_hook/calls/futex.h"

#include "co_routine/base/user_memory.h"

#include <cerrno>
#include <climits>
#include <cstring>
#include <linux/futex.h>

namespace corun::calls {
namespace {

using sys::word;

holder_key holder(const coroutine *co) {
    return is_woken(co) ? 0 : key_of(all_threads_are_coroutines->holder_of(co));
}

constexpr wait_kind owner_kind{"futex (lock)",    false, abandon_address_wait, nullptr,
                               ended_by::program, holder};
constexpr wait_kind requeue_kind{"futex (requeue)", false, abandon_address_wait, nullptr,
                                 ended_by::program};

constexpr uint32_t as_owner_to_be = 0; // the bitset: calls/address_wait.h
constexpr uint32_t number_bits = FUTEX_TID_MASK, died = FUTEX_OWNER_DIED, waiters = FUTEX_WAITERS;

unsigned waiting; // atomic: how many wait to be owners

uint32_t *word_at(const void *at) { return static_cast<uint32_t *>(const_cast<void *>(at)); }
uint32_t load(const void *at) { return __atomic_load_n(word_at(at), __ATOMIC_SEQ_CST); }
bool exchange(const void *at, uint32_t *seen, uint32_t next) {
    return __atomic_compare_exchange_n(word_at(at), seen, next, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}
uint32_t number_of(const coroutine *co) {
    return static_cast<uint32_t>(all_threads_are_coroutines->tid_of(co));
}

// What one who wants the lock finds.
struct attempt {
    uint32_t tid;
    bool only_try, shared;
    int result;
};

// No thread of this process; a number of the kernel's tells whether there is one at all.
bool is_gone(uint32_t owner, bool shared) {
    auto tid = static_cast<int>(owner);
    return !shared || (tid <= sys::highest_tid && sys::call(SYS_kill, tid, 0) == -ESRCH);
}

// True: there is a result. False: somebody has it, and knows now that there are waiters, if it is a thread
// of ours. Under the queue's lock, so that an unlock comes before or after.
bool take(const void *at, uintptr_t argument) {
    auto *a = reinterpret_cast<attempt *>(argument);
    uint32_t seen = load(at);
    for (;;) {
        uint32_t owner = seen & number_bits;
        if (owner == a->tid)
            return a->result = -EDEADLK, true;
        if (owner == 0) {
            if (exchange(at, &seen, (seen & (died | waiters)) | a->tid))
                return a->result = 0, true;
            continue;
        }
        bool here = all_threads_are_coroutines->is_alive(static_cast<int>(owner));
        if (!here && is_gone(owner, a->shared))
            return a->result = -ESRCH, true;
        if (a->only_try)
            return a->result = -EAGAIN, true;
        if (!here)
            return false; // it unlocks without a word to us
        if ((seen & waiters) || exchange(at, &seen, seen | waiters))
            return false;
    }
}

// An unlock: the first of the waiters is the owner now.
void hand_over(coroutine *co, const void *at, uintptr_t) {
    uint32_t seen = load(at);
    while (!exchange(at, &seen, co ? number_of(co) | waiters : 0)) {
    }
}

bool differs(const void *at, uintptr_t value) { return load(at) != value; }

// The thread's locks that are in no list: whoever waits for one of them has it.
bool inherit(coroutine *co, const void *at, uintptr_t tid) {
    uint32_t seen = load(at);
    do {
        uint32_t owner = seen & number_bits;
        if (owner != tid && !(owner == 0 && (seen & died)))
            return false;
    } while (!exchange(at, &seen, number_of(co) | waiters | died));
    return true;
}

// A robust list, as the kernel reads it from the program's memory.
struct list_entry {
    uintptr_t next; // bit 0: the lock that holds next is an owned one
};
struct list_head_of_thread {
    list_entry first;
    long word_offset; // from an entry to its lock's word
    uintptr_t pending;
};
constexpr unsigned longest_list = 2048;
constexpr uintptr_t owned_bit = 1;

bool read_memory(void *out, uintptr_t at, size_t bytes) {
    return copy_from_user(out, reinterpret_cast<const void *>(at), bytes);
}

void wake_one_at(uintptr_t at) {
    const word a[6] = {static_cast<word>(at), FUTEX_WAKE, 1, 0, 0, 0};
    futex(a, sizeof(word) == 8, true);
}

// False: the rest of the list is not to be trusted.
bool mark_as_died(uintptr_t at, uint32_t tid, bool owned, bool pending) {
    uint32_t seen;
    if (at % sizeof seen != 0 || !read_memory(&seen, at, sizeof seen))
        return false;
    void *word_of_lock = reinterpret_cast<void *>(at);
    if (!can_write(word_of_lock, sizeof seen))
        return false;
    do {
        if (pending && !owned && seen == 0) { // unlocked already, and its waiter not yet woken
            wake_one_at(at);
            return true;
        }
        if ((seen & number_bits) != tid)
            return true;
    } while (!exchange(word_of_lock, &seen, (seen & waiters) | died));
    if (!owned && (seen & waiters))
        wake_one_at(at);
    return true;
}

void walk(uintptr_t list, uint32_t tid) {
    list_head_of_thread head;
    if (!read_memory(&head, list, sizeof head))
        return;
    auto word_of = [&](uintptr_t entry) {
        return (entry & ~owned_bit) + static_cast<uintptr_t>(head.word_offset);
    };
    uintptr_t entry = head.first.next;
    for (unsigned n = 0; (entry & ~owned_bit) != list && n < longest_list; ++n) {
        list_entry e;
        bool more = read_memory(&e, entry & ~owned_bit, sizeof e);
        if ((entry & ~owned_bit) != (head.pending & ~owned_bit) &&
            !mark_as_died(word_of(entry), tid, (entry & owned_bit) != 0, false))
            return;
        if (!more)
            break;
        entry = e.next;
    }
    if (head.pending & ~owned_bit)
        mark_as_died(word_of(head.pending), tid, (head.pending & owned_bit) != 0, true);
}

} // namespace

word lock_owned(int *at, bool shared, wait_deadline deadline) {
    attempt a{number_of(tls_env->running), false, shared, 0};
    back_off pauses;
    for (;;) {
        wait_deadline until = shared ? deadline.within(pauses.next_ns()) : deadline;
        __atomic_fetch_add(&waiting, 1U, __ATOMIC_SEQ_CST);
        int r = wait_at_regardless(owner_kind, at, take, reinterpret_cast<uintptr_t>(&a), until,
                                   as_owner_to_be);
        __atomic_fetch_sub(&waiting, 1U, __ATOMIC_SEQ_CST);
        if (r == -EAGAIN)
            return a.result;
        if (!deadline.goes_on(r))
            return r;
        if ((load(at) & number_bits) == a.tid)
            return 0;
    }
}

word try_lock_owned(int *at, bool shared) {
    attempt a{number_of(tls_env->running), true, shared, 0};
    take(at, reinterpret_cast<uintptr_t>(&a));
    return a.result;
}

word unlock_owned(int *at) {
    uint32_t tid = number_of(tls_env->running);
    if ((load(at) & number_bits) != tid)
        return -EPERM;
    if (!can_write(at, sizeof tid))
        return -EFAULT;
    hand_over_at(at, hand_over, 0);
    return 0;
}

word wait_and_lock_owned(int *at, uint32_t value, wait_deadline deadline, int *lock, bool shared) {
    int r = wait_at_regardless(requeue_kind, at, differs, value, deadline);
    return r == 0 ? lock_owned(lock, shared, deadline) : r;
}

word wake_to_lock_owned(int *at, int *lock, int wake, int move, uint32_t value) {
    if (wake != 1 || move < 0 || at == lock)
        return -EINVAL;
    if (differs(at, value))
        return -EAGAIN;
    return wake_at(at, move < INT_MAX ? wake + move : move);
}

void give_up_listed(int tid, const void *robust_list) {
    if (!robust_list)
        return;
    // Mostly an empty one: its head points to itself.
    const auto *head = static_cast<const list_head_of_thread *>(robust_list);
    auto list = reinterpret_cast<uintptr_t>(robust_list);
    if (can_read(head, sizeof *head) && (head->first.next != list || head->pending != 0))
        walk(list, static_cast<uint32_t>(tid));
}

void give_up_owned(int tid, const void *robust_list) {
    give_up_listed(tid, robust_list);
    if (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST) != 0)
        wake_owners_to_be(inherit, static_cast<uintptr_t>(tid));
}

} // namespace corun::calls
