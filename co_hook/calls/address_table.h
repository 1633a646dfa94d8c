// SPDX-License-Identifier: Apache-2.0
// The table under calls/address_wait.h: who waits, by address, and who may touch it when. For
// address_*.cpp alone.
//
//     bucket *b = bucket_of(address);
//     if (has_waiters(b)) {              // the waker's fence, and one load
//         table_lock guard(b);
//         ...slot_of(co), remove(b, co), wake_one(b, co, false)...
//     }
#pragma once

#include "co_hook/calls/address_wait.h"

#include "co_routine/base/spinlock.h"
#include "co_routine/loop/inbox.h"

namespace corun::calls {

// A queue for all addresses that meet here. All zero is an empty one.
struct alignas(64) bucket {
    unsigned waiters; // atomic
    unsigned lock;
    list_node *first, *last; // coroutine::wait_link; the ends are null
};

inline constexpr unsigned bucket_bits = 9;
extern bucket buckets[1U << bucket_bits];

inline bucket *bucket_of(const void *address) {
    constexpr uint32_t golden_ratio = 0x9E3779B1;
    uint64_t word = reinterpret_cast<uintptr_t>(address) >> 2;
    auto mixed = static_cast<uint32_t>(word ^ word >> 32) * golden_ratio;
    return &buckets[mixed >> (32 - bucket_bits)];
}

// What a waiter's wait_slot says: the address, or a filter in memory of the pool, and two bits.
enum : uintptr_t { slot_woken = 1, slot_filter = 2, slot_bits = 3 };
struct filter {
    const void *address;
    uint32_t bitset;
};

inline uintptr_t slot_of(const coroutine *co) {
    return reinterpret_cast<uintptr_t>(__atomic_load_n(&co->wait_slot, __ATOMIC_ACQUIRE));
}
inline void set_slot(coroutine *co, uintptr_t slot) {
    __atomic_store_n(&co->wait_slot, reinterpret_cast<void *>(slot), __ATOMIC_RELEASE);
}
inline filter *filter_of(uintptr_t slot) {
    return slot & slot_filter ? reinterpret_cast<filter *>(slot & ~slot_bits) : nullptr;
}
// A filter's changes by requeue_at, under the locks of both buckets.
inline const void *address_of(uintptr_t slot) {
    if (filter *f = filter_of(slot))
        return __atomic_load_n(&f->address, __ATOMIC_RELAXED);
    return reinterpret_cast<const void *>(slot & ~slot_bits);
}
inline uint32_t bitset_of(uintptr_t slot) {
    filter *f = filter_of(slot);
    return f ? f->bitset : ~0U;
}
inline coroutine *of_node(list_node *n) { return CO_CONTAINER(n, coroutine, wait_link); }

// A signal handler may call sem_post while its thread is inside the table: it must not wait for the
// lock that it has interrupted. What it asks for is kept until the thread leaves the table.
struct late_wake {
    const void *address;
    int n;
    uint32_t bitset;
};
struct thread_state {
    unsigned inside = 0;
    unsigned late_count = 0; // more than there is room for: everybody is woken, for nothing
    late_wake late[4] = {};
};
extern constinit thread_local thread_state tls_state;

void wake_late();

// How the table is shared, by all_wait_and_wake_on_one_thread.
struct among_threads {
    static void enter(bucket *a, bucket *b) {
        ++tls_state.inside;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        spin_acquire(&a->lock);
        if (b)
            spin_acquire(&b->lock);
    }
    static void leave(bucket *a, bucket *b) {
        if (b)
            spin_release(&b->lock);
        spin_release(&a->lock);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        --tls_state.inside;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (CO_UNLIKELY(tls_state.late_count != 0))
            wake_late();
    }
    // The barrier of an increment is the waiter's half of rule 1, the fence the waker's.
    static void count(bucket *b, int change) {
        __atomic_add_fetch(&b->waiters, static_cast<unsigned>(change), __ATOMIC_SEQ_CST);
    }
    static void fence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
};
struct on_one_thread {
    static void enter(bucket *, bucket *) {}
    static void leave(bucket *, bucket *) {}
    static void count(bucket *b, int change) { b->waiters += static_cast<unsigned>(change); }
    static void fence() {}
};
template <class F> void as_shared(F f) {
    if (all_wait_and_wake_on_one_thread)
        f(on_one_thread());
    else
        f(among_threads());
}

class table_lock {
  public:
    // Two by their addresses: threads that move waiters to and fro.
    explicit table_lock(bucket *a, bucket *b = nullptr)
        : a_(b && b < a ? b : a), b_(b == a    ? nullptr
                                     : a_ == b ? a
                                               : b) {
        as_shared([this](auto shared) { shared.enter(a_, b_); });
    }
    ~table_lock() {
        as_shared([this](auto shared) { shared.leave(a_, b_); });
    }
    table_lock(const table_lock &) = delete;
    table_lock &operator=(const table_lock &) = delete;

  private:
    bucket *a_, *b_;
};

// Under the lock, as are the next ones.
inline void count_waiters(bucket *b, int change) {
    as_shared([=](auto shared) { shared.count(b, change); });
}

inline void append(bucket *b, coroutine *co) {
    co->wait_link = {nullptr, b->last};
    (b->last ? b->last->next : b->first) = &co->wait_link;
    b->last = &co->wait_link;
}

inline void remove(bucket *b, coroutine *co) {
    list_node &link = co->wait_link;
    (link.prev ? link.prev->next : b->first) = link.next;
    (link.next ? link.next->prev : b->last) = link.prev;
    link = {};
    count_waiters(b, -1);
}

inline void wake_one(bucket *b, coroutine *co, bool in_handler) {
    remove(b, co);
    if (in_handler) // the handler may have interrupted the ready queue
        inbox_post(co, pending_unpark);
    else
        unpark(co);
    set_slot(co, slot_of(co) | slot_woken); // from here on it may be gone
}

// Does anybody wait here?
inline bool has_waiters(bucket *b) {
#if CO_TSAN // which knows no fences
    return __atomic_fetch_add(&b->waiters, 0U, __ATOMIC_SEQ_CST) != 0;
#else
    as_shared([](auto shared) { shared.fence(); });
    return __atomic_load_n(&b->waiters, __ATOMIC_RELAXED) != 0;
#endif
}

} // namespace corun::calls
