// SPDX-License-Identifier: Apache-2.0
#include "co_routine/loop/loop.h"

#include "co_routine/base/check.h"
#include "co_routine/core/switch.h"
#include "co_routine/loop/descriptor_room.h"
#include "co_routine/loop/inbox.h"

#include <cerrno>
#include <fcntl.h>
#include <initializer_list>
#include <new>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>

namespace corun {

namespace {

constexpr int events_per_poll = 128;
// While coroutines are ready, descriptors and timers are looked at after so many turns or cycles
// (about 100 us), whichever comes first: a poll costs about as much as 20 switches.
constexpr unsigned turns_between_polls = 16;
constexpr uint64_t cycles_between_polls = 250000;
constexpr uint64_t source_tag = uint64_t{1} << 63; // in epoll_event: a loop_source, not a number

// Out of the way of the low numbers that programs count on, but not so high that the kernel's
// descriptor table grows for it.
int move_up(int fd) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t ceiling = limit.rlim_cur < 1024 ? limit.rlim_cur : 1024;
    int wanted = ceiling > 128 ? static_cast<int>(ceiling) - 64 : static_cast<int>(ceiling) / 2;
    sys::word high = sys::fcntl(fd, F_DUPFD_CLOEXEC, wanted);
    if (sys::failed(high))
        return fd;
    sys::close(fd);
    return static_cast<int>(high);
}

void on_wake_fd(loop *l) {
    uint64_t count;
    sys::read(__atomic_load_n(&l->wake_fd, __ATOMIC_ACQUIRE), &count, sizeof count);
}

bool lacks_pwait2; // atomic: the kernel (Linux 5.11), or Valgrind, which would say so

int open_descriptors_now(loop *l) {
    if (is_watched_by(watcher_valgrind))
        __atomic_store_n(&lacks_pwait2, true, __ATOMIC_RELAXED);
    sys::word epoll = sys::epoll_create(EPOLL_CLOEXEC);
    if (sys::failed(epoll))
        return static_cast<int>(-epoll);
    l->epoll_fd = move_up(static_cast<int>(epoll));
    sys::word wake = sys::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (sys::failed(wake)) {
        sys::close(l->epoll_fd);
        l->epoll_fd = -1;
        return static_cast<int>(-wake);
    }
    l->wake_fd = move_up(static_cast<int>(wake));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = source_tag; // no pointer: the eventfd
    sys::word r = sys::epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &event);
    if (sys::failed(r)) {
        sys::close(l->epoll_fd);
        sys::close(l->wake_fd);
        l->epoll_fd = l->wake_fd = -1;
        return static_cast<int>(-r);
    }
    fd_reserve(l->epoll_fd, true);
    fd_reserve(l->wake_fd, true);
    fd_note_process();
    return 0;
}

int open_descriptors(loop *l) {
    int error = descriptor_room::is_needed_from_the_start() ? EMFILE : open_descriptors_now(l);
    if (CO_LIKELY(error != EMFILE))
        return error;
    descriptor_room room;
    return open_descriptors_now(l);
}

void close_descriptors(loop *l) {
    for (int fd : {l->epoll_fd, l->wake_fd})
        if (fd >= 0) {
            fd_reserve(fd, false);
            sys::close(fd);
        }
    l->epoll_fd = l->wake_fd = -1;
}

void run_tasks(co_env *env, loop *l) {
    loop_task *task = l->tasks_first;
    l->tasks_first = l->tasks_last = nullptr;
    while (task) {
        loop_task *next = task->next; // run may free it
        task->run(env, task);
        task = next;
    }
}

void destroy_loop(co_env *env) {
    loop *l = env->event_loop;
    if (!l)
        return;
    while (l->tasks_first) // what was promised by posting them is kept
        run_tasks(env, l);
    if (l->ring)
        loop_hooks.destroy_ring(env);
    close_descriptors(l);
    env->event_loop = nullptr;
    l->descriptors.reset();
    l->~loop();
    sys::munmap(l, sizeof(loop));
}

// In the child of a fork: what was registered was registered for the parent. Loops of threads that
// the child does not have are closed; the forking thread's is opened anew when it is needed.
void reset_after_fork(co_env *env) {
    loop *l = env->event_loop;
    if (!l)
        return;
    close_descriptors(l);
    if (l->ring)
        loop_hooks.reset_ring_after_fork(env);
    if (env != tls_env)
        return;
    fd_forget_registrations_after_fork(l);
    l->sleeping = l->closed_pending = l->closed_lock = 0;
    new (&l->closed) raw_vector<int>; // another thread may have been at it: left as it is
    l->tasks_first = l->tasks_last = nullptr;
    l->sources = nullptr;
    l->timers.clear();
    // The thread's own stack goes on in the child: if it waits, it looks again.
    env->root.timer_index = no_timer;
    if (env->root.state == co_state::parked)
        env->make_ready(&env->root);
    // A child that never uses corun, perhaps one that may open nothing, needs no descriptors.
}

