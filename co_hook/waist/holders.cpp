// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/holders.h"

#include "co_routine/base/user_memory.h"

#include <linux/futex.h>

namespace corun::waist {
namespace {

// What a pthread_mutex_t of glibc begins with.
struct mutex_words {
    uint32_t lock, count;
    int owner;
    uint32_t users;
    uint32_t kind;
};
constexpr uint32_t locked_and_waited_for = 2, known_kinds = 0x3ff;

const thread *live(uint32_t tid) { return thread_of_tid(static_cast<int>(tid)); }

const thread *owner_of(const mutex_words &m, uint32_t waits_with) {
    const thread *owner = live(static_cast<uint32_t>(m.owner));
    bool is_normal = waits_with == locked_and_waited_for && m.lock == locked_and_waited_for;
    bool is_robust = (waits_with & FUTEX_WAITERS) != 0 && m.lock == waits_with &&
                     (m.lock & FUTEX_TID_MASK) == static_cast<uint32_t>(m.owner);
    bool is_mutex = (is_normal || is_robust) && m.users > 0 && (m.kind & ~known_kinds) == 0;
    return is_mutex ? owner : nullptr;
}

} // namespace

held_by holder_of(const thread *t) {
    if (t->call_nr != SYS_futex || !t->at_call)
        return {};
    const frame *f = t->at_call;
    auto waits_with = static_cast<uint32_t>(f->rdx);
    mutex_words m{};
    switch (static_cast<int>(f->rsi) & FUTEX_CMD_MASK) {
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
        if (user_read(reinterpret_cast<const void *>(f->rdi), &m.lock))
            return {live(m.lock & FUTEX_TID_MASK)};
        return {};
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
        break;
    default:
        return {};
    }
    const thread *joined = live(waits_with);
    if (joined && reinterpret_cast<uintptr_t>(joined->clear_child_tid) == f->rdi)
        return {joined, true};
    if (copy_from_user(&m, reinterpret_cast<const void *>(f->rdi), sizeof m))
        return {owner_of(m, waits_with)};
    return {};
}

const coroutine *holder_of_coroutine(const coroutine *co) {
    const auto *t = static_cast<const thread *>(co->arg);
    const thread *holder = t ? holder_of(t).who : nullptr;
    return holder ? holder->co : nullptr;
}

} // namespace corun::waist
