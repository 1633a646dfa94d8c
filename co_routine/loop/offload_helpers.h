// SPDX-License-Identifier: Apache-2.0
// Jobs and the helper threads that do them: the part of loop/offload.h that other threads see.
//
//     job:  queued --a helper takes it--> running --> done --> freed by the coroutine that waited
//              \--given up: freed at once      \--given up: freed by the helper
//
// One that is given up is told to on_late, once, by whoever frees it.
//
// Rules
//  - Everything stands under one lock, held for a few instructions; that includes the unpark of the
//    one who waits, so a coroutine that gives up is certain afterwards that nobody will unpark it.
//  - A job is in memory of the process, not of the thread: the thread may end before the helper.
//  - A helper is started for each job that finds none idle, while fewer than most_at_once of its kind
//    are under way; it ends after 5 s without work. With no helpers nothing ticks.
#pragma once

#include "co_routine/loop/offload.h"

namespace corun {

inline constexpr unsigned max_shared_helpers = 8, max_lookup_helpers = 128;
// By offload_kind.
inline constexpr unsigned most_at_once[offload_kinds] = {max_shared_helpers, UINT32_MAX,
                                                         max_lookup_helpers};

enum class job_state : uint8_t { queued, running, done };

struct job_buffer {
    void *user;
    char *bounce;
    size_t bytes;
    bool out, counted;
};

struct offload_job {
    list_node link;              // in a queue while queued
    coroutine *waiter = nullptr; // nullptr: given up
    job_state state = job_state::queued;
    offload_kind how = offload_shared;
    bool self_made = false;         // done, but not made: no helper could be started
    bool cancels_when_done = false; // its waiter, see cancel_after_offload
    uint32_t generation = 0;        // of the process that it is for
    uint32_t runner_epoch = 0;
    wait_kind kind{}; // the caller's, with our abandon

    long nr = 0;
    long args[6] = {};
    int64_t (*function)(void *) = nullptr; // instead of nr
    int64_t result = 0;
    offload_late on_late = nullptr;

    size_t block_bytes = 0; // of all this memory
    int buffer_count = 0;
    job_buffer *buffers() { return reinterpret_cast<job_buffer *>(this + 1); }
};

// A job with room for so many buffers and bytes behind them; nullptr: no memory.
offload_job *allocate_job(int buffer_count, size_t bytes);
void free_job(offload_job *job); // one that no helper has

// Gives it to a helper, now or when env's loop has started one.
void submit_job(co_env *env, offload_job *job);
// After each park: is it done? If not, sees to it that somebody is coming for it.
bool job_is_done(co_env *env, offload_job *job);
// The waiter leaves. True: the result was there already, and the job is still the caller's.
bool give_up_job(offload_job *job);
// The end of a job that is in nobody's hands and that nobody waits for.
void drop_job(offload_job *job, int64_t result);

// A thread that runs main(argument) and ends; all that it needs of libc is thread-local storage.
// pthread_create's, unless co_hook/waist puts its own here: where threads are coroutines, one that is
// parked may hold libc's locks.
extern bool (*start_helper_thread)(void *(*main)(void *), void *argument)
    __attribute__((visibility("hidden")));

int64_t perform_job(offload_job *job); // on a helper, or where there are none

} // namespace corun