bool batch_is_due(loop *l) {
    return ++l->turns_since_poll >= turns_between_polls ||
           cycles() - l->polled_at_cycles >= cycles_between_polls;
}

sys::word wait_for_events(int epoll_fd, epoll_event *events, int64_t timeout_ns) {
    if (!__atomic_load_n(&lacks_pwait2, __ATOMIC_RELAXED)) {
        sys::kernel_timespec t{timeout_ns / ns_per_s, timeout_ns % ns_per_s};
        sys::word r = sys::call(SYS_epoll_pwait2, epoll_fd, events, events_per_poll,
                                timeout_ns == no_deadline ? nullptr : &t, nullptr, 0);
        if (r != -ENOSYS)
            return r;
        __atomic_store_n(&lacks_pwait2, true, __ATOMIC_RELAXED);
    }
    int64_t ms = timeout_ns == no_deadline ? -1 : (timeout_ns + ns_per_ms - 1) / ns_per_ms;
    return sys::call(SYS_epoll_pwait, epoll_fd, events, events_per_poll,
                     static_cast<int>(ms > INT32_MAX ? INT32_MAX : ms), nullptr, 0);
}

void expire_timers(co_env *env, loop *l) {
    if (l->timers.empty())
        return;
    int64_t now = now_ns();
    while (l->timers.first_deadline() <= now) {
        coroutine *co = l->timers.first();
        l->timers.remove(co);
        if (co->state != co_state::parked)
            continue; // woken already, and not yet run
        co->set(flag_timed_out);
        env->make_ready(co);
    }
}

bool is_busy(co_env *env, loop *l) {
    return env->ready_first || l->tasks_first || env->root.state == co_state::ready ||
           (l->until_all_ended && env->live == 0);
}

int64_t sleep_time(loop *l, int64_t wake_by_ns) {
    int64_t until = l->timers.first_deadline();
    if (wake_by_ns < until)
        until = wake_by_ns;
    if (until == no_deadline)
        return no_deadline;
    int64_t now = now_ns();
    return until > now ? until - now : 0;
}

void poll_once(co_env *env, loop *l, int64_t timeout_ns) {
    epoll_event events[events_per_poll];
    // The thread's own stack goes on in the child of a fork.
    if (CO_UNLIKELY(__atomic_load_n(&l->epoll_fd, __ATOMIC_RELAXED) < 0)) {
        int error = open_descriptors(l);
        CO_CHECK(error == 0, "the child of fork cannot open its own epoll: errno %d", error);
    }
    if (timeout_ns != 0) {
        // Declared asleep before the last look: whoever posts after it rings.
        __atomic_store_n(&l->sleeping, 1U, __ATOMIC_SEQ_CST);
        if (!inbox_empty(env) || __atomic_load_n(&l->closed_pending, __ATOMIC_SEQ_CST) != 0)
            timeout_ns = 0;
    }
    int epoll_fd = __atomic_load_n(&l->epoll_fd, __ATOMIC_ACQUIRE);
    sys::word n = wait_for_events(epoll_fd, events, timeout_ns);
    __atomic_store_n(&l->sleeping, 0U, __ATOMIC_RELAXED);
    ++l->counts.wakeups;
    l->turns_since_poll = 0;
    l->polled_at_cycles = cycles();
    bool failed = sys::failed(n);
    // Or fd_vacate moved the epoll on another thread, just before we went to sleep in it.
    bool interrupted = n == -EINTR || epoll_fd != __atomic_load_n(&l->epoll_fd, __ATOMIC_ACQUIRE);
    CO_CHECK(!failed || interrupted, "epoll_wait failed with errno %ld", -n);
    for (sys::word i = 0; i < (failed ? 0 : n); ++i) {
        uint64_t data = events[i].data.u64;
        if (!(data & source_tag)) {
            fd_handle_event(env, static_cast<int>(data & 0xFFFFFFFF),
                            static_cast<uint32_t>(data >> 32), events[i].events);
        } else if (data == source_tag) {
            on_wake_fd(l);
        } else {
            auto *s = reinterpret_cast<loop_source *>(static_cast<uintptr_t>(data & ~source_tag));
            s->on_ready(env, s, events[i].events);
        }
    }
}

