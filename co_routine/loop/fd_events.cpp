// SPDX-License-Identifier: Apache-2.0
#include "co_routine/loop/fd_events.h"

#include "co_routine/base/check.h"
#include "co_routine/base/spinlock.h"
#include "co_routine/core/native.h"
#include "co_routine/loop/fd_poll.h"
#include "co_routine/loop/inbox.h"
#include "co_routine/loop/loop.h"

#include <cerrno>
#include <fcntl.h>
#include <iterator>

namespace corun {
namespace {

constexpr uint32_t read_edges = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
constexpr uint32_t write_edges = EPOLLOUT | EPOLLHUP | EPOLLERR;
constexpr uint32_t lasting_edges = EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR;

// Which thread's loop knows a descriptor: nobody's, one env's (its address), or several.
constexpr uintptr_t nobody = 0, several = 1;
sparse_array<uintptr_t> registrars;
sparse_array<uint8_t> reserved_numbers;

// In the child of vfork (the parent's memory) or of _Fork (its epoll), before exec: closing there is
// none of the loops' business.
sys::word process; // that they belong to
bool is_another_process() { return sys::getpid() != __atomic_load_n(&process, __ATOMIC_RELAXED); }

void note_registrar(int fd, co_env *env) {
    uintptr_t *who = registrars.at(static_cast<size_t>(fd)), seen = nobody;
    if (who &&
        !__atomic_compare_exchange_n(who, &seen, reinterpret_cast<uintptr_t>(env), false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) &&
        seen != reinterpret_cast<uintptr_t>(env))
        __atomic_store_n(who, several, __ATOMIC_RELEASE);
}

fd_entry *find_entry(co_env *env, int fd) {
    return env && env->event_loop ? env->event_loop->descriptors.find(static_cast<size_t>(fd))
                                  : nullptr;
}

fd_entry *make_entry(co_env *env, int fd) {
    loop *l = fd >= 0 ? loop_of(env) : nullptr;
    // Before anything new is noted: what another thread closed had this number earlier.
    if (l && CO_UNLIKELY(__atomic_load_n(&l->closed_pending, __ATOMIC_ACQUIRE) != 0))
        fd_handle_closed_elsewhere(env);
    fd_entry *e = l ? l->descriptors.at(static_cast<size_t>(fd)) : nullptr;
    if (e && !e->initialised) {
        for (list_head &q : e->queue)
            q.ring.next = q.ring.prev = &q.ring;
        e->initialised = true;
        e->generation = 1;
    }
    return e;
}

// Wakes the first waiter if a try may succeed. It is out of the queue then: fd_wait knows by that
// whether a wake-up was spent on it.
void wake_first(fd_entry *e, fd_direction d) {
    if (!e->may[d])
        return;
    if (list_node *n = e->queue[d].pop_front())
        unpark(CO_CONTAINER(n, coroutine, wait_link));
}

void wake_all(list_head *queue) {
    while (list_node *n = queue->pop_front())
        unpark(CO_CONTAINER(n, coroutine, wait_link));
}

// The number is gone, or means another file from now on.
void forget_entry(loop *l, fd_entry *e) {
    if (!e->initialised)
        return;
    ++e->generation;
    if (e->registered)
        --l->registered;
    e->registered = false;
    e->may[fd_read] = e->may[fd_write] = false;
    e->seen = 0;
    wake_all(&e->queue[queue_readers]);
    wake_all(&e->queue[queue_writers]);
    wake_all(&e->queue[queue_watchers]);
    close_pollers(&e->queue[queue_pollers]);
}

sys::word add_to_epoll(loop *l, const fd_entry *e, int fd) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
    event.data.u64 = uint64_t{e->generation} << 32 | static_cast<uint32_t>(fd);
    ++l->counts.epoll_calls;
    int epoll_fd = __atomic_load_n(&l->epoll_fd, __ATOMIC_RELAXED); // fd_vacate may move it
    sys::word r = sys::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    if (r == -EEXIST) // closed behind our back while a copy lives on, or never left: arm it anew
        r = sys::epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event);
    return r;
}

// What is ready now comes as the first edge.
void begin_readiness(fd_entry *e) {
    e->may[fd_read] = e->may[fd_write] = false;
    e->seen = 0;
}

void renew_entry(loop *l, fd_entry *e, int fd) {
    if (!e->registered)
        return;
    if (sys::failed(add_to_epoll(l, e, fd)))
        forget_entry(l, e);
    else
        begin_readiness(e);
}

void tell_env(co_env *env, int note) {
    loop *l = __atomic_load_n(&env->event_loop, __ATOMIC_ACQUIRE);
    if (!l || env == tls_env)
        return;
    {
        spin_guard guard(&l->closed_lock);
        bool noted = l->closed.push_back(note);
        CO_CHECK(noted, "no memory to tell a thread that descriptor %d is closed", note);
    }
    __atomic_store_n(&l->closed_pending, 1U, __ATOMIC_SEQ_CST);
    inbox_ring(env);
}

