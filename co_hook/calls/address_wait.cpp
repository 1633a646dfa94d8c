// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/address_wait.h"

#include "co_hook/calls/wait.h"

#include "co_routine/base/at_fork.h"
#include "co_routine/base/spinlock.h"
#include "co_routine/loop/inbox.h"

#include <cerrno>
#include <climits>
#include <linux/futex.h>
#include <new>
#include <pthread.h>

namespace corun::calls {

constinit bool all_wait_and_wake_on_one_thread = false;

namespace {

// A queue for all addresses that meet here. All zero is an empty one.
struct alignas(64) bucket {
    unsigned waiters; // atomic
    unsigned lock;
    list_node *first, *last; // coroutine::wait_link; the ends are null
};

constexpr unsigned bucket_bits = 9;
bucket buckets[1U << bucket_bits];

bucket *bucket_of(const void *address) {
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

uintptr_t slot_of(const coroutine *co) {
    return reinterpret_cast<uintptr_t>(__atomic_load_n(&co->wait_slot, __ATOMIC_ACQUIRE));
}
void set_slot(coroutine *co, uintptr_t slot) {
    __atomic_store_n(&co->wait_slot, reinterpret_cast<void *>(slot), __ATOMIC_RELEASE);
}
filter *filter_of(uintptr_t slot) {
    return slot & slot_filter ? reinterpret_cast<filter *>(slot & ~slot_bits) : nullptr;
}
// A filter's changes by requeue_at, under the locks of both buckets.
const void *address_of(uintptr_t slot) {
    if (filter *f = filter_of(slot))
        return __atomic_load_n(&f->address, __ATOMIC_RELAXED);
    return reinterpret_cast<const void *>(slot & ~slot_bits);
}
uint32_t bitset_of(uintptr_t slot) {
    filter *f = filter_of(slot);
    return f ? f->bitset : ~0U;
}
coroutine *of_node(list_node *n) { return CO_CONTAINER(n, coroutine, wait_link); }

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
constinit thread_local thread_state tls_state;

void wake_late();

class table_lock {
  public:
    explicit table_lock(bucket *a, bucket *b = nullptr) : a_(a), b_(b == a ? nullptr : b) {
        if (all_wait_and_wake_on_one_thread)
            return;
        ++tls_state.inside;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (b_ && b_ < a_) { // two threads that move waiters to and fro
            b_ = a;
            a_ = b;
        }
        spin_acquire(&a_->lock);
        if (b_)
            spin_acquire(&b_->lock);
    }
    ~table_lock() {
        if (all_wait_and_wake_on_one_thread)
            return;
        if (b_)
            spin_release(&b_->lock);
        spin_release(&a_->lock);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        --tls_state.inside;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (CO_UNLIKELY(tls_state.late_count != 0))
            wake_late();
    }
    table_lock(const table_lock &) = delete;
    table_lock &operator=(const table_lock &) = delete;

  private:
    bucket *a_, *b_;
};

// Under the lock, as are the next ones. The barrier of an increment is the waiter's half of rule 1.
void count_waiters(bucket *b, int change) {
    if (all_wait_and_wake_on_one_thread)
        b->waiters += static_cast<unsigned>(change);
    else
        __atomic_add_fetch(&b->waiters, static_cast<unsigned>(change), __ATOMIC_SEQ_CST);
}

void append(bucket *b, coroutine *co) {
    co->wait_link = {nullptr, b->last};
    (b->last ? b->last->next : b->first) = &co->wait_link;
    b->last = &co->wait_link;
}

void remove(bucket *b, coroutine *co) {
    list_node &link = co->wait_link;
    (link.prev ? link.prev->next : b->first) = link.next;
    (link.next ? link.next->prev : b->last) = link.prev;
    link = {};
    count_waiters(b, -1);
}

void wake_one(bucket *b, coroutine *co, bool in_handler) {
    remove(b, co);
    if (in_handler) // the handler may have interrupted the ready queue
        inbox_post(co, pending_unpark);
    else
        unpark(co);
    set_slot(co, slot_of(co) | slot_woken); // from here on it may be gone
}

// Does anybody wait here? The fence is the waker's half of rule 1.
bool has_waiters(bucket *b) {
#if CO_TSAN // which knows no fences
    return __atomic_fetch_add(&b->waiters, 0U, __ATOMIC_SEQ_CST) != 0;
#else
    if (!all_wait_and_wake_on_one_thread)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(&b->waiters, __ATOMIC_RELAXED) != 0;
#endif
}

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

[[gnu::cold]] void wake_late() {
    // Nobody adds to them meanwhile: the thread is outside.
    thread_state s = tls_state;
    tls_state.late_count = 0;
    if (s.late_count > sizeof s.late / sizeof s.late[0])
        return wake_everybody();
    for (unsigned i = 0; i < s.late_count; ++i)
        wake_some(s.late[i].address, s.late[i].n, s.late[i].bitset, true);
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

// Locks may be held, and lists be half changed, by threads that the child does not have.
void forget_waiters_after_fork() {
    for (bucket &b : buckets)
        if (b.waiters != 0 || b.lock != 0 || b.first || b.last)
            b = {};
    tls_state = {};
    co_env *env = env_or_null();
    if (!env)
        return;
    coroutine *root = &env->root;
    if (root->waiting && root->waiting->abandon == abandon_address_wait) {
        root->wait_link = {};
        set_slot(root, slot_of(root) | slot_woken); // the loop makes it look again
    }
}

__attribute__((constructor)) void prepare_for_fork() {
    at_fork(nullptr, nullptr, forget_waiters_after_fork);
}

} // namespace

int64_t wait_deadline::left_ns() const {
    if (ns == no_deadline)
        return no_deadline;
    timespec t;
    clock_gettime(clock, &t);
    int64_t now = static_cast<int64_t>(t.tv_sec) * ns_per_s + t.tv_nsec;
    return ns > now ? ns - now : 0;
}

int64_t wait_deadline::within(int64_t pause_ns) const {
    int64_t left = left_ns();
    return deadline_in(left < pause_ns ? left : pause_ns);
}

bool wait_deadline::goes_on(int waited) const {
    return waited == 0 || waited == -EAGAIN || (waited == -ETIMEDOUT && left_ns() > 0);
}

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
