// SPDX-License-Identifier: Apache-2.0
// The event loop: one per thread, run on the thread's own stack by co_run, co_eventloop, or a wait
// of that stack. One turn: the coroutines that are ready now, then, when it is time, the wake-ups of
// other threads, descriptors and deadlines. With nothing ready it sleeps until the next of these; an
// idle loop wakes for nothing.
//
// Fair: coroutines made ready during a turn run in the next, but for 16 that those who park may go
// straight on to (loop/park.cpp); and descriptors and timers are looked at every few turns at the
// latest, so one that is always ready starves nobody.
#pragma once

#include "co_routine/base/sparse_array.h"
#include "co_routine/core/env.h"
#include "co_routine/loop/timers.h"

namespace corun {

struct uring; // loop/uring.cpp

// Work for the loop itself, where malloc and thread creation are allowed; run once, then forgotten.
struct loop_task {
    loop_task *next;
    void (*run)(co_env *env, loop_task *task);
};
void loop_post(co_env *env, loop_task *task); // on env's own thread

// A descriptor of the runtime's own in the loop's epoll, level triggered. It counts as reserved.
struct loop_source {
    loop_source *next;
    int fd;
    void (*on_ready)(co_env *env, loop_source *source, uint32_t epoll_events);
};
int loop_add_source(co_env *env, loop_source *source); // 0 or -errno
void loop_remove_source(co_env *env, loop_source *source);

// Lists of those who wait on a descriptor; readers and writers also index the readiness cache.
enum fd_queue : uint8_t { queue_readers, queue_writers, queue_watchers, queue_pollers, fd_queues };

// What a thread knows of a descriptor. All zero: nothing. See loop/fd_events.h for the rules.
struct fd_entry {
    list_head queue[fd_queues];
    uint32_t generation; // of the number: changes when it is closed or replaced
    bool initialised;
    bool registered; // in the epoll
    bool may[2];     // readiness by direction, meaningful while registered
    uint32_t seen;   // RDHUP, HUP, ERR, PRI ever seen on it
};

struct loop_counts {
    uint64_t wakeups = 0, epoll_calls = 0, cross_wakes = 0, offloads = 0;
};

inline constexpr size_t most_in_excess = 16; // how many, in a turn, who parks may go straight on to

struct loop {
    int epoll_fd = -1;
    int wake_fd = -1;             // eventfd: other threads ring it when the loop sleeps
    unsigned sleeping = 0;        // atomic: 1 while a wake-up must ring
    bool until_all_ended = false; // co_run: with nobody left there is nothing to sleep for
    // How many this turn may still run: those that were ready when it began, and most_in_excess that
    // have become so meanwhile. 0 outside of a turn.
    size_t turn_left = 0;
    unsigned turns_since_poll = 0;
    uint64_t polled_at_cycles = 0;
    uint64_t turn_at_cycles = 0; // when the latest turn began
    uint64_t began_cycles =
        0; // when the loop was made, and the same moment on the clock, to tell how long a cycle is
    int64_t began_ns = 0;
    timer_heap timers;
    loop_task *tasks_first = nullptr, *tasks_last = nullptr;
    sparse_array<fd_entry> descriptors;
    size_t registered = 0;
    raw_vector<int> closed; // under closed_lock: what other threads closed (fd) or replaced (~fd)
    unsigned closed_lock = 0;
    unsigned closed_pending = 0; // atomic
    int closed_in_handlers[16] =
        {}; // by signal handlers on this thread, which may not touch queues
    unsigned closed_in_handlers_count = 0; // atomic
    loop_source *sources = nullptr;
    uring *ring = nullptr;
    loop_counts counts;
    // debug/deadlock.cpp's: when to look next, in cycles; one that is not asleep (its place in env->all)
    // when it was looked last; that something else than coroutines may wake them all.
    uint64_t look_at_cycles = 0;
    size_t awake_at_look = 0;
    bool may_be_woken = false;
};

// The end and the fork handler of l->ring: uring.cpp's.
struct ring_hooks {
    void (*destroy_ring)(co_env *env) = nullptr;
    void (*reset_ring_after_fork)(co_env *env) = nullptr;
};
extern const ring_hooks loop_hooks __attribute__((visibility("hidden")));

// The env's loop, made at first use. nullptr: no memory or no descriptor, errno value in *error.
loop *loop_of(co_env *env, int *error = nullptr);

// Runs what is ready; sleeps, if nothing is, at most until wake_by_ns.
void loop_turn(co_env *env, int64_t wake_by_ns);

// CO_DEBUG_BLOCKED, defined in debug/ and called by name as prepare_debugging is: co is about to be
// switched to by the loop; all that were ready have run.
void watch_switch(co_env *env, const coroutine *co);
void watch_turn_end(co_env *env);
// As these: nothing is ready and the loop is about to sleep; for_ever: no deadline will end that.
void look_for_deadlock(co_env *env, bool for_ever);

// For how long about it has been parked; -1: it is not, or nobody knows.
int64_t parked_for_ns(const coroutine *co);

// For who counts by call (co_hook/waist): co gives one to a helper or to io_uring.
extern void (*on_offload)(coroutine *co) __attribute__((visibility("hidden")));
inline void count_offload(co_env *env) {
    ++env->event_loop->counts.offloads;
    if (CO_UNLIKELY(on_offload != nullptr))
        on_offload(env->running);
}

// Starts a coroutine that never ran: counts it as live.
inline void count_as_started(co_env *env, coroutine *co) {
    if (!co->has(flag_started)) {
        co->set(flag_started);
        ++env->live;
    }
}

// Before the loop, or one that parks in its place, switches to co, which is ready.
inline void begin_turn_of(co_env *env, coroutine *co) {
    count_as_started(env, co);
    // As resume() does, but the root keeps its own state: it may be parked, and this loop its way of
    // waiting.
    co->caller = &env->root;
    co->clear(flag_woken);
    co->state = co_state::running;
    if (!env->eh)
        ++co->turns;
    if (CO_UNLIKELY(env->watch != nullptr))
        watch_switch(env, co);
}

// fd_events.cpp: registers fd with env's epoll unless it is. 0 and its entry, or -errno.
int fd_register(co_env *env, int fd, fd_entry **out);
// What epoll reported for a descriptor, and numbers that other threads closed.
void fd_handle_event(co_env *env, int fd, uint32_t generation, uint32_t events);
void fd_handle_closed_elsewhere(co_env *env);
void fd_forget_registrations_after_fork(loop *l);
void fd_reserve(int fd, bool reserved);
void fd_note_process(); // the loops and what they know are this process's

} // namespace corun
