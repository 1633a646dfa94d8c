// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/address_wait.h"

#include "co_hook/calls/address_table.h"
#include "co_hook/calls/wait.h"

#include <cerrno>
#include <linux/futex.h>
#include <new>

namespace corun::calls {
namespace {

int wake_some(const void *address, int n, uint32_t bitset, bool in_handler) {
    bucket *b = bucket_of(address);
    if (CO_LIKELY(!has_waiters(b)))
        return 0;
    int woken = 0;
    table_lock guard(b);
    for (list_node *node = b->first; node && woken < n;) {
        coroutine *co = of_node(node);
        node = node->next;
        uintptr_t slot = slot_of(co);
        if (address_of(slot) == address && (bitset_of(slot) & bitset) != 0) {
            wake_one(b, co, in_handler);
            ++woken;
        }
    }
    return woken;
}

void wake_everybody() {
    for (bucket &b : buckets) {
        table_lock guard(&b);
        while (b.first)
            wake_one(&b, of_node(b.first), true);
    }
}

// The one that was woken will not look: somebody else must.
void hand_on(uintptr_t slot) {
    const void *address = address_of(slot);
    uint32_t bitset = bitset_of(slot);
    if (wake_some(address, 1, bitset, false) > 0)
        return;
    constexpr long as_private = FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG;
    sys::call(SYS_futex, address, as_private, 1, nullptr, nullptr, bitset);
    sys::call(SYS_futex, address, long{FUTEX_WAKE_BITSET}, 1, nullptr, nullptr, bitset);
}

// True: it was still waiting, and is out. False: somebody has woken it.
bool leave(coroutine *co) {
    for (;;) {
        uintptr_t slot = slot_of(co);
        if (slot & slot_woken)
            return false;
        const void *address = address_of(slot);
        bucket *b = bucket_of(address);
        table_lock guard(b);
        slot = slot_of(co);
        if (slot & slot_woken)
            return false;
        if (address_of(slot) != address)
            continue; // it was moved before we had the lock
        remove(b, co);
        return true;
    }
}

// What wait_at and wait_at_regardless are asked for.
struct request {
    const wait_kind &kind;
    const void *address;
    bool (*changed)(const void *address, uintptr_t argument);
    uintptr_t argument;
    wait_deadline deadline;
    bool regardless; // of a cancel
    bool hands_on;   // the wake that it got, if a cancel came as well
};

// As park, until somebody has woken co or the time is over on the clock that was meant.
int park_until(const request &q, coroutine *co, bool *cancelled) {
    wait_deadline d = q.deadline;
    for (;;) {
        if (q.regardless)
            *cancelled |= co->take(flag_cancel);
        bool may_be_set = d.clock != CLOCK_MONOTONIC && d.ns != no_deadline;
        int64_t until = may_be_set ? d.within(ns_per_s) : d.ns;
        int r = park(q.kind, {.object = q.address}, until);
        if (slot_of(co) & slot_woken)
            return r;
        if (r == -ETIMEDOUT && d.left_ns() > 0)
            continue; // a second is over, or the clock was set back
        if (r != 0 && !(r == -ECANCELED && q.regardless))
            return r;
        // Woken for nothing, or its waker is about to say so.
        table_lock guard(bucket_of(address_of(slot_of(co))));
        if (slot_of(co) & slot_woken)
            return r;
    }
}

int wait_with(const request &q, coroutine *co, uintptr_t slot) {
    bucket *b = bucket_of(q.address);
    {
        table_lock guard(b);
        count_waiters(b, 1);
        if (q.changed(q.address, q.argument)) {
            count_waiters(b, -1);
            return -EAGAIN;
        }
        set_slot(co, slot);
        append(b, co);
    }
    bool cancelled = false;
    int r = park_until(q, co, &cancelled);
    if (cancelled)
        co->set(flag_cancel);
    if (leave(co))
        return r;
    if (r != -ECANCELED || !q.hands_on)
        return 0;
    hand_on(slot_of(co));
    return r;
}

int wait(const request &q, uint32_t bitset) {
    CO_DCHECK((reinterpret_cast<uintptr_t>(q.address) & slot_bits) == 0);
    coroutine *co = self_for_waiting();
    if (CO_UNLIKELY(!co))
        return -ENOMEM;
    auto slot = reinterpret_cast<uintptr_t>(q.address);
    if (CO_LIKELY(bitset == ~0U))
        return wait_with(q, co, slot);
    pool_block memory(sizeof(filter));
    if (!memory.data())
        return -ENOMEM;
    slot = reinterpret_cast<uintptr_t>(new (memory.data()) filter{q.address, bitset}) | slot_filter;
    return wait_with(q, co, slot);
}

} // namespace

[[gnu::cold]] void wake_late() {
    // Nobody adds to them meanwhile: the thread is outside.
    thread_state s = tls_state;
    tls_state.late_count = 0;
    if (s.late_count > sizeof s.late / sizeof s.late[0])
        return wake_everybody();
    for (unsigned i = 0; i < s.late_count; ++i)
        wake_some(s.late[i].address, s.late[i].n, s.late[i].bitset, true);
}

bool is_woken(const coroutine *co) { return (slot_of(co) & slot_woken) != 0; }

bool may_be_waited_at(const void *address) { return has_waiters(bucket_of(address)); }

int wait_at(const wait_kind &kind, const void *address,
            bool (*changed)(const void *address, uintptr_t argument), uintptr_t argument,
            wait_deadline deadline, uint32_t bitset) {
    return wait({kind, address, changed, argument, deadline, false, true}, bitset);
}

int wait_at_regardless(const wait_kind &kind, const void *address,
                       bool (*changed)(const void *address, uintptr_t argument), uintptr_t argument,
                       wait_deadline deadline, uint32_t bitset) {
    return wait({kind, address, changed, argument, deadline, true, false}, bitset);
}

int wait_at_interruptibly(const wait_kind &kind, const void *address,
                          bool (*changed)(const void *address, uintptr_t argument),
                          uintptr_t argument, wait_deadline deadline, uint32_t bitset) {
    return wait({kind, address, changed, argument, deadline, false, false}, bitset);
}

void abandon_address_wait(coroutine *co) {
    if (co->state == co_state::ended) // core/env.cpp's way to say that this is a fork's child
        co->wait_link = {};
    else if (!leave(co))
        hand_on(slot_of(co));
}

int wake_at(const void *address, int n, uint32_t bitset) {
    return wake_some(address, n, bitset, false);
}

int wake_at_in_handler(const void *address, int n, uint32_t bitset) {
    thread_state *s = &tls_state;
    if (CO_LIKELY(s->inside == 0))
        return wake_some(address, n, bitset, true);
    if (s->late_count < sizeof s->late / sizeof s->late[0])
        s->late[s->late_count] = {address, n, bitset};
    ++s->late_count;
    return 0;
}

} // namespace corun::calls
