// SPDX-License-Identifier: Apache-2.0
// Mutex: the owner is the coroutine. Whoever unlocks makes the first waiter the owner, so a mutex
// without owner has no waiters, and a newcomer cannot pass those who wait.
#include "co_routine/base/spinlock.h"
#include "co_routine/core/cancel.h"
#include "co_routine/sync/wait_queue.h"

using namespace corun;

namespace {

void hand_over(co_mutex_t *m, grants *out) {
    m->owner = m->waiters.first;
    if (m->owner)
        out->take(&m->waiters, m->owner);
}

void give_back(void *m, coroutine *, wait_mark, grants *out) {
    hand_over(static_cast<co_mutex_t *>(m), out);
}

unsigned describe(char *out, unsigned size, const void *object) {
    return describe_holder(out, size, static_cast<const co_mutex_t *>(object)->owner);
}

holder_key holder(const coroutine *co) {
    co_mutex_t *m = static_cast<co_mutex_t *>(waited_object(co));
    return holder_while_queued(m, co, &m->owner);
}

void abandon(coroutine *co);
constexpr queue_rules rules{
    {"mutex", false, abandon, describe, ended_by::program, holder}, nullptr, give_back, false, 0};

void abandon(coroutine *co) {
    co_mutex_t *m = static_cast<co_mutex_t *>(waited_object(co));
    abandon_wait(rules, &m->waiters, m, co);
}

int lock_within(co_mutex_t *m, long timeout_ms) {
    coroutine *self = self_for_waiting();
    if (CO_UNLIKELY(!self))
        return ENOMEM;
    {
        spin_guard guard(&m->waiters.lock);
        if (CO_LIKELY(!m->owner)) {
            m->owner = self;
            return 0;
        }
        if (m->owner == self)
            return EDEADLK;
        if (timeout_ms == 0)
            return ETIMEDOUT;
        enqueue(&m->waiters, self);
    }
    return wait_in(rules, &m->waiters, m, self, deadline_in_ms(timeout_ms));
}

} // namespace

int co_mutex_init(co_mutex_t *m) {
    *m = {};
    return 0;
}

int co_mutex_destroy(co_mutex_t *m) {
    spin_guard guard(&m->waiters.lock);
    return m->owner ? EBUSY : 0;
}

int co_mutex_lock(co_mutex_t *m) { return leave_wait(lock_within(m, -1)); }

int co_mutex_timedlock(co_mutex_t *m, long timeout_ms) {
    return leave_wait(lock_within(m, timeout_ms));
}

int co_mutex_trylock(co_mutex_t *m) {
    int error = lock_within(m, 0);
    return error == ETIMEDOUT || error == EDEADLK ? EBUSY : error;
}

int co_mutex_unlock(co_mutex_t *m) {
    co_env *env = env_or_null();
    grants out;
    {
        spin_guard guard(&m->waiters.lock);
        if (CO_UNLIKELY(!env || m->owner != env->running))
            return EPERM;
        hand_over(m, &out);
    }
    out.wake();
    return 0;
}
