// SPDX-License-Identifier: Apache-2.0
// libco's condition: a queue and nothing else. There is no mutex to give up, because coroutines of
// one thread switch only where they wait; between threads a signal that comes before the wait is
// lost, so use a semaphore or a channel there.
#include "co_routine/base/spinlock.h"
#include "co_routine/core/cancel.h"
#include "co_routine/sync/wait_queue.h"

#include <cstdlib>

using namespace corun;

struct stCoCond_t {
    co_waitq waiters;
};

namespace {

// A signal that met a waiter which was cancelled or released is the next one's. Of a broadcast
// (refused) everyone who waited has had his.
void give_back(void *object, coroutine *, wait_mark how, grants *out) {
    stCoCond_t *cond = static_cast<stCoCond_t *>(object);
    if (how == mark_granted && cond->waiters.first)
        out->take(&cond->waiters, cond->waiters.first);
}

void abandon(coroutine *co);
constexpr queue_rules rules{
    {"cond", false, abandon, nullptr, ended_by::program}, nullptr, give_back, false, 0};

void abandon(coroutine *co) {
    stCoCond_t *cond = static_cast<stCoCond_t *>(waited_object(co));
    abandon_wait(rules, &cond->waiters, cond, co);
}

} // namespace

stCoCond_t *co_cond_alloc() { return static_cast<stCoCond_t *>(calloc(1, sizeof(stCoCond_t))); }

int co_cond_free(stCoCond_t *cond) {
    if (!cond)
        return 0;
    {
        spin_guard guard(&cond->waiters.lock);
        if (cond->waiters.first)
            return EBUSY;
    }
    free(cond);
    return 0;
}

int co_cond_signal(stCoCond_t *cond) {
    grants out;
    {
        spin_guard guard(&cond->waiters.lock);
        if (cond->waiters.first)
            out.take(&cond->waiters, cond->waiters.first);
    }
    out.wake();
    return 0;
}

int co_cond_broadcast(stCoCond_t *cond) {
    grants out;
    {
        spin_guard guard(&cond->waiters.lock);
        while (cond->waiters.first)
            out.take(&cond->waiters, cond->waiters.first);
    }
    out.wake(mark_refused);
    return 0;
}

int co_cond_timedwait(stCoCond_t *cond, int timeout_ms) {
    coroutine *self = self_for_waiting();
    if (!self)
        return ENOMEM;
    {
        spin_guard guard(&cond->waiters.lock);
        enqueue(&cond->waiters, self);
    }
    int64_t deadline = timeout_ms <= 0 ? no_deadline : deadline_in_ms(timeout_ms);
    return leave_wait(wait_in(rules, &cond->waiters, cond, self, deadline));
}
