// SPDX-License-Identifier: Apache-2.0
#include "co_routine/loop/offload.h"

#include "co_routine/base/user_memory.h"
#include "co_routine/core/cancel.h"
#include "co_routine/loop/fd_events.h"
#include "co_routine/loop/loop.h"
#include "co_routine/loop/offload_helpers.h"

#include <cerrno>
#include <cstring>

namespace corun {
namespace {

constexpr size_t page_bytes = 4096;
constexpr size_t least_alignment = 16;
constexpr size_t least_direct_io = 512; // smaller buffers ask for no alignment

size_t round_up(size_t n, size_t alignment) { return (n + alignment - 1) & ~(alignment - 1); }

// O_DIRECT wants memory aligned as the device is: what the user's has, up to a page, the bounce
// memory has too.
size_t alignment_for(const offload_buffer &b) {
    uintptr_t address = reinterpret_cast<uintptr_t>(b.user);
    if (b.bytes < least_direct_io || address % least_alignment != 0)
        return least_alignment;
    size_t alignment = address & -address;
    return alignment < page_bytes ? alignment : page_bytes;
}

// A coroutine that is dropped while it waits.
void abandon_offload(coroutine *co) {
    abandon_fd_wait(co);
    offload_job *job = static_cast<offload_job *>(co->wait_slot);
    if (give_up_job(job))
        drop_job(job, job->self_made ? -ECANCELED : job->result);
}

// Submits job and waits. 0: it is done; else -errno, and it is no longer the caller's.
int wait_until_done(co_env *env, offload_job *job, const wait_kind &kind, int64_t deadline_ns) {
    coroutine *co = env->running;
    job->kind = {kind.call, kind.subject_is_fd, abandon_offload};
    job->waiter = co;
    wait_subject subject{.object = job};
    if (kind.subject_is_fd)
        subject.fd = static_cast<intptr_t>(job->args[0]);
    bool watched = kind.subject_is_fd && job->how == offload_own && job->args[0] >= 0;
    count_offload(env);
    submit_job(env, job);
    while (!job_is_done(env, job)) {
        int error = watched ? fd_watch(static_cast<int>(job->args[0])) : 0;
        if (error == 0) {
            co->wait_slot = job;
            error = park(job->kind, subject, deadline_ns);
            if (watched && fd_unwatch())
                error = -EBADF;
        }
        if (error == 0)
            continue;
        if (!give_up_job(job))
            return error;
        break;
    }
    if (CO_UNLIKELY(job->cancels_when_done)) {
        co->set(flag_cancel);
        co->set(flag_cancel_errno);
    }
    return 0;
}

int64_t result_of(offload_job *job) { return job->self_made ? perform_job(job) : job->result; }

bool fill_buffers(offload_job *job, const offload_buffer *from, int count) {
    char *at = reinterpret_cast<char *>(job->buffers() + count);
    for (int i = 0; i < count; ++i) {
        const offload_buffer &b = from[i];
        uintptr_t start = round_up(reinterpret_cast<uintptr_t>(at), alignment_for(b));
        char *bounce = reinterpret_cast<char *>(start);
        job->buffers()[i] = {b.user, bounce, b.bytes, b.out, b.counted};
        if (!b.user)
            continue;
        at = bounce + b.bytes;
        // What goes back whole must have come in whole: the call may write less.
        bool in = b.in || (b.out && !b.counted);
        if (in && b.bytes > 0 && !copy_from_user(bounce, b.user, b.bytes))
            return false;
        for (long &argument : job->args)
            if (argument == reinterpret_cast<long>(b.user))
                argument = reinterpret_cast<long>(bounce);
    }
    return true;
}

int64_t empty_buffers(offload_job *job, int64_t result) {
    for (int i = 0; i < job->buffer_count; ++i) {
        const job_buffer &b = job->buffers()[i];
        if (!b.out || !b.user)
            continue;
        size_t bytes = b.bytes;
        if (b.counted && result < static_cast<int64_t>(bytes))
            bytes = result > 0 ? static_cast<size_t>(result) : 0;
        if (bytes > 0 && !copy_to_user(b.user, b.bounce, bytes))
            return -EFAULT;
    }
    return result;
}

// The env of one that may wait here; nullptr with -errno: it may not.
co_env *env_for_offload(int64_t *error) {
    co_env *env = current_env();
    if (!env || !loop_of(env)) {
        *error = -ENOMEM;
        return nullptr;
    }
    *error = -ECANCELED;
    return must_leave_waits(env->running) ? nullptr : env;
}

} // namespace

int64_t offload_syscall(const wait_kind &kind, offload_kind how, long nr, const long (&args)[6],
                        offload_buffer *buffers, int buffer_count, int64_t deadline_ns,
                        offload_late on_late, bool *given_up) {
    int64_t error;
    co_env *env = env_for_offload(&error);
    if (!env)
        return error;
    size_t bytes = 0;
    for (int i = 0; i < buffer_count; ++i)
        if (buffers[i].user &&
            __builtin_add_overflow(bytes, buffers[i].bytes + alignment_for(buffers[i]), &bytes))
            return -ENOMEM;
    offload_job *job = allocate_job(buffer_count, bytes);
    if (!job)
        return -ENOMEM;
    job->how = how;
    job->nr = nr;
    memcpy(job->args, args, sizeof job->args);
    job->on_late = on_late;
    int64_t result = -EFAULT;
    if (fill_buffers(job, buffers, buffer_count)) {
        if (int left = wait_until_done(env, job, kind, deadline_ns)) {
            if (given_up)
                *given_up = true;
            return left;
        }
        result = empty_buffers(job, result_of(job));
    }
    free_job(job);
    return result;
}

int64_t offload_function(const wait_kind &kind, offload_kind how, int64_t (*f)(void *argument),
                         void *data, size_t bytes, int64_t deadline_ns, offload_late on_late,
                         bool *given_up, long late_argument) {
    int64_t error;
    co_env *env = env_for_offload(&error);
    if (!env)
        return error;
    offload_job *job = allocate_job(1, bytes + least_alignment);
    if (!job)
        return -ENOMEM;
    uintptr_t end_of_header = reinterpret_cast<uintptr_t>(job->buffers() + 1);
    char *bounce = reinterpret_cast<char *>(round_up(end_of_header, least_alignment));
    job->buffers()[0] = {data, bounce, bytes, true, false};
    job->how = how;
    job->function = f;
    job->args[0] = reinterpret_cast<long>(bounce);
    job->args[1] = late_argument;
    job->on_late = on_late;
    memcpy(bounce, data, bytes);
    wait_kind plain{kind.call, false, nullptr}; // there is no descriptor among the arguments
    if (int left = wait_until_done(env, job, plain, deadline_ns)) {
        if (given_up)
            *given_up = true;
        return left;
    }
    int64_t result = result_of(job);
    memcpy(data, bounce, bytes);
    free_job(job);
    return result;
}

bool cancel_after_offload(coroutine *co) {
    if (!co->waiting || co->waiting->abandon != abandon_offload)
        return false;
    static_cast<offload_job *>(co->wait_slot)->cancels_when_done = true;
    return true;
}

void close_late_result(int64_t result, const long *) {
    if (result >= 0)
        sys::close(static_cast<int>(result));
}

} // namespace corun