void tell_env_to_forget(co_env *env, void *argument) {
    int fd = *static_cast<int *>(argument);
    loop *l = __atomic_load_n(&env->event_loop, __ATOMIC_ACQUIRE);
    epoll_event unused{};
    if (l && env != tls_env)
        sys::epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, fd, &unused); // it may not be registered there
    tell_env(env, fd);
}

void tell_env_to_renew(co_env *env, void *argument) {
    tell_env(env, ~*static_cast<int *>(argument));
}

// In a signal handler: the queues may be half-way through a change. The file leaves the epoll now, its
// waiters hear of it when the loop turns.
void forget_later(int fd) {
    co_env *env = tls_env;
    loop *l = env ? env->event_loop : nullptr;
    if (!l)
        return;
    epoll_event unused{};
    sys::epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, fd, &unused);
    unsigned n = __atomic_fetch_add(&l->closed_in_handlers_count, 1U, __ATOMIC_ACQ_REL);
    if (n < std::size(l->closed_in_handlers))
        __atomic_store_n(&l->closed_in_handlers[n], fd, __ATOMIC_RELEASE);
    __atomic_store_n(&l->closed_pending, 1U, __ATOMIC_SEQ_CST);
    inbox_ring(env);
}

// A handler may add one at any instruction.
void forget_what_handlers_closed(loop *l) {
    unsigned done = 0, n = __atomic_load_n(&l->closed_in_handlers_count, __ATOMIC_ACQUIRE);
    do
        for (; done < n && done < std::size(l->closed_in_handlers); ++done) {
            fd_forget(l->closed_in_handlers[done]);
            fd_renew(l->closed_in_handlers[done]);
        }
    while (!__atomic_compare_exchange_n(&l->closed_in_handlers_count, &n, 0U, false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
}

} // namespace

void abandon_fd_wait(coroutine *co) {
    if (co->wait_link.linked()) {
        co->wait_link.unlink();
        return;
    }
    // A wake-up was spent on it and it never runs again: the next one may use it.
    if (co->state != co_state::ready || !co->waiting->subject_is_fd)
        return;
    fd_entry *e = find_entry(co->env, static_cast<int>(co->subject.fd));
    if (e && e->registered) {
        wake_first(e, fd_read);
        wake_first(e, fd_write);
    }
}

int fd_register(co_env *env, int fd, fd_entry **out) {
    fd_entry *e = make_entry(env, fd);
    *out = e;
    if (!e)
        return fd < 0 ? -EBADF : -ENOMEM;
    if (CO_LIKELY(e->registered))
        return 0;
    loop *l = env->event_loop;
    note_registrar(fd, env); // before: a thread that closes it from now on tells us
    sys::word r = add_to_epoll(l, e, fd);
    if (sys::failed(r))
        return static_cast<int>(r);
    e->registered = true;
    begin_readiness(e);
    ++l->registered;
    return 0;
}

bool fd_may(int fd, fd_direction d) {
    const fd_entry *e = find_entry(tls_env, fd);
    return !e || !e->registered || e->may[d];
}

void fd_saw_eagain(int fd, fd_direction d) {
    if (fd_entry *e = find_entry(tls_env, fd))
        e->may[d] = false;
}

void fd_saw_short_read(int fd) {
    fd_entry *e = find_entry(tls_env, fd);
    if (e && e->seen == 0)
        e->may[fd_read] = false;
}

bool fd_saw_end(int fd) {
    const fd_entry *e = find_entry(tls_env, fd);
    return e && e->registered && (e->seen & EPOLLRDHUP);
}

void fd_done(int fd, fd_direction d) {
    fd_entry *e = find_entry(tls_env, fd);
    if (e && e->registered && !e->queue[d].empty())
        wake_first(e, d);
}

int fd_wait(const wait_kind &kind, int fd, fd_direction d, int64_t deadline_ns) {
    co_env *env = current_env();
    if (!env)
        return -ENOMEM;
    coroutine *co = env->running;
    fd_entry *e;
    if (int error = fd_register(env, fd, &e))
        return error;
    if (e->may[d])
        return 0;
    uint32_t generation = e->generation;
    e->queue[d].push_back(&co->wait_link);
    int r = park(kind, {.fd = fd}, deadline_ns);
    bool spent = !co->wait_link.linked(); // an edge, or the close, took us out
    if (!spent)
        co->wait_link.unlink();
    if (e->generation != generation)
        return -EBADF;
    if (r != 0 && spent)
        wake_first(e, d); // the wake-up was ours and we go: the next one may use it
    return r;
}

int fd_watch(int fd) {
    co_env *env = current_env();
    fd_entry *e = env ? make_entry(env, fd) : nullptr;
    if (!e)
        return -ENOMEM;
    note_registrar(fd, env);
    e->queue[queue_watchers].push_back(&env->running->wait_link);
    return 0;
}

// A watcher is taken out of its queue by the close alone.
bool fd_unwatch() {
    coroutine *co = tls_env->running;
    if (!co->wait_link.linked())
        return true;
    co->wait_link.unlink();
    return false;
}

void fd_forget(int fd) {
    if (fd < 0 || memory_is_borrowed())
        return;
    uintptr_t *slot = registrars.find(static_cast<size_t>(fd));
    if (!slot || __atomic_load_n(slot, __ATOMIC_ACQUIRE) == nobody)
        return;
    if (is_another_process())
        return;
    if (in_handler()) {
        forget_later(fd);
        return;
    }
    uintptr_t who = __atomic_exchange_n(slot, nobody, __ATOMIC_ACQ_REL);
    co_env *env = tls_env;
    if (fd_entry *e = find_entry(env, fd)) {
        epoll_event unused{};
        if (e->registered)
            sys::epoll_ctl(env->event_loop->epoll_fd, EPOLL_CTL_DEL, fd, &unused);
        forget_entry(env->event_loop, e);
    }
    if (who != nobody && who != reinterpret_cast<uintptr_t>(env))
        for_each_env(tell_env_to_forget, &fd);
}

void fd_renew(int fd) {
    const uintptr_t *slot = fd < 0 ? nullptr : registrars.find(static_cast<size_t>(fd));
    uintptr_t who = slot ? __atomic_load_n(slot, __ATOMIC_SEQ_CST) : nobody;
    if (CO_LIKELY(who == nobody) || is_another_process() || in_handler())
        return;
    co_env *env = tls_env;
    if (fd_entry *e = find_entry(env, fd))
        renew_entry(env->event_loop, e, fd);
    if (who != reinterpret_cast<uintptr_t>(env))
        for_each_env(tell_env_to_renew, &fd);
}

void fd_handle_closed_elsewhere(co_env *env) {
    loop *l = env->event_loop;
    __atomic_store_n(&l->closed_pending, 0U, __ATOMIC_SEQ_CST);
    forget_what_handlers_closed(l);
    spin_guard guard(&l->closed_lock);
    for (size_t i = 0; i < l->closed.size(); ++i) {
        int note = l->closed[i], fd = note < 0 ? ~note : note;
        fd_entry *e = find_entry(env, fd);
        if (e && note >= 0)
            forget_entry(l, e);
        else if (e)
            renew_entry(l, e, fd);
    }
    l->closed.clear();
}

void fd_handle_event(co_env *env, int fd, uint32_t generation, uint32_t events) {
    fd_entry *e = find_entry(env, fd);
    if (!e || e->generation != generation || !e->registered)
        return; // harvested for the number's former owner
    e->seen |= events & lasting_edges;
    if (events & read_edges)
        e->may[fd_read] = true;
    if (events & write_edges)
        e->may[fd_write] = true;
    wake_first(e, fd_read);
    wake_first(e, fd_write);
    wake_pollers(&e->queue[queue_pollers], events);
}

// The entries stay: the thread's own stack may wait in one of them.
void fd_forget_registrations_after_fork(loop *l) {
    registrars.reset();
    l->registered = 0;
    l->descriptors.for_each([](size_t, fd_entry &e) {
        e.registered = e.may[fd_read] = e.may[fd_write] = false;
        e.seen = 0;
    });
}

void fd_note_process() { __atomic_store_n(&process, sys::getpid(), __ATOMIC_RELAXED); }

void fd_reserve(int fd, bool reserved) {
    if (uint8_t *slot = reserved_numbers.at(static_cast<size_t>(fd)))
        __atomic_store_n(slot, reserved, __ATOMIC_RELEASE);
}

bool fd_is_reserved(int fd) {
    const uint8_t *slot = fd < 0 ? nullptr : reserved_numbers.find(static_cast<size_t>(fd));
    return slot && __atomic_load_n(slot, __ATOMIC_ACQUIRE) != 0;
}

// The open file moves to another number; the epoll keeps its registrations, and a thread that sleeps
// in the old number sleeps on, because the file stays open.
bool fd_vacate(int fd) {
    if (!fd_is_reserved(fd) || is_another_process())
        return true;
    struct move {
        int from, to;
    } m{fd, -1};
    sys::word to = sys::fcntl(fd, F_DUPFD_CLOEXEC, fd + 1);
    if (sys::failed(to))
        to = sys::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (sys::failed(to))
        return false;
    m.to = static_cast<int>(to);
    fd_reserve(m.to, true);
    for_each_env(
        [](co_env *env, void *argument) {
            const move *m_ = static_cast<move *>(argument);
            loop *l = __atomic_load_n(&env->event_loop, __ATOMIC_ACQUIRE);
            if (!l)
                return;
            int *numbers[] = {&l->epoll_fd, &l->wake_fd};
            for (int *n : numbers)
                if (*n == m_->from)
                    __atomic_store_n(n, m_->to, __ATOMIC_RELEASE);
            for (loop_source *s = l->sources; s; s = s->next)
                if (s->fd == m_->from)
                    __atomic_store_n(&s->fd, m_->to, __ATOMIC_RELEASE);
        },
        &m);
    fd_reserve(fd, false);
    return true;
}

size_t fd_registered_count() {
    co_env *env = tls_env;
    return env && env->event_loop ? env->event_loop->registered : 0;
}

} // namespace corun
