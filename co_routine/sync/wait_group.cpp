// SPDX-License-Identifier: Apache-2.0
// Wait group: everyone waits until the count is zero; then all are woken at once.
#include "co_routine/base/spinlock.h"
#include "co_routine/core/cancel.h"
#include "co_routine/sync/wait_queue.h"

using namespace corun;

namespace {

// What a waiter waits for happens to all of them: a waiter that gives up owes nobody anything.
void abandon(coroutine *co);
constexpr queue_rules rules{
    {"wait group", false, abandon, nullptr, ended_by::program}, nullptr, nullptr, false, 0};

void abandon(coroutine *co) {
    co_wg_t *wg = static_cast<co_wg_t *>(waited_object(co));
    abandon_wait(rules, &wg->waiters, wg, co);
}

int wait_within(co_wg_t *wg, long timeout_ms) {
    coroutine *self = self_for_waiting();
    if (CO_UNLIKELY(!self))
        return ENOMEM;
    {
        // Under the lock even when the count is zero: the last co_wg_done may still hold it, and the
        // caller may destroy the group as soon as we return.
        spin_guard guard(&wg->waiters.lock);
        if (wg->count == 0)
            return 0;
        if (timeout_ms == 0)
            return ETIMEDOUT;
        enqueue(&wg->waiters, self);
    }
    return wait_in(rules, &wg->waiters, wg, self, deadline_in_ms(timeout_ms));
}

} // namespace

int co_wg_init(co_wg_t *wg) {
    *wg = {};
    return 0;
}

int co_wg_destroy(co_wg_t *wg) {
    spin_guard guard(&wg->waiters.lock);
    return wg->waiters.first || wg->count ? EBUSY : 0;
}

int co_wg_add(co_wg_t *wg, long n) {
    grants out;
    {
        spin_guard guard(&wg->waiters.lock);
        long count;
        if (__builtin_add_overflow(wg->count, n, &count))
            return EOVERFLOW;
        if (count < 0)
            return EINVAL;
        wg->count = count;
        while (count == 0 && wg->waiters.first)
            out.take(&wg->waiters, wg->waiters.first);
    }
    out.wake();
    return 0;
}

int co_wg_done(co_wg_t *wg) { return co_wg_add(wg, -1); }

int co_wg_wait(co_wg_t *wg) { return leave_wait(wait_within(wg, -1)); }

int co_wg_timedwait(co_wg_t *wg, long timeout_ms) {
    return leave_wait(wait_within(wg, timeout_ms));
}
