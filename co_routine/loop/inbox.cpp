// SPDX-License-Identifier: Apache-2.0
#include "co_routine/loop/inbox.h"

#include "co_routine/base/check.h"
#include "co_routine/core/cancel.h"
#include "co_routine/loop/loop.h"

#include <cerrno>

namespace corun {

void inbox_ring(co_env *env) {
    loop *l = __atomic_load_n(&env->event_loop, __ATOMIC_ACQUIRE);
    if (!l || __atomic_exchange_n(&l->sleeping, 0U, __ATOMIC_SEQ_CST) == 0)
        return; // awake: it looks into the inbox before it sleeps
    uint64_t one = 1;
    sys::write(__atomic_load_n(&l->wake_fd, __ATOMIC_RELAXED), &one, sizeof one);
}

void inbox_post(coroutine *co, uint32_t bits) {
    co_env *env = co->env;
    // Once posted, co may run and end, and its thread with it: the env waits for us.
    __atomic_add_fetch(&env->posters, 1U, __ATOMIC_RELAXED);
    san_release(&env->inbox);
    if (__atomic_fetch_or(&co->pending, bits, __ATOMIC_ACQ_REL) == 0) {
        coroutine *first = __atomic_load_n(&env->inbox, __ATOMIC_RELAXED);
        do
            co->inbox_next = first;
        while (!__atomic_compare_exchange_n(&env->inbox, &first, co, true, __ATOMIC_SEQ_CST,
                                            __ATOMIC_RELAXED));
    }
    inbox_ring(env);
    __atomic_sub_fetch(&env->posters, 1U, __ATOMIC_RELEASE);
}

int wake_yielded(coroutine *co) {
    switch (co->state) {
    case co_state::ended:
        return ESRCH;
    case co_state::yielded:
        co->set(flag_woken);
        co->env->make_ready(co);
        return 0;
    case co_state::ready:
        if (co->has(flag_woken))
            return 0; // the wake-up it has not answered yet
        [[fallthrough]];
    default:
        co->set(flag_wake_permit);
        return 0;
    }
}

void inbox_drain(co_env *env) {
    coroutine *list = __atomic_exchange_n(&env->inbox, nullptr, __ATOMIC_SEQ_CST);
    san_acquire(&env->inbox);
    coroutine *oldest = nullptr;
    while (list) { // last come first: turn it round
        coroutine *next = list->inbox_next;
        list->inbox_next = oldest;
        oldest = list;
        list = next;
    }
    while (coroutine *co = oldest) {
        oldest = co->inbox_next; // before the bits are taken: then it may be posted anew
        uint32_t bits = __atomic_exchange_n(&co->pending, 0U, __ATOMIC_ACQ_REL);
        ++env->event_loop->counts.cross_wakes;
        if (co->has(flag_doomed)) {
            free_coroutine(co);
            continue;
        }
        if ((bits & pending_cancel) && request_cancel(co) == ENOTSUP)
            warn("co_cancel of %s: there is no unwinder (libgcc_s); it goes on",
                 description(co).text);
        if ((bits & pending_unpark) && co->state == co_state::parked)
            env->make_ready(co);
        if (bits & pending_wake)
            wake_yielded(co);
    }
}

} // namespace corun
