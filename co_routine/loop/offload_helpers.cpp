// SPDX-License-Identifier: Apache-2.0
#include "co_routine/loop/offload_helpers.h"

#include "co_routine/base/at_fork.h"
#include "co_routine/loop/fork_generation.h"
#include "co_routine/loop/loop.h"
#include "co_routine/loop/offload_pool.h"

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <linux/futex.h>
#include <new>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

namespace corun {

constinit helper_pool pool;
unsigned pool_lock;
uint32_t pool_generation;
int64_t helper_idle_limit_ns = 5 * ns_per_s;
size_t helper_stack_bytes = 256 * 1024; // getaddrinfo and what nsswitch loads

namespace {

constexpr int64_t fork_patience_ns = 100 * ns_per_ms;
constexpr int64_t end_patience_ns = 30 * ns_per_s;

thread_local bool is_helper, fork_holds_lock;

// The helpers, and whatever they were doing, stayed in the parent.
void begin_generation(uint32_t generation) {
    new (&pool) helper_pool;
    fork_holds_lock = false;
    pool_generation = generation;
    spin_release(&pool_lock);
}

void begin_generation_if_forked() {
    uint32_t generation = fork_generation();
    if (CO_UNLIKELY(generation != __atomic_load_n(&pool_generation, __ATOMIC_RELAXED)))
        begin_generation(generation);
}

void nap(uint32_t *word, uint32_t seen, int64_t ns) {
    sys::kernel_timespec t{ns / ns_per_s, ns % ns_per_s};
    sys::call(sys::nr_futex, word, FUTEX_WAIT_PRIVATE, seen, &t);
}

void futex_wake_all(uint32_t *word) {
    sys::call(sys::nr_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

void take_next(helper *h) {
    if (h->epoch != pool.epoch)
        return;
    for (offload_kind kind : {offload_own, offload_shared, offload_lookup}) {
        list_node *n = room_for(kind) > 0 ? pool.of[kind].queue.front() : nullptr;
        if (!n)
            continue;
        offload_job *job = CO_CONTAINER(n, offload_job, link);
        dequeue(job);
        give(h, job);
        return;
    }
}

// ---- The helper's life

// Waits for a job on the idle list; false: none came in time. Called and left with the lock held.
bool wait_idle(helper *h) {
    h->told = 0;
    h->next_idle = pool.idle;
    pool.idle = h;
    spin_release(&pool_lock);
    int64_t until = now_ns() + __atomic_load_n(&helper_idle_limit_ns, __ATOMIC_RELAXED);
    while (__atomic_load_n(&h->told, __ATOMIC_ACQUIRE) == 0) {
        int64_t left = until - now_ns();
        if (left <= 0)
            break;
        nap(&h->told, 0, left);
    }
    san_acquire(&h->told);
    spin_acquire(&pool_lock);
    if (h->told)
        return h->job != nullptr;
    helper **at = &pool.idle;
    while (*at != h)
        at = &(*at)->next_idle;
    *at = h->next_idle;
    return false;
}

// Makes the call with the lock released. The job is not touched again once its waiter may free it.
void do_job(helper *h) {
    offload_job *job = h->job;
    spin_release(&pool_lock);
    int64_t result = perform_job(job);
    spin_acquire(&pool_lock);
    h->job = nullptr;
    pool.functions_running -= job->function != nullptr;
    pool.of[job->how].running -= job->runner_epoch == pool.epoch;
    if (job->waiter) {
        finish(job, result);
        return;
    }
    if (job->on_late) {
        spin_release(&pool_lock);
        job->on_late(result, job->args);
        spin_acquire(&pool_lock);
    }
    release_block(job);
}

void *helper_main(void *argument) {
    is_helper = true;
    sys::call(SYS_prctl, PR_SET_NAME, "corun-helper");
    helper self;
    self.epoch = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(argument));
    spin_acquire(&pool_lock);
    --pool.starting;
    --pool.unborn;
    ++pool.count;
    pool.all.push_back(&self.link);
    for (;;) {
        take_next(&self);
        if (!self.job && (self.epoch != pool.epoch || !wait_idle(&self)))
            break;
        do_job(&self);
    }
    self.link.unlink();
    --pool.count;
    pool.left[pool.left_next++ % std::size(pool.left)] = static_cast<int>(sys::gettid());
    __atomic_add_fetch(&pool.ended, 1U, __ATOMIC_RELEASE);
    futex_wake_all(&pool.ended);
    spin_release(&pool_lock);
    return nullptr;
}

bool start_by_pthread(void *(*main)(void *), void *argument) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, helper_stack_bytes);
    pthread_t thread;
    int error = pthread_create(&thread, &attributes, main, argument);
    pthread_attr_destroy(&attributes);
    return error == 0;
}

bool create_thread(uint32_t epoch) {
    // All but the faults, which the kernel does not let anybody block, and glibc's own two, without
    // which its setuid would wait for ever.
    uint64_t mask = ~uint64_t{0}, former = 0;
    for (int s : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, 32, 33})
        mask &= ~(uint64_t{1} << (s - 1));
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &mask, &former, sys::sigset_bytes);
    bool started =
        start_helper_thread(helper_main, reinterpret_cast<void *>(static_cast<uintptr_t>(epoch)));
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &former, nullptr, sys::sigset_bytes);
    return started;
}

