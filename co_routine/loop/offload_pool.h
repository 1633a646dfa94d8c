// SPDX-License-Identifier: Apache-2.0
// What helper threads and the coroutines that give them jobs have in common; for
// offload_helpers.cpp (the threads) and offload_jobs.cpp (the jobs) alone. All of it is read and
// written under the lock: inside a pool_guard, but on helpers, which keep it from job to job.
#pragma once

#include "co_routine/base/spinlock.h"
#include "co_routine/loop/offload_helpers.h"

namespace corun {

struct helper {
    list_node link;
    helper *next_idle = nullptr;
    uint32_t told = 0; // futex: 1 when there is a job, or it must end
    offload_job *job = nullptr;
    uint32_t epoch = 0;
};

struct helper_pool {
    struct {
        list_head queue;
        size_t waiting = 0;
        unsigned running = 0; // in this epoch
    } of[offload_kinds];
    unsigned functions_running = 0; // inside libc
    unsigned starting = 0;          // the loop was asked for them, or they have not got here yet
    unsigned unborn = 0;            // of those: the thread exists
    uint32_t epoch = 0;             // offload_end_helpers begins a new one
    uint32_t ended = 0;             // futex: how many helpers have ended
    list_head all;
    size_t count = 0;
    helper *idle = nullptr; // last come first: the others get old and end
    int left[256] = {}; // ids of threads that have ended, the latest ones: see offload_end_helpers
    unsigned left_next = 0;
};

extern helper_pool pool __attribute__((visibility("hidden")));
extern unsigned pool_lock __attribute__((visibility("hidden")));
extern uint32_t pool_generation __attribute__((visibility("hidden")));
// Tests change these.
extern int64_t helper_idle_limit_ns __attribute__((visibility("hidden")));
extern size_t helper_stack_bytes __attribute__((visibility("hidden")));

// The lock, in the process that the pool belongs to: in a forked child all of it begins anew.
class pool_guard {
  public:
    pool_guard();
    ~pool_guard() { spin_release(&pool_lock); }
    pool_guard(const pool_guard &) = delete;
    pool_guard &operator=(const pool_guard &) = delete;
};

// ---- Under the lock

// How many more jobs of this kind may be under way.
inline unsigned room_for(offload_kind kind) {
    unsigned running = pool.of[kind].running;
    return running < most_at_once[kind] ? most_at_once[kind] - running : 0;
}

// Helpers that the queues could use now.
inline size_t wanted_helpers() {
    size_t wanted = 0;
    for (int k = 0; k < offload_kinds; ++k) {
        size_t room = room_for(static_cast<offload_kind>(k)), waiting = pool.of[k].waiting;
        wanted += waiting < room ? waiting : room;
    }
    return wanted;
}

// To be followed, without the lock, by ask_for_helper where this is true.
inline bool promise_helper() {
    bool needed = wanted_helpers() > pool.starting;
    pool.starting += needed;
    return needed;
}

void dequeue(offload_job *job);
void give(helper *h, offload_job *job);
void tell(helper *h); // that it has a job, or must end
void finish(offload_job *job, int64_t result);
void release_block(offload_job *job);

// No thread can be made: nobody may wait for one.
void fail_waiting_jobs();

// ---- Without it

// Has the loop start one; for offload_helpers.cpp to do.
void ask_for_helper(co_env *env);

} // namespace corun
