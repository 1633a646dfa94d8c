// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/transfer.h"

#include "co_routine/base/spinlock.h"

#include <cerrno>

namespace corun::calls {
namespace {

struct turn {
    unsigned lock;
    bool taken;
    list_head waiters; // valid once ready
    bool ready;
};

sparse_array<turn> turns;

// The turn passes to the first waiter under the lock; taken stays true on its behalf.
void pass_on(turn *t) {
    if (list_node *n = t->waiters.pop_front())
        unpark(CO_CONTAINER(n, coroutine, wait_link));
    else
        t->taken = false;
}

// Out of the queue, or, when the turn was handed over already, on to the next.
void leave_turn(turn *t, coroutine *co) {
    spin_guard guard(&t->lock);
    if (co->wait_link.linked())
        co->wait_link.unlink();
    else
        pass_on(t);
}

void abandon_turn(coroutine *co) {
    if (turn *t = turns.find(static_cast<size_t>(co->subject.fd)))
        leave_turn(t, co);
}

constexpr wait_kind turn_kind{"turn at a file", true, abandon_turn};

} // namespace

int take_turn(int fd) {
    turn *t = turns.at(static_cast<size_t>(fd));
    if (!t)
        return -ENOMEM;
    coroutine *co = tls_env->running;
    {
        spin_guard guard(&t->lock);
        if (!t->taken) {
            t->taken = true;
            return 0;
        }
        if (!t->ready)
            t->waiters.ring.next = t->waiters.ring.prev = &t->waiters.ring;
        t->ready = true;
        t->waiters.push_back(&co->wait_link);
    }
    for (;;) {
        int r = park(turn_kind, {.fd = fd}, no_deadline);
        if (r != 0) {
            leave_turn(t, co);
            return r;
        }
        spin_guard guard(&t->lock);
        if (!co->wait_link.linked())
            return 0;
    }
}

void end_turn(int fd) {
    turn *t = turns.find(static_cast<size_t>(fd));
    if (!t)
        return; // forgotten in a forked child
    spin_guard guard(&t->lock);
    if (t->ready)
        pass_on(t);
    else
        t->taken = false;
}

bool turn_is_taken(int fd) {
    const turn *t = fd < 0 ? nullptr : turns.find(static_cast<size_t>(fd));
    return t && __atomic_load_n(&t->taken, __ATOMIC_RELAXED);
}

int outwait_turns(int fd) {
    if (!turn_is_taken(fd))
        return 0;
    if (int e = take_turn(fd))
        return e;
    end_turn(fd);
    return 0;
}

void forget_turns_after_fork() { turns.reset(); }

} // namespace corun::calls
