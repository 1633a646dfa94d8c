// SPDX-License-Identifier: Apache-2.0
#include "co_routine/loop/uring.h"

#include "co_routine/core/cancel.h"
#include "co_routine/loop/fd_events.h"
#include "co_routine/loop/fork_generation.h"
#include "co_routine/loop/loop.h"
#include "co_routine/loop/uring_ring.h"

#include <cerrno>
#include <cstring>
#include <new>

namespace corun {

struct uring {
    uring_ring ring;
    loop_source source;
    uint32_t generation; // of the process that it belongs to
    list_head in_flight;
    size_t count = 0;
};

namespace {

// What the kernel may still write to lives here, not with the caller: the record is freed when the
// completion has come, however long the caller is gone by then.
struct uring_record {
    list_node link; // in_flight, until the completion comes
    uring *owner = nullptr;
    uint32_t generation = 0;     // of the owner, which a forked child does not have
    coroutine *waiter = nullptr; // nullptr: given up
    bool done = false;
    int32_t result = 0;
    int fd = -1;
    void (*on_late)(int64_t result, int fd) = nullptr;
    wait_kind kind{}; // the caller's, with our abandon
    peer_address address{};
};

enum : int { unknown, present, missing };
int availability = unknown; // of io_uring, in this process

uring_record *make_record(co_env *env) {
    void *block = env->slab.allocate(sizeof(uring_record));
    return block ? new (block) uring_record : nullptr;
}

void free_record(co_env *env, uring_record *record) { env->slab.release(record, sizeof *record); }

void finish(co_env *env, uring *u, uring_record *record, int32_t result) {
    record->link.unlink();
    --u->count;
    record->result = result;
    record->done = true;
    if (record->waiter) {
        unpark(record->waiter);
        return;
    }
    if (record->on_late && result >= 0)
        record->on_late(result, record->fd);
    free_record(env, record);
}

void take_completions(co_env *env, uring *u) {
    uint64_t user_data;
    int32_t result;
    do {
        while (ring_next(&u->ring, &user_data, &result))
            if (user_data) // 0: the answer to a cancel
                finish(env, u, reinterpret_cast<uring_record *>(static_cast<uintptr_t>(user_data)),
                       result);
        if (!ring_overflowed(&u->ring))
            return;
        ring_flush(&u->ring);
    } while (true);
}

void on_ring_ready(co_env *env, loop_source *source, uint32_t) {
    take_completions(env, CO_CONTAINER(source, uring, source));
}

int submit(co_env *env, uring *u, const io_uring_sqe &sqe) {
    int error = ring_submit(&u->ring, sqe);
    if (error == -EBUSY || error == -EAGAIN) {
        ring_flush(&u->ring);
        take_completions(env, u);
        error = ring_submit(&u->ring, sqe);
    }
    return error;
}

void ask_for_cancel(co_env *env, uring *u, uring_record *record) {
    io_uring_sqe sqe{};
    sqe.opcode = IORING_OP_ASYNC_CANCEL;
    sqe.fd = -1;
    sqe.addr = reinterpret_cast<uintptr_t>(record);
    submit(env, u, sqe);
}

// Gives record up. True: its completion has come by now, and it is still the caller's. Waiting on a
// socket is cancelled before this returns; a request that the kernel has given to a thread of its
// own may take longer, and is then freed by its completion.
bool cancel(co_env *env, uring *u, uring_record *record) {
    if (record->done)
        return true;
    ask_for_cancel(env, u, record);
    ring_flush(&u->ring);
    take_completions(env, u);
    if (!record->done)
        record->waiter = nullptr;
    return record->done;
}

// A coroutine that is dropped while it waits. In a forked child the request is the parent's.
void abandon_uring(coroutine *co) {
    abandon_fd_wait(co);
    uring_record *record = static_cast<uring_record *>(co->wait_slot);
    co_env *env = co->env;
    if (record->generation != fork_generation()) {
        free_record(env, record);
        return;
    }
    record->waiter = nullptr; // its completion frees it, and gives the result to on_late
    if (record->done) {
        if (record->on_late && record->result >= 0)
            record->on_late(record->result, record->fd);
        free_record(env, record);
        return;
    }
    ask_for_cancel(env, record->owner, record);
    ring_flush(&record->owner->ring);
    take_completions(env, record->owner);
}

void destroy_ring(co_env *env) {
    uring *u = env->event_loop->ring;
    constexpr int patience = 100; // ms: what hangs longer than that hangs in the kernel
    for (list_node *n = u->in_flight.ring.next, *next; n != &u->in_flight.ring; n = next) {
        next = n->next;
        ask_for_cancel(env, u, CO_CONTAINER(n, uring_record, link));
    }
    for (int waited = 0; u->count > 0 && waited < patience; ++waited) {
        take_completions(env, u);
        if (u->count > 0)
            ring_wait(&u->ring, 1);
    }
    loop_remove_source(env, &u->source);
    u->ring.fd = u->source.fd;
    ring_close(&u->ring);
    env->event_loop->ring = nullptr;
    env->slab.release(u, sizeof *u);
}

void reset_ring_after_fork(co_env *env) {
    uring *u = env->event_loop->ring;
    fd_reserve(u->source.fd, false);
    u->ring.fd = u->source.fd;
    ring_close_in_child(&u->ring);
    env->event_loop->ring = nullptr;
    env->slab.release(u, sizeof *u);
}

// The loop may move the ring's descriptor at any time: source.fd is where it is.
int open_ring(co_env *env, uring *u) {
    if (int error = ring_open(&u->ring))
        return error;
    u->source = {nullptr, u->ring.fd, on_ring_ready};
    u->generation = fork_generation();
    int error = loop_add_source(env, &u->source);
    u->ring.fd = u->source.fd;
    if (error)
        ring_close(&u->ring);
    return error;
}

// The thread's ring, made at the first use; nullptr: there is none, now or ever.
uring *ring_of(co_env *env) {
    loop *l = loop_of(env);
    if (!l || __atomic_load_n(&availability, __ATOMIC_RELAXED) == missing)
        return nullptr;
    if (CO_LIKELY(l->ring != nullptr)) {
        l->ring->ring.fd = l->ring->source.fd;
        return l->ring;
    }
    void *block = env->slab.allocate(sizeof(uring));
    if (!block)
        return nullptr;
    uring *u = new (block) uring;
    int error = open_ring(env, u);
    if (error) {
        env->slab.release(u, sizeof *u);
        if (error == -ENOSYS)
            __atomic_store_n(&availability, static_cast<int>(missing), __ATOMIC_RELAXED);
        return nullptr;
    }
    __atomic_store_n(&availability, static_cast<int>(present), __ATOMIC_RELAXED);
    l->ring = u;
    return u;
}

// Is what the kernel answered the cancel's doing?
bool was_cancelled(const uring_record *record) {
    return record->result == -ECANCELED || record->result == -EINTR;
}

// Submits and waits. Result or -errno; then record is still the caller's if *kept.
int64_t perform(co_env *env, uring *u, uring_record *record, const uring_request &request,
                const wait_kind &kind, int64_t deadline_ns, bool *kept) {
    io_uring_sqe sqe{};
    sqe.opcode = request.opcode;
    sqe.ioprio = request.ioprio;
    sqe.fd = request.fd;
    sqe.addr = request.address;
    sqe.off = request.offset_or_address2;
    sqe.len = request.length;
    sqe.rw_flags = static_cast<__kernel_rwf_t>(request.op_flags);
    sqe.user_data = reinterpret_cast<uintptr_t>(record);
    coroutine *co = env->running;
    record->owner = u;
    record->generation = u->generation;
    record->waiter = co;
    record->fd = request.fd;
    record->kind = {kind.call, kind.subject_is_fd, abandon_uring};
    *kept = true;
    if (submit(env, u, sqe) != 0)
        return -ENOSYS; // not now: the other way will tell why
    u->in_flight.push_back(&record->link);
    ++u->count;
    count_offload(env);
    take_completions(env, u);

    wait_subject subject{.object = record};
    if (kind.subject_is_fd)
        subject.fd = request.fd;
    while (!record->done) {
        int error = request.fd >= 0 ? fd_watch(request.fd) : 0;
        if (error == 0) {
            co->wait_slot = record;
            error = park(record->kind, subject, deadline_ns);
            if (request.fd >= 0 && fd_unwatch())
                error = -EBADF;
        }
        if (record->generation != fork_generation())
            return -EINTR; // the thread's own stack, in a forked child: the request is the parent's
        if (error == 0 || record->done)
            continue;
        *kept = cancel(env, u, record);
        if (!*kept || was_cancelled(record))
            return error;
    }
    return record->result;
}

int64_t with_record(const wait_kind &kind, uring_request request, const void *address_in,
                    socklen_t address_in_bytes, peer_address *address_out, int64_t deadline_ns,
                    void (*on_late)(int64_t result, int fd)) {
    co_env *env = current_env();
    if (env && must_leave_waits(env->running))
        return -ECANCELED;
    uring *u = env ? ring_of(env) : nullptr;
    if (!u || !ring_supports(&u->ring, request.opcode))
        return -ENOSYS;
    uring_record *record = make_record(env);
    if (!record)
        return -ENOMEM;
    record->on_late = on_late;
    if (address_in) {
        memcpy(&record->address.storage, address_in, address_in_bytes);
        request.address = reinterpret_cast<uintptr_t>(&record->address.storage);
        request.offset_or_address2 = address_in_bytes;
    } else if (address_out) {
        request.address = reinterpret_cast<uintptr_t>(&record->address.storage);
        request.offset_or_address2 = reinterpret_cast<uintptr_t>(&record->address.length);
    }
    bool kept = false;
    int64_t result = perform(env, u, record, request, kind, deadline_ns, &kept);
    if (!kept)
        return result;
    if (address_out && result >= 0)
        *address_out = record->address;
    free_record(env, record);
    return result;
}

void close_late_accept(int64_t result, int) {
    if (result >= 0)
        sys::close(static_cast<int>(result));
}

} // namespace

constinit const ring_hooks loop_hooks = {destroy_ring, reset_ring_after_fork};

int64_t uring_call(const wait_kind &kind, const uring_request &request, int64_t deadline_ns,
                   void (*on_late)(int64_t result, int fd)) {
    return with_record(kind, request, nullptr, 0, nullptr, deadline_ns, on_late);
}

int64_t uring_accept(const wait_kind &kind, int fd, peer_address *peer, int flags,
                     int64_t deadline_ns) {
    uring_request request;
    request.opcode = IORING_OP_ACCEPT;
    request.fd = fd;
    request.op_flags = static_cast<uint32_t>(flags);
    return with_record(kind, request, nullptr, 0, peer, deadline_ns, close_late_accept);
}

int64_t uring_connect(const wait_kind &kind, int fd, const sockaddr *address, socklen_t length,
                      int64_t deadline_ns) {
    if (length > sizeof(sockaddr_storage))
        return -EINVAL;
    if (!address)
        return -EFAULT;
    uring_request request;
    request.opcode = IORING_OP_CONNECT;
    request.fd = fd;
    return with_record(kind, request, address, length, nullptr, deadline_ns, nullptr);
}

size_t uring_in_flight() {
    co_env *env = env_or_null();
    return env && env->event_loop && env->event_loop->ring ? env->event_loop->ring->count : 0;
}

void uring_give_up() {
    __atomic_store_n(&availability, static_cast<int>(missing), __ATOMIC_RELAXED);
}

void uring_pretend_missing(bool missing_now) {
    ring_pretend_missing = missing_now;
    if (missing_now)
        uring_give_up();
    else
        __atomic_store_n(&availability, static_cast<int>(unknown), __ATOMIC_RELAXED);
}

} // namespace corun
