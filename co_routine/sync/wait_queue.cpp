// SPDX-License-Identifier: Apache-2.0
#include "co_routine/sync/wait_queue.h"

#include "co_routine/base/check.h"
#include "co_routine/base/spinlock.h"

#include <cerrno>

namespace corun {
namespace {

// first and last are coroutines because the struct is public; in between, wait_link's nodes. The
// ends are null, so that an object of zero bytes is an empty queue.
coroutine *of_node(list_node *n) { return n ? CO_CONTAINER(n, coroutine, wait_link) : nullptr; }

void remove(co_waitq *q, coroutine *co) {
    list_node &link = co->wait_link;
    if (link.prev)
        link.prev->next = link.next;
    else
        q->first = of_node(link.next);
    if (link.next)
        link.next->prev = link.prev;
    else
        q->last = of_node(link.prev);
    link.next = link.prev = nullptr;
}

void set_mark(coroutine *co, wait_mark mark, int order) {
    void *slot = reinterpret_cast<void *>(payload_of(co) | mark);
    __atomic_store_n(&co->wait_slot, slot, order);
}

unsigned *lock_of(void *object) { return &static_cast<co_waitq *>(object)->lock; }

// The granter is a few instructions away from the final mark; another thread, for the granter of
// the same thread is never interrupted in between.
wait_mark final_mark(const coroutine *co) {
    wait_mark mark = mark_of(co);
    for (unsigned spins = 0; mark == mark_taken; mark = mark_of(co), ++spins) {
        if (spins < 64)
            __builtin_ia32_pause();
        else
            sys::call(SYS_sched_yield);
    }
    return mark;
}

void give_back_grant(const queue_rules &rules, void *object, coroutine *co, wait_mark how) {
    if (!rules.give_back)
        return;
    grants out;
    {
        spin_guard guard(lock_of(object));
        rules.give_back(object, co, how, &out);
    }
    out.wake();
}

// True: co was still queued, and is out now. False: it was taken before.
bool leave_queue(const queue_rules &rules, co_waitq *q, void *object, coroutine *co) {
    grants out;
    {
        spin_guard guard(lock_of(object));
        if (mark_of(co) != mark_queued)
            return false;
        remove(q, co);
        if (rules.left)
            rules.left(object, &out);
    }
    out.wake();
    return true;
}

bool still_queued(void *object, const coroutine *co) {
    spin_guard guard(lock_of(object));
    return mark_of(co) == mark_queued;
}

// In the child of a fork this thread is the only one: nobody will give the lock back, and no waiter
// exists any more but the thread's own stack. The queue may have been left in mid-change; every
// step of enqueue and remove keeps the chain from first ending in null.
void leave_after_fork(const queue_rules &rules, co_waitq *q, void *object, coroutine *co) {
    __atomic_store_n(lock_of(object), 0U, __ATOMIC_RELAXED);
    wait_mark mark = mark_of(co);
    for (coroutine *w = q->first; w;) {
        coroutine *next = of_node(w->wait_link.next);
        if (w != &co->env->root) {
            remove(q, w);
            set_mark(w, mark_taken, __ATOMIC_RELAXED); // its own turn here finds nothing to do
        }
        w = next;
    }
    if (mark == mark_granted || mark == mark_refused)
        give_back_grant(rules, object, co, mark);
}

} // namespace

void enqueue(co_waitq *q, coroutine *co, uintptr_t payload) {
    CO_DCHECK((payload & mark_bits) == 0);
    __atomic_store_n(&co->wait_slot, reinterpret_cast<void *>(payload), __ATOMIC_RELAXED);
    co->wait_link.next = nullptr;
    co->wait_link.prev = q->last ? &q->last->wait_link : nullptr;
    if (q->last)
        q->last->wait_link.next = &co->wait_link;
    else
        q->first = co;
    q->last = co;
}

void grants::take(co_waitq *q, coroutine *co) {
    CO_DCHECK(mark_of(co) == mark_queued);
    remove(q, co);
    set_mark(co, mark_taken, __ATOMIC_RELAXED);
    if (last_)
        last_->wait_link.next = &co->wait_link;
    else
        first_ = co;
    last_ = co;
}

void grants::wake(wait_mark as) {
    coroutine *co = first_;
    first_ = last_ = nullptr;
    while (co) {
        coroutine *next = of_node(co->wait_link.next);
        co->wait_link.next = nullptr;
        unpark(co);
        set_mark(co, as, __ATOMIC_RELEASE); // rule 1: from here on it may be gone
        co = next;
    }
}

int wait_in(const queue_rules &rules, co_waitq *q, void *object, coroutine *self,
            int64_t deadline_ns) {
    for (;;) {
        int error = -park(rules.kind, {.object = object}, deadline_ns);
        if (mark_of(self) == mark_queued) {
            if (error != 0 && leave_queue(rules, q, object, self))
                return error;
            if (error == 0 && still_queued(object, self))
                continue; // woken for nothing
        }
        wait_mark mark = final_mark(self);
        if (error == ECANCELED && !rules.grant_stands) {
            give_back_grant(rules, object, self, mark);
            return ECANCELED;
        }
        return mark == mark_refused ? rules.refused_error : 0;
    }
}

unsigned describe_holder(char *out, unsigned size, const coroutine *owner) {
    const co_env *env = tls_env;
    if (!owner)
        return 0;
    if (env && owner == &env->root)
        return format_line(out, size, ", held by this thread's own stack");
    for (size_t i = 0; env && i < env->all.size(); ++i)
        if (env->all[i] == owner)
            return format_line(out, size, ", held by #%u", owner->id);
    return format_line(out, size, ", held by another thread's %p",
                       static_cast<const void *>(owner));
}

holder_key holder_while_queued(void *object, const coroutine *co, coroutine *const *owner) {
    if (mark_of(co) != mark_queued) // then the object may be gone
        return 0;
    spin_guard guard(lock_of(object));
    return mark_of(co) == mark_queued ? key_of(*owner) : 0;
}

void abandon_wait(const queue_rules &rules, co_waitq *q, void *object, coroutine *co) {
    if (co->state == co_state::ended) { // core/env.cpp's way to say that this is a fork's child
        leave_after_fork(rules, q, object, co);
        return;
    }
    if (mark_of(co) == mark_queued && leave_queue(rules, q, object, co))
        return;
    give_back_grant(rules, object, co, final_mark(co));
}

} // namespace corun
