// SPDX-License-Identifier: Apache-2.0
// What a thread has: its coroutines, their stacks, the ready queue, the counters. Made when the
// thread first uses corun, destroyed when it ends. Everything belongs to that thread but the inbox.
#pragma once

#include "co_routine/base/check.h"
#include "co_routine/base/raw_vector.h"
#include "co_routine/base/slab.h"
#include "co_routine/core/coroutine.h"
#include "co_routine/stack/private_stack.h"

namespace corun {

struct loop;       // loop/loop.h
struct turn_watch; // debug/blocked.cpp

// The C++ runtime's exception state of a thread, as the Itanium ABI lays it out.
struct eh_globals {
    void *caught_exceptions;
    unsigned uncaught_exceptions;
};

struct env_counts {
    uint64_t created = 0, ended = 0, cancelled = 0, unwind_stopped = 0, switches = 0;
};

struct co_env {
    coroutine root;                  // the thread's own stack
    char *root_stack_high = nullptr; // root.stack_low .. here
    coroutine *running = &root;
    int *errno_at = nullptr;
    eh_globals *eh = nullptr; // nullptr: no C++ runtime in the process
    env_counts counts;
    copy_counts copies;

    coroutine *ready_first = nullptr, *ready_last = nullptr;
    size_t ready_count = 0;
    size_t live = 0; // started and not ended

    coroutine *courier = nullptr;    // copies where the leaver stands on the stack to be copied
    coroutine *courier_to = nullptr; // whom it brings in next
    shared_stack gate;               // under a sanitizer, the home of those that have none
    void *buried_fiber = nullptr;    // TSan's, of the coroutine that ended last
    void *discarded_regs[COCTX_LIVE_REGS]; // where one that ends saves its registers

    slab_pool slab;
    raw_vector<coroutine *> all; // coroutine::index is the place in it
    raw_vector<stack_pool *> pools;
    raw_vector<stShareStack_t *> shared;
    uint32_t next_id = 0, ids_end = 0; // of its share of the ids
    bool debugging_prepared = false;   // atomic: co_set_debug takes it back

    loop *event_loop = nullptr;
    turn_watch *watch = nullptr; // CO_DEBUG_BLOCKED
    coroutine *inbox = nullptr;  // atomic: coroutines with pending != 0, last come first
    unsigned posters = 0;        // atomic: threads that are posting; the env outlives them

    co_env *next_env = nullptr; // of all threads, under the registry's lock

    void make_ready(coroutine *co);
    coroutine *pop_ready();                                       // nullptr: none
    stack_pool *pool_for(size_t stack_bytes, size_t guard_bytes); // nullptr: no memory
};

// The calling thread's; env_or_null never makes one. Initial-exec: one load, and no call into the
// dynamic linker, which would allocate.
extern constinit thread_local co_env *tls_env __attribute__((visibility("hidden")));
inline co_env *env_or_null() { return tls_env; }
co_env *make_env(); // nullptr: no memory
inline co_env *current_env() { return CO_LIKELY(tls_env != nullptr) ? tls_env : make_env(); }

// The running coroutine if it is one; nullptr on the thread's own stack.
inline coroutine *running_coroutine() {
    co_env *env = tls_env;
    return env && env->running != &env->root ? env->running : nullptr;
}

// Every env of the process, for what concerns them all (close, dup2, co_set_debug). f may not block.
void for_each_env(void (*f)(co_env *env, void *arg), void *arg);

// loop/ hangs its end and its fork handler in here, so that core need not know it.
struct env_hooks {
    void (*destroy_loop)(co_env *env) = nullptr;
    void (*reset_loop_after_fork)(co_env *env) = nullptr;
    void (*drop_timer)(coroutine *co) = nullptr; // of one that is freed while it waits
};
extern env_hooks installed_env_hooks __attribute__((visibility("hidden")));

// Gives a group of shared stacks back, whose tenants have left.
void free_sharestack(co_env *env, stShareStack_t *group);

// A private stack with a control block at its top; nullptr: no memory. Undone by free_coroutine.
coroutine *place_on_private_stack(co_env *env, size_t stack_bytes, size_t guard_bytes);

unsigned debug_flags();      // CO_DEBUG_*: from CORUN_DEBUG and co_set_debug
unsigned blocked_limit_ms(); // of CO_DEBUG_BLOCKED

// In debug/, for the first coroutine of a thread and for its end, and once its env is a child's. Called by
// name, unlike the hooks above: from a static archive only objects that somebody names are linked,
// constructors or not.
void prepare_debugging(co_env *env);
void end_debugging(co_env *env);
void deadlocks_after_fork_in_child();

} // namespace corun

inline char *stCoRoutine_t::high_end() const {
    if (shared_home())
        return pool ? stack_low + pool->stack_bytes() : tenancy.home->high;
    if (has(corun::flag_root))
        return env->root_stack_high;
    if (has(corun::flag_elsewhere))
        return stack_high;
    return reinterpret_cast<char *>(const_cast<stCoRoutine_t *>(this)); // it stands on its stack
}
