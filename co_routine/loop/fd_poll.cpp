// SPDX-License-Identifier: Apache-2.0
#include "co_routine/loop/fd_poll.h"

#include "co_routine/loop/fd_events.h"
#include "co_routine/loop/loop.h"

#include <cerrno>

namespace corun {
namespace {

struct poll_node {
    list_node link;
    coroutine *co;
    uint32_t events; // as epoll reports them
    bool closed;     // the descriptor, while we waited
};

struct poll_wait {
    size_t count; // nodes that follow

    poll_node *nodes() { return reinterpret_cast<poll_node *>(this + 1); }

    static size_t bytes_for(size_t count) { return sizeof(poll_wait) + count * sizeof(poll_node); }
};

// poll knows finer events than those that descriptors are registered for: they come with these.
uint32_t edges_of(short events) {
    uint32_t e = static_cast<uint16_t>(events) | EPOLLERR | EPOLLHUP;
    if (events & (POLLRDNORM | POLLRDBAND))
        e |= EPOLLIN | EPOLLPRI;
    if (events & (POLLWRNORM | POLLWRBAND))
        e |= EPOLLOUT;
    return e;
}

void leave(coroutine *co) {
    poll_wait *w = static_cast<poll_wait *>(co->wait_slot);
    if (!w)
        return;
    for (size_t i = 0; i < w->count; ++i)
        if (w->nodes()[i].link.linked())
            w->nodes()[i].link.unlink();
    co->env->slab.release(w, poll_wait::bytes_for(w->count));
    co->wait_slot = nullptr;
}

int enter(co_env *env, const pollfd *fds, size_t count) {
    void *block = env->slab.allocate(poll_wait::bytes_for(count));
    if (!block)
        return -ENOMEM;
    poll_wait *w = static_cast<poll_wait *>(block);
    w->count = count;
    env->running->wait_slot = w;
    for (size_t i = 0; i < count; ++i) {
        poll_node *n = &w->nodes()[i];
        *n = {{}, env->running, edges_of(fds[i].events), false};
        if (fds[i].fd < 0)
            continue;
        fd_entry *e;
        int error = fd_register(env, fds[i].fd, &e);
        if (error == 0)
            e->queue[queue_pollers].push_back(&n->link);
        else if (error != -EPERM && error != -EBADF) // those two poll answers at once, if asked
            return error;
    }
    return 0;
}

// A descriptor that was closed while we waited is not valid, whatever has its number by now (the
// thread that closes tells us first, so the kernel may even know it still).
int report_closed(const coroutine *co, pollfd *fds, int ready) {
    poll_wait *w = static_cast<poll_wait *>(co->wait_slot);
    for (size_t i = 0; w && i < w->count; ++i)
        if (w->nodes()[i].closed) {
            ready += fds[i].revents == 0;
            fds[i].revents = POLLNVAL;
        }
    return ready;
}

} // namespace

void abandon_poll_wait(coroutine *co) { leave(co); }

void wake_pollers(list_head *queue, uint32_t events) {
    // Each stays in the queue until it has looked itself; unpark only makes it ready.
    for (list_node *n = queue->ring.next; n != &queue->ring; n = n->next) {
        const poll_node *p = CO_CONTAINER(n, poll_node, link);
        if (p->events & events)
            unpark(p->co);
    }
}

void close_pollers(list_head *queue) {
    while (list_node *n = queue->pop_front()) {
        poll_node *p = CO_CONTAINER(n, poll_node, link);
        p->closed = true;
        unpark(p->co);
    }
}

// The kernel decides what is ready; edges only say when to ask again. An edge that comes after the
// look and before the nodes are linked is still in the epoll: it is harvested by the loop.
int wait_for_poll(const wait_kind &kind, pollfd *fds, nfds_t count, int64_t deadline_ns) {
    co_env *env = current_env();
    if (!env)
        return -ENOMEM;
    coroutine *co = env->running;
    co->wait_slot = nullptr; // what another kind of wait left there
    int waited = 0;
    for (;;) {
        sys::word r = sys::ppoll(fds, count, &sys::at_once, nullptr);
        if (r == -EINTR)
            continue; // with no time to wait it means: a signal was handled, nothing was looked at
        if (!sys::failed(r))
            r = report_closed(co, fds, static_cast<int>(r));
        if (r != 0 || waited != 0) {
            leave(co);
            if (r != 0)
                return static_cast<int>(r);
            return waited == -ETIMEDOUT ? 0 : waited;
        }
        if (deadline_ns != no_deadline && deadline_ns <= now_ns()) {
            leave(co);
            return 0;
        }
        leave(co);
        if (int error = enter(env, fds, count)) {
            leave(co);
            return error;
        }
        waited = park(kind, {.object = fds}, deadline_ns);
    }
}

} // namespace corun
