// SPDX-License-Identifier: Apache-2.0
// Those that wait already: moved to another address, or chosen as a lock's owner.
#include "co_hook/calls/address_table.h"

#include <cerrno>

namespace corun::calls {

int requeue_at(const void *from, const void *to, int wake, int move,
               bool (*changed)(const void *address, uintptr_t argument), uintptr_t argument,
               int *woken) {
    bucket *a = bucket_of(from), *b = bucket_of(to);
    int count = 0, moved = 0;
    if (woken)
        *woken = 0;
    if (!has_waiters(a))
        return 0;
    table_lock guard(a, b);
    if (changed && changed(from, argument))
        return -EAGAIN;
    for (list_node *node = a->first; node && (count < wake || moved < move);) {
        coroutine *co = of_node(node);
        node = node->next;
        uintptr_t slot = slot_of(co);
        if (address_of(slot) != from)
            continue;
        if (count < wake) {
            wake_one(a, co, false);
            ++count;
            continue;
        }
        ++moved;
        if (from == to)
            continue;
        remove(a, co);
        count_waiters(b, 1);
        append(b, co);
        if (filter *f = filter_of(slot))
            __atomic_store_n(&f->address, to, __ATOMIC_RELAXED);
        else
            set_slot(co, reinterpret_cast<uintptr_t>(to));
    }
    if (woken)
        *woken = count;
    return count + moved;
}

void hand_over_at(const void *address,
                  void (*chosen)(coroutine *co, const void *address, uintptr_t argument),
                  uintptr_t argument) {
    bucket *b = bucket_of(address);
    table_lock guard(b);
    for (list_node *node = b->first; node; node = node->next) {
        coroutine *co = of_node(node);
        uintptr_t slot = slot_of(co);
        if (address_of(slot) != address || bitset_of(slot) != 0)
            continue;
        chosen(co, address, argument);
        return wake_one(b, co, false);
    }
    chosen(nullptr, address, argument);
}

void wake_owners_to_be(bool (*f)(coroutine *co, const void *address, uintptr_t argument),
                       uintptr_t argument) {
    for (bucket &b : buckets) {
        if (!has_waiters(&b))
            continue;
        table_lock guard(&b);
        for (list_node *node = b.first; node;) {
            coroutine *co = of_node(node);
            node = node->next;
            if (bitset_of(slot_of(co)) == 0 && f(co, address_of(slot_of(co)), argument))
                wake_one(&b, co, false);
        }
    }
}

} // namespace corun::calls
