// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/transfer.h"

#include "co_hook/calls/lock.h"
#include "co_routine/base/spinlock.h"

#include <cerrno>

namespace corun::calls {
namespace {

struct turn {
    unsigned lock;
    bool taken;
    list_head waiters; // valid once ready
    bool ready;
    unsigned users;    // calls under way that need no turn
    list_head closers; // who waits for those to end; valid once ready
};

sparse_array<turn> turns;

void make_ready(turn *t) {
    if (t->ready)
        return;
    t->waiters.ring.next = t->waiters.ring.prev = &t->waiters.ring;
    t->closers.ring.next = t->closers.ring.prev = &t->closers.ring;
    t->ready = true;
}

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

void leave_closers(turn *t, coroutine *co) {
    spin_guard guard(&t->lock);
    if (co->wait_link.linked())
        co->wait_link.unlink();
}

void abandon_closing(coroutine *co) {
    if (turn *t = turns.find(static_cast<size_t>(co->subject.fd)))
        leave_closers(t, co);
}

constexpr wait_kind closing_kind{"close: a helper uses the file", true, abandon_closing};

int outwait_users(turn *t, int fd) {
    coroutine *co = tls_env->running;
    for (;;) {
        {
            spin_guard guard(&t->lock);
            if (t->users == 0)
                return 0;
            make_ready(t);
            t->closers.push_back(&co->wait_link);
        }
        int r = park(closing_kind, {.fd = fd}, no_deadline);
        leave_closers(t, co);
        if (r != 0)
            return r;
    }
}

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
        make_ready(t);
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

int begin_use(int fd) {
    turn *t = turns.at(static_cast<size_t>(fd));
    if (!t)
        return -ENOMEM;
    spin_guard guard(&t->lock);
    ++t->users;
    return 0;
}

void end_use(int fd) {
    turn *t = turns.find(static_cast<size_t>(fd));
    if (!t)
        return;
    spin_guard guard(&t->lock);
    if (t->users > 0) // less in a forked child, where all was forgotten
        --t->users;
    if (t->users == 0 && t->ready)
        while (list_node *n = t->closers.pop_front())
            unpark(CO_CONTAINER(n, coroutine, wait_link));
}

int outwait_turns(int fd) {
    turn *t = fd < 0 ? nullptr : turns.find(static_cast<size_t>(fd));
    if (!t)
        return 0;
    if (turn_is_taken(fd)) {
        if (int e = take_turn(fd))
            return e;
        end_turn(fd);
    }
    return __atomic_load_n(&t->users, __ATOMIC_RELAXED) != 0 ? outwait_users(t, fd) : 0;
}

void forget_turns_after_fork() {
    turns.reset();
    forget_locks_after_fork();
}

} // namespace corun::calls
