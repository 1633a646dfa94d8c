// SPDX-License-Identifier: Apache-2.0
// Semaphore: a post goes to the first waiter, so the count is zero while anybody waits.
#include "co_routine/base/spinlock.h"
#include "co_routine/core/cancel.h"
#include "co_routine/sync/wait_queue.h"

#include <climits>

using namespace corun;

namespace {

int post(co_sem_t *s, grants *out) {
    if (s->waiters.first)
        out->take(&s->waiters, s->waiters.first);
    else if (s->count == UINT_MAX)
        return EOVERFLOW;
    else
        ++s->count;
    return 0;
}

void give_back(void *s, coroutine *, wait_mark, grants *out) {
    post(static_cast<co_sem_t *>(s), out);
}

void abandon(coroutine *co);
constexpr queue_rules rules{
    {"sem", false, abandon, nullptr, ended_by::program}, nullptr, give_back, false, 0};

void abandon(coroutine *co) {
    co_sem_t *s = static_cast<co_sem_t *>(waited_object(co));
    abandon_wait(rules, &s->waiters, s, co);
}

int wait_within(co_sem_t *s, long timeout_ms) {
    coroutine *self = self_for_waiting();
    if (CO_UNLIKELY(!self))
        return ENOMEM;
    {
        spin_guard guard(&s->waiters.lock);
        if (s->count > 0) {
            --s->count;
            return 0;
        }
        if (timeout_ms == 0)
            return ETIMEDOUT;
        enqueue(&s->waiters, self);
    }
    return wait_in(rules, &s->waiters, s, self, deadline_in_ms(timeout_ms));
}

} // namespace

int co_sem_init(co_sem_t *s, unsigned count) {
    *s = {};
    s->count = count;
    return 0;
}

int co_sem_destroy(co_sem_t *s) {
    spin_guard guard(&s->waiters.lock);
    return s->waiters.first ? EBUSY : 0;
}

int co_sem_wait(co_sem_t *s) { return leave_wait(wait_within(s, -1)); }

int co_sem_timedwait(co_sem_t *s, long timeout_ms) {
    return leave_wait(wait_within(s, timeout_ms));
}

int co_sem_trywait(co_sem_t *s) {
    int error = wait_within(s, 0);
    return error == ETIMEDOUT ? EAGAIN : error;
}

int co_sem_post(co_sem_t *s) {
    grants out;
    int error;
    {
        spin_guard guard(&s->waiters.lock);
        error = post(s, &out);
    }
    out.wake();
    return error;
}