// ---- fork

void before_fork() {
    begin_generation_if_forked(); // by other means than fork(), which left the lock as it was
    int64_t until = now_ns() + fork_patience_ns;
    unsigned own = is_helper ? 1 : 0; // a function that forks does not wait for itself
    for (;;) {
        // A signal handler may fork where it interrupted a holder of the lock: so this is bounded.
        bool last = now_ns() >= until;
        if (spin_try(&pool_lock)) {
            fork_holds_lock = true;
            if (pool.functions_running <= own || last)
                return;
            fork_holds_lock = false;
            spin_release(&pool_lock);
        } else if (last) {
            return;
        }
        uint32_t word = 0;
        nap(&word, 0, ns_per_ms / 5);
    }
}

void after_fork_in_parent() {
    if (fork_holds_lock) {
        fork_holds_lock = false;
        spin_release(&pool_lock);
    }
}

// Handlers that ran before this one may have begun the generation already, and used the pool.
void after_fork_in_child() { begin_generation_if_forked(); }

// ---- The end of all

// Until none of an earlier epoch is there but in own calls.
void wait_for_former_helpers() {
    int64_t until = now_ns() + end_patience_ns;
    for (;;) {
        size_t busy;
        uint32_t seen;
        {
            pool_guard guard;
            seen = pool.ended;
            busy = pool.unborn;
            for (list_node *n = pool.all.ring.next; n != &pool.all.ring; n = n->next) {
                helper *h = CO_CONTAINER(n, helper, link);
                busy += h->epoch != pool.epoch && !(h->job && h->job->how == offload_own);
            }
        }
        if (busy == 0)
            return;
        if (now_ns() >= until) {
            warn("%zu helper threads are still inside a call after 30 s", busy);
            return;
        }
        nap(&pool.ended, seen, 10 * ns_per_ms);
    }
}

// For the kernel too: unshare and setns look at the number of threads. A number may have been given
// to somebody else by now, so this is bounded.
void wait_until_gone() {
    int left[std::size(pool.left)];
    {
        pool_guard guard;
        memcpy(left, pool.left, sizeof left);
        memset(pool.left, 0, sizeof pool.left);
    }
    int64_t until = now_ns() + ns_per_s;
    for (int tid : left)
        while (tid != 0 && sys::call(SYS_tgkill, sys::getpid(), tid, 0) == 0 && now_ns() < until)
            sys::call(SYS_sched_yield);
}

// Run by the loop: see loop_post.
void start_helper(co_env *env, loop_task *task) {
    env->slab.release(task, sizeof *task);
    static bool registered;
    if (!__atomic_exchange_n(&registered, true, __ATOMIC_ACQ_REL))
        at_fork(before_fork, after_fork_in_parent, after_fork_in_child);
    uint32_t epoch;
    {
        pool_guard guard;
        if (wanted_helpers() == 0) {
            --pool.starting;
            return;
        }
        ++pool.unborn;
        epoch = pool.epoch;
    }
    if (create_thread(epoch))
        return;
    pool_guard guard;
    --pool.unborn;
    --pool.starting;
    fail_waiting_jobs();
}

} // namespace

bool (*start_helper_thread)(void *(*main)(void *), void *argument) = start_by_pthread;

pool_guard::pool_guard() {
    begin_generation_if_forked();
    spin_acquire(&pool_lock);
}

void tell(helper *h) {
    san_release(&h->told);
    __atomic_store_n(&h->told, 1U, __ATOMIC_RELEASE);
    futex_wake_all(&h->told);
}

// Promised under the lock (pool.starting), asked for without it.
void ask_for_helper(co_env *env) {
    void *block = loop_of(env) ? env->slab.allocate(sizeof(loop_task)) : nullptr;
    if (block) {
        loop_post(env, new (block) loop_task{nullptr, start_helper});
        return;
    }
    pool_guard guard;
    --pool.starting;
    fail_waiting_jobs();
}

int64_t perform_job(offload_job *job) {
    if (job->function)
        return job->function(job->buffer_count ? job->buffers()[0].bounce : nullptr);
    const long *a = job->args;
    sys::word r;
    do // no handler of the program's ran here: what interrupted was the runtime's or a stop
        r = sys::call6(job->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    while (r == -EINTR && is_helper);
    return r;
}

// The helpers are ended by number of epoch, so those that others start meanwhile stay.
void offload_end_helpers() {
    if (is_helper)
        return; // a function that changes credentials changes its own
    {
        pool_guard guard;
        if (pool.count == 0 && pool.unborn == 0)
            return;
        ++pool.epoch;
        for (auto &of : pool.of)
            of.running = 0;
        for (helper *h = pool.idle; h; h = h->next_idle)
            tell(h);
        pool.idle = nullptr;
    }
    wait_for_former_helpers();
    wait_until_gone();
    // Queued jobs counted on those that ended: whoever waits for one asks for a helper again.
    pool_guard guard;
    for (auto &of : pool.of)
        for (list_node *n = of.queue.ring.next; n != &of.queue.ring; n = n->next)
            unpark(CO_CONTAINER(n, offload_job, link)->waiter);
}

size_t offload_helper_count() {
    pool_guard guard;
    return pool.count;
}

bool offload_on_helper() { return is_helper; }

} // namespace corun