void drop_timer(coroutine *co) { co->env->event_loop->timers.remove(co); }

} // namespace

void (*on_offload)(coroutine *co);

loop *loop_of(co_env *env, int *error) {
    loop *former = env->event_loop; // without descriptors: a forked child's
    if (CO_LIKELY(former && __atomic_load_n(&former->epoll_fd, __ATOMIC_RELAXED) >= 0))
        return former;
    sys::word r = former ? 0 : sys::mmap_anonymous(sizeof(loop), PROT_READ | PROT_WRITE, 0);
    int failure = sys::failed(r) ? ENOMEM : 0;
    loop *l = former ? former : failure ? nullptr : new (reinterpret_cast<void *>(r)) loop;
    if (l)
        failure = open_descriptors(l);
    if (failure) {
        if (l && !former)
            sys::munmap(l, sizeof(loop));
        if (error)
            *error = failure;
        return nullptr;
    }
    static pthread_once_t installed = PTHREAD_ONCE_INIT; // threads that race here write one by one
    pthread_once(&installed, [] {
        installed_env_hooks = {destroy_loop, reset_after_fork, drop_timer};
    });
    l->began_cycles = l->polled_at_cycles = l->turn_at_cycles = cycles();
    l->began_ns = now_ns();
    __atomic_store_n(&env->event_loop, l, __ATOMIC_RELEASE);
    return l;
}

int64_t parked_for_ns(const coroutine *co) {
    const loop *l = co->env->event_loop;
    if (co->state != co_state::parked || co->has(flag_queued) || !l)
        return -1;
    uint64_t now = cycles(), since = co->parked_at_cycles;
    if (now <= l->began_cycles || now <= since)
        return 0;
    auto ns = static_cast<double>(now_ns() - l->began_ns);
    return static_cast<int64_t>(ns / static_cast<double>(now - l->began_cycles) *
                                static_cast<double>(now - since));
}

void loop_turn(co_env *env, int64_t wake_by_ns) {
    loop *l = env->event_loop;
    l->turn_at_cycles = cycles();
    // Those made ready from here on wait for the next turn, but for a few.
    l->turn_left = env->ready_count + most_in_excess;
    while (l->turn_left > most_in_excess) {
        coroutine *co = env->pop_ready();
        if (!co)
            break;
        --l->turn_left;
        begin_turn_of(env, co);
        switch_to(env, &env->root, co);
        if (l->tasks_first)
            run_tasks(env, l);
    }
    l->turn_left = 0;
    if (CO_UNLIKELY(env->watch != nullptr))
        watch_turn_end(env);
    if (l->tasks_first) // what was posted outside of a turn
        run_tasks(env, l);
    if (!inbox_empty(env))
        inbox_drain(env);
    bool busy = is_busy(env, l);
    if (busy && !batch_is_due(l))
        return;
    int64_t sleep_ns = busy ? 0 : sleep_time(l, wake_by_ns);
    bool for_ever = sleep_ns == no_deadline;
    if (for_ever || (sleep_ns > 0 && l->turn_at_cycles >= l->look_at_cycles))
        look_for_deadlock(env, for_ever);
    poll_once(env, l, sleep_ns);
    if (__atomic_load_n(&l->closed_pending, __ATOMIC_ACQUIRE) != 0)
        fd_handle_closed_elsewhere(env);
    if (!inbox_empty(env))
        inbox_drain(env);
    expire_timers(env, l);
}

void loop_post(co_env *env, loop_task *task) {
    loop *l = env->event_loop;
    task->next = nullptr;
    if (l->tasks_last)
        l->tasks_last->next = task;
    else
        l->tasks_first = task;
    l->tasks_last = task;
}

int loop_add_source(co_env *env, loop_source *source) {
    int error = 0;
    loop *l = loop_of(env, &error);
    if (!l)
        return -error;
    source->fd = move_up(source->fd);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = source_tag | reinterpret_cast<uintptr_t>(source);
    sys::word r = sys::epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, source->fd, &event);
    if (sys::failed(r))
        return static_cast<int>(r);
    fd_reserve(source->fd, true);
    source->next = l->sources;
    l->sources = source;
    return 0;
}

void loop_remove_source(co_env *env, loop_source *source) {
    loop *l = env->event_loop;
    epoll_event unused{};
    sys::epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, source->fd, &unused);
    fd_reserve(source->fd, false);
    loop_source **at = &l->sources;
    while (*at != source)
        at = &(*at)->next;
    *at = source->next;
}

} // namespace corun
