// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/holders.h"

#include "co_routine/base/user_memory.h"

namespace corun::waist {

held_by holder_of(const thread *t) {
    if (t->call_nr != SYS_futex || !t->at_call)
        return {};
    const futex_wait w(*t->at_call);
    const thread *joined = w.is_plain() ? thread_of_tid(static_cast<int>(w.value)) : nullptr;
    if (joined && reinterpret_cast<uintptr_t>(joined->clear_child_tid) == w.at)
        return {joined, true};
    mutex_words m{};
    if (!copy_from_user(&m, reinterpret_cast<const void *>(w.at), sizeof m))
        return {};
    int owner = holder_in(w, m);
    return {owner != 0 ? thread_of_tid(owner) : nullptr};
}

const coroutine *holder_of_coroutine(const coroutine *co) {
    const auto *t = static_cast<const thread *>(co->arg);
    const thread *holder = t ? holder_of(t).who : nullptr;
    return holder ? holder->co : nullptr;
}

} // namespace corun::waist
