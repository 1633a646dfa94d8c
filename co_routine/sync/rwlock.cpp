// SPDX-License-Identifier: Apache-2.0
// Read-write lock: one queue for readers and writers, so it is fair both ways. Whoever is at the
// head is let in as soon as the holders allow it; readers who stand together go in together.
//
//     queue   R R W R      free:           R R go in, W waits for both, the last R behind it
//             W R R        W gives up:     R R go in at once if readers hold it
#include "co_routine/base/spinlock.h"
#include "co_routine/core/cancel.h"
#include "co_routine/sync/wait_queue.h"

using namespace corun;

namespace {

enum wanted : uintptr_t { want_write = 0, want_read = 4 }; // the payload of a waiter

// Lets in everyone at the head of the queue who may hold the lock together with its holders.
void admit(void *object, grants *out) {
    co_rwlock_t *rw = static_cast<co_rwlock_t *>(object);
    while (!rw->writer && rw->waiters.first) {
        coroutine *co = rw->waiters.first;
        if (payload_of(co) == want_read)
            ++rw->readers;
        else if (rw->readers == 0)
            rw->writer = co;
        else
            return;
        out->take(&rw->waiters, co);
    }
}

void give_back(void *object, coroutine *co, wait_mark, grants *out) {
    co_rwlock_t *rw = static_cast<co_rwlock_t *>(object);
    if (rw->writer == co)
        rw->writer = nullptr;
    else
        --rw->readers;
    admit(rw, out);
}

unsigned describe(char *out, unsigned size, const void *object) {
    const co_rwlock_t *rw = static_cast<const co_rwlock_t *>(object);
    return rw->writer ? describe_holder(out, size, rw->writer)
                      : format_line(out, size, ", held by %u readers", rw->readers);
}

holder_key holder(const coroutine *co) {
    co_rwlock_t *rw = static_cast<co_rwlock_t *>(waited_object(co));
    return holder_while_queued(rw, co, &rw->writer);
}

void abandon(coroutine *co);
// A reader that leaves the queue held nobody up: it waited for a writer, and so do those behind it.
constexpr queue_rules read_rules{
    {"rwlock (read)", false, abandon, describe, ended_by::program, holder},
    nullptr,
    give_back,
    false,
    0};
constexpr queue_rules write_rules{
    {"rwlock (write)", false, abandon, describe, ended_by::program, holder},
    admit,
    give_back,
    false,
    0};

void abandon(coroutine *co) {
    co_rwlock_t *rw = static_cast<co_rwlock_t *>(waited_object(co));
    abandon_wait(write_rules, &rw->waiters, rw, co);
}

// A reader that comes while others wait goes behind them, even if only readers hold the lock: else
// a stream of readers would keep a writer out for ever.
bool take_if_free(co_rwlock_t *rw, coroutine *self, wanted want) {
    if (rw->writer || rw->waiters.first)
        return false;
    if (want == want_read) {
        ++rw->readers;
        return true;
    }
    if (rw->readers)
        return false;
    rw->writer = self;
    return true;
}

int lock_within(co_rwlock_t *rw, wanted want, long timeout_ms) {
    coroutine *self = self_for_waiting();
    if (CO_UNLIKELY(!self))
        return ENOMEM;
    {
        spin_guard guard(&rw->waiters.lock);
        if (CO_LIKELY(take_if_free(rw, self, want)))
            return 0;
        if (rw->writer == self)
            return EDEADLK;
        if (timeout_ms == 0)
            return ETIMEDOUT;
        enqueue(&rw->waiters, self, want);
    }
    return wait_in(want == want_read ? read_rules : write_rules, &rw->waiters, rw, self,
                   deadline_in_ms(timeout_ms));
}

int try_lock(co_rwlock_t *rw, wanted want) {
    int error = lock_within(rw, want, 0);
    return error == ETIMEDOUT || error == EDEADLK ? EBUSY : error;
}

int upgrade(co_rwlock_t *rw) {
    coroutine *self = self_for_waiting();
    if (CO_UNLIKELY(!self))
        return ENOMEM;
    grants out;
    {
        spin_guard guard(&rw->waiters.lock);
        if (rw->writer == self)
            return EDEADLK;
        if (rw->readers == 0)
            return EPERM;
        --rw->readers;
        if (take_if_free(rw, self, want_write))
            return 0;
        // Two readers who upgrade and kept their read locks would wait for each other for ever.
        enqueue(&rw->waiters, self, want_write);
        admit(rw, &out);
    }
    out.wake();
    return wait_in(write_rules, &rw->waiters, rw, self, no_deadline);
}

} // namespace

int co_rwlock_init(co_rwlock_t *rw) {
    *rw = {};
    return 0;
}

int co_rwlock_destroy(co_rwlock_t *rw) {
    spin_guard guard(&rw->waiters.lock);
    return rw->writer || rw->readers ? EBUSY : 0;
}

int co_rwlock_rdlock(co_rwlock_t *rw) { return leave_wait(lock_within(rw, want_read, -1)); }
int co_rwlock_wrlock(co_rwlock_t *rw) { return leave_wait(lock_within(rw, want_write, -1)); }
int co_rwlock_tryrdlock(co_rwlock_t *rw) { return try_lock(rw, want_read); }
int co_rwlock_trywrlock(co_rwlock_t *rw) { return try_lock(rw, want_write); }

int co_rwlock_timedrdlock(co_rwlock_t *rw, long timeout_ms) {
    return leave_wait(lock_within(rw, want_read, timeout_ms));
}

int co_rwlock_timedwrlock(co_rwlock_t *rw, long timeout_ms) {
    return leave_wait(lock_within(rw, want_write, timeout_ms));
}

int co_rwlock_unlock(co_rwlock_t *rw) {
    co_env *env = env_or_null();
    grants out;
    {
        spin_guard guard(&rw->waiters.lock);
        if (rw->writer) {
            if (!env || rw->writer != env->running)
                return EPERM;
            rw->writer = nullptr;
        } else {
            if (rw->readers == 0)
                return EPERM;
            --rw->readers;
        }
        admit(rw, &out);
    }
    out.wake();
    return 0;
}

int co_rwlock_upgrade(co_rwlock_t *rw) { return leave_wait(upgrade(rw)); }

int co_rwlock_downgrade(co_rwlock_t *rw) {
    co_env *env = env_or_null();
    grants out;
    {
        spin_guard guard(&rw->waiters.lock);
        if (!env || rw->writer != env->running)
            return EPERM;
        rw->writer = nullptr;
        rw->readers = 1;
        admit(rw, &out);
    }
    out.wake();
    return 0;
}
