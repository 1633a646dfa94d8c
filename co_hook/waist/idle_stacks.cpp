// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/idle_stacks.h"

#include "co_hook/waist/signal_frame.h"
#include "co_hook/waist/stacks.h"

#include "co_routine/loop/park.h"

#include <sys/mman.h>

namespace corun::waist {
namespace {

constexpr wait_kind trim_kind{"idle stacks", false, nullptr, nullptr, ended_by::runtime};
constexpr int64_t pause_ns = ns_per_s;
constexpr unsigned at_once = 64; // threads looked at between two turns of the others

// Since the last look it has made no call, so it waits in the one it was in.
bool is_idle(thread *t) {
    bool idle = t->counts.switches_at_call == t->call_at_look;
    t->call_at_look = t->counts.switches_at_call;
    return idle && t->co->state == co_state::parked && t->stack_low != 0;
}

void trim(thread *t) {
    if (t->trimmed_at == t->counts.switches_at_call)
        return; // already, in this very wait
    t->trimmed_at = t->counts.switches_at_call;
    auto sp = reinterpret_cast<uintptr_t>(coctx_sp(t->co->regs));
    // Only of stacks that libc asked for, and not for a handler on an alternate stack: that may stand in
    // this one, above frames that are alive.
    if (sp <= t->stack_low || sp >= t->stack_high || is_on(t->signals.alternate, sp) ||
        !is_in_stack(reinterpret_cast<void *>(t->stack_low)))
        return;
    uintptr_t unused = sp / page_size * page_size - t->stack_low;
    sys::madvise(reinterpret_cast<void *>(t->stack_low), unused, MADV_DONTNEED);
}

void sleep_until_activity() {
    __atomic_store_n(&the_worker.trimmer_asleep, true, __ATOMIC_RELAXED);
    while (__atomic_load_n(&the_worker.trimmer_asleep, __ATOMIC_RELAXED))
        park(trim_kind, {}, no_deadline);
}

void look_at_all() {
    co_env *env = the_worker.env;
    // By place: what ends meanwhile is replaced by the last one, which is then looked at next time.
    for (size_t i = 0; i < env->all.size(); ++i) {
        auto *t = static_cast<thread *>(env->all[i]->arg); // nullptr: the runtime's own
        if (t && is_idle(t))
            trim(t);
        if (i % at_once == at_once - 1)
            pause_until(now_ns());
    }
}

void *trim_forever(void *) {
    const uint64_t &switches = the_worker.env->counts.switches;
    for (;;) {
        uint64_t before = switches;
        pause_until(deadline_in(pause_ns));
        uint64_t after = switches;
        look_at_all();
        if (after - before <= 2) // nobody but this coroutine: until somebody computes again
            sleep_until_activity();
    }
}

} // namespace

bool begin_trimming(worker *w) { return w->trimmer.start(w, trim_forever); }

void there_is_activity(worker *w) {
    if (__atomic_exchange_n(&w->trimmer_asleep, false, __ATOMIC_RELAXED))
        w->trimmer.wake();
}

} // namespace corun::waist
