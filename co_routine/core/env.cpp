// SPDX-License-Identifier: Apache-2.0
#include "co_routine/core/env.h"

#include "co_routine/base/at_fork.h"
#include "co_routine/base/check.h"
#include "co_routine/base/spinlock.h"
#include "co_routine/core/locals.h"
#include "co_routine/core/own_range.h"
#include "co_routine/core/watched.h"

#include <cerrno>
#include <dlfcn.h>
#include <new>
#include <pthread.h>
#include <sys/mman.h>

// In a program without a C++ runtime there is none, and no exception state to keep apart.
extern "C" __attribute__((weak)) void *__cxa_get_globals();

namespace corun {

constinit thread_local co_env *tls_env;
env_hooks installed_env_hooks;

namespace {

pthread_once_t process_once = PTHREAD_ONCE_INIT;
pthread_key_t thread_end_key;
unsigned registry_lock;
co_env *registry; // of every env, linked by next_env

void name_running(char *out, unsigned size) {
    const coroutine *co = running_coroutine();
    unsigned n = co ? describe(out, size, co) : 0;
    format_line(out + n, size - n, co ? ": " : "");
}

void free_pools(co_env *env) {
    while (!env->shared.empty())
        free_sharestack(env, env->shared.back());
    for (size_t i = 0; i < env->pools.size(); ++i)
        env->pools[i]->~stack_pool();
}

void destroy_env(void *argument) {
    co_env *env = static_cast<co_env *>(argument);
    {
        spin_guard guard(&registry_lock);
        co_env **at = &registry;
        while (*at != env)
            at = &(*at)->next_env;
        *at = env->next_env;
    }
    // Coroutines that are left are dropped, as by co_release; destructors of locals may still ask
    // who runs, so the thread keeps its env until they are gone.
    while (!env->all.empty()) {
        coroutine *co = env->all.back();
        co->flags &= static_cast<uint16_t>(~flag_queued);
        __atomic_store_n(&co->pending, 0U, __ATOMIC_RELAXED);
        free_coroutine(co);
    }
    run_local_destructors(&env->root);
    // What was posted may have ended the last coroutine before its poster has rung the loop.
    while (__atomic_load_n(&env->posters, __ATOMIC_ACQUIRE) != 0)
        sys::call(SYS_sched_yield);
    if (installed_env_hooks.destroy_loop)
        installed_env_hooks.destroy_loop(env);
    end_debugging(env);
    tls_env = nullptr;
    stop_watching_thread(env);
    free_pools(env);
    env->~co_env();
    sys::munmap(env, sizeof(co_env));
}

// fork copies the forking thread alone. Its own coroutine, and those that wait for it to yield, go
// on; the others stay in the parent: here they count as ended, for their handles may still be held.
void drop_others_after_fork(co_env *env) {
    for (size_t i = 0; i < env->all.size(); ++i) {
        coroutine *co = env->all[i];
        if (co->state == co_state::running || co->state == co_state::resuming)
            continue;
        if (co->has(flag_started) && co->state != co_state::ended)
            --env->live;
        bool dropped = co->state != co_state::fresh && co->state != co_state::ended;
        if (dropped)
            co->state = co_state::ended;
        if (co->waiting && co->waiting->abandon)
            co->waiting->abandon(co);
        if (dropped)
            co->result = CO_CANCELED; // where its deadline stood
        if (co->tenancy.home && co->tenancy.home->occupant == co)
            co->tenancy.home->occupant = co->tenancy.home->admitted = nullptr;
        co->waiting = nullptr;
        co->timer_index = no_timer;
        co->pending = 0;
        co->flags &= static_cast<uint16_t>(~flag_queued);
        if (co->has(flag_detached)) {
            co->set(flag_unwinding);
            free_coroutine(co);
            --i; // another one stands here now
        }
    }
    env->ready_first = env->ready_last = nullptr;
    env->ready_count = 0;
    env->inbox = nullptr;
    env->posters = 0;
}

void after_fork_in_child() {
    registry_lock = 0;
    own_ranges_after_fork_in_child();
    reset_keys_lock_after_fork();
    if (tls_env)
        drop_others_after_fork(tls_env); // takes them out of the loop's queues: before its reset
    for (co_env *env = registry; env && installed_env_hooks.reset_loop_after_fork;
         env = env->next_env)
        installed_env_hooks.reset_loop_after_fork(env);
    deadlocks_after_fork_in_child();
    registry = tls_env;
    if (tls_env)
        tls_env->next_env = nullptr;
}

void set_up_process() {
    set_name_function(name_running);
    pthread_key_create(&thread_end_key, destroy_env);
    at_fork(nullptr, nullptr, after_fork_in_child);
}

eh_globals *find_eh_globals() {
    using getter = void *(*)();
    getter get = __cxa_get_globals;
    if (!get) // the C++ runtime may have come by dlopen
        get = reinterpret_cast<getter>(dlsym(RTLD_DEFAULT, "__cxa_get_globals"));
    return get ? static_cast<eh_globals *>(get()) : nullptr;
}

void set_up_root(co_env *env) {
    env->root.env = env;
    env->root.state = co_state::running;
    env->root.set(flag_root);
    env->root.set(flag_started);
}

} // namespace

co_env *make_env() {
    pthread_once(&process_once, set_up_process);
    find_watchers();
    sys::word r = sys::mmap_anonymous(sizeof(co_env), PROT_READ | PROT_WRITE, 0);
    if (sys::failed(r))
        return nullptr;
    co_env *env = new (reinterpret_cast<void *>(r)) co_env;
    set_up_root(env);
    if (has_fibers())
        watch_root(env);
    env->errno_at = &errno;
    env->eh = find_eh_globals();
    tls_env = env;
    pthread_setspecific(thread_end_key, env);
    spin_guard guard(&registry_lock);
    env->next_env = registry;
    registry = env;
    return env;
}

void for_each_env(void (*f)(co_env *env, void *arg), void *arg) {
    spin_guard guard(&registry_lock);
    for (co_env *env = registry; env; env = env->next_env)
        f(env, arg);
}

void co_env::make_ready(coroutine *co) {
    co->state = co_state::ready;
    if (co->has(flag_root) || co->has(flag_queued))
        return; // the root looks at its state itself
    co->set(flag_queued);
    co->ready_next = nullptr;
    if (ready_last)
        ready_last->ready_next = co;
    else
        ready_first = co;
    ready_last = co;
    ++ready_count;
}

// One that was resumed by hand, or ended, while it stood here is passed over.
coroutine *co_env::pop_ready() {
    while (coroutine *co = ready_first) {
        ready_first = co->ready_next;
        if (!ready_first)
            ready_last = nullptr;
        --ready_count;
        co->clear(flag_queued);
        if (co->state == co_state::ready)
            return co;
        if (co->has(flag_doomed))
            free_coroutine(co);
    }
    return nullptr;
}

stack_pool *co_env::pool_for(size_t stack_bytes, size_t guard_bytes) {
    for (size_t i = 0; i < pools.size(); ++i)
        if (pools[i]->stack_bytes() == stack_bytes && pools[i]->guard_bytes() == guard_bytes)
            return pools[i];
    void *block = pools.reserve(pools.size() + 1) ? slab.allocate(sizeof(stack_pool)) : nullptr;
    if (!block)
        return nullptr;
    pools.push_back(new (block) stack_pool(stack_bytes, guard_bytes));
    return pools.back();
}

} // namespace corun
