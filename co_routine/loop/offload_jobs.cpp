// SPDX-License-Identifier: Apache-2.0
#include "co_routine/loop/offload_pool.h"

#include <cerrno>
#include <initializer_list>
#include <new>
#include <sys/mman.h>

namespace corun {
namespace {

constexpr size_t largest_slab_job = 32 * 1024;
constexpr size_t largest_populated_job = 1024 * 1024;

// Never destroyed: helpers may outlive the static destructors. Made anew in a forked child, where
// the old one may have been copied half-way through a change.
alignas(slab_pool) char job_memory[sizeof(slab_pool)];
bool job_memory_made;
uint32_t job_memory_generation;

// Under the lock.
slab_pool *jobs() {
    if (!job_memory_made || job_memory_generation != pool_generation) {
        new (job_memory) slab_pool;
        job_memory_made = true;
        job_memory_generation = pool_generation;
    }
    return std::launder(reinterpret_cast<slab_pool *>(job_memory));
}

void enqueue(offload_job *job) {
    pool.of[job->how].queue.push_back(&job->link);
    ++pool.of[job->how].waiting;
}

} // namespace

void dequeue(offload_job *job) {
    job->link.unlink();
    --pool.of[job->how].waiting;
}

void give(helper *h, offload_job *job) {
    h->job = job;
    job->state = job_state::running;
    job->runner_epoch = h->epoch;
    ++pool.of[job->how].running;
    pool.functions_running += job->function != nullptr;
}

void release_block(offload_job *job) {
    if (job->block_bytes > largest_slab_job)
        sys::munmap(job, job->block_bytes);
    else if (job->generation == pool_generation) // else the child's copy, of a slab that is gone
        jobs()->release(job, job->block_bytes);
}

void finish(offload_job *job, int64_t result) {
    job->result = result;
    job->state = job_state::done;
    if (job->waiter)
        unpark(job->waiter);
}

void fail_waiting_jobs() {
    while (pool.of[offload_own].waiting > pool.starting) {
        offload_job *job = CO_CONTAINER(pool.of[offload_own].queue.ring.prev, offload_job, link);
        dequeue(job);
        finish(job, -EAGAIN);
    }
    for (offload_kind kind : {offload_shared, offload_lookup})
        while (pool.of[kind].running == 0 && pool.starting == 0 && pool.of[kind].waiting > 0) {
            offload_job *job = CO_CONTAINER(pool.of[kind].queue.front(), offload_job, link);
            dequeue(job);
            job->self_made = true;
            finish(job, 0);
        }
}

offload_job *allocate_job(int buffer_count, size_t bytes) {
    size_t all = sizeof(offload_job) + static_cast<size_t>(buffer_count) * sizeof(job_buffer);
    if (__builtin_add_overflow(all, bytes, &all))
        return nullptr;
    void *block = nullptr;
    if (all > largest_slab_job) {
        int flags = MAP_NORESERVE | (all <= largest_populated_job ? MAP_POPULATE : 0);
        sys::word r = sys::mmap_anonymous(all, PROT_READ | PROT_WRITE, flags);
        block = sys::failed(r) ? nullptr : reinterpret_cast<void *>(r);
    }
    pool_guard guard;
    if (all <= largest_slab_job)
        block = jobs()->allocate(all);
    if (!block)
        return nullptr;
    offload_job *job = new (block) offload_job;
    job->block_bytes = all;
    job->buffer_count = buffer_count;
    job->generation = pool_generation;
    return job;
}

void free_job(offload_job *job) {
    pool_guard guard;
    release_block(job);
}

void submit_job(co_env *env, offload_job *job) {
    {
        pool_guard guard;
        helper *h = room_for(job->how) > 0 ? pool.idle : nullptr;
        if (h) {
            pool.idle = h->next_idle;
            give(h, job);
            tell(h);
            return;
        }
        enqueue(job);
        if (!promise_helper())
            return;
    }
    ask_for_helper(env);
}

bool job_is_done(co_env *env, offload_job *job) {
    {
        pool_guard guard;
        if (job->generation != pool_generation && job->state != job_state::done) {
            job->result =
                -EINTR; // the thread's own stack, in a forked child: the call is the parent's
            job->state = job_state::done;
        }
        if (job->state != job_state::queued || !promise_helper())
            return job->state == job_state::done;
    }
    ask_for_helper(env);
    pool_guard guard;
    return job->state == job_state::done;
}

bool give_up_job(offload_job *job) {
    {
        pool_guard guard;
        if (job->state == job_state::done)
            return true;
        job->waiter = nullptr;
        if (job->generation != pool_generation) { // its helper is another process's
            release_block(job);
            return false;
        }
        if (job->state == job_state::running)
            return false; // the helper goes on with it
        dequeue(job);
    }
    drop_job(job, -ECANCELED);
    return false;
}

void drop_job(offload_job *job, int64_t result) {
    if (job->on_late)
        job->on_late(result, job->args);
    free_job(job);
}

} // namespace corun
