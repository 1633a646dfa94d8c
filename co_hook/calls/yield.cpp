// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/yield.h"

#include "co_routine/core/switch.h"
#include "co_routine/loop/park.h"

#include <cerrno>

namespace corun::calls {
namespace {

constexpr wait_kind yield_kind{"sched_yield", false, nullptr};
constexpr wait_kind spin_kind{"spin", false, nullptr};

} // namespace

void yield_turn() {
    co_env *env = tls_env;
    coroutine *co = env->running;
    bool alone = env->ready_count == 0;
    co->waiting = &yield_kind; // else a cancel would unwind it from here
    co->subject = {};
    env->make_ready(co);
    yield_to_caller(env);
    co->waiting = nullptr;
    if (alone)
        sys::call(SYS_sched_yield);
}

void spin_pauses::next() {
    constexpr unsigned turns = 16, doublings = 5;
    constexpr int64_t shortest_ns = 31250; // doubled five times: 1 ms
    if (tries_ < turns) {
        ++tries_;
        return yield_turn();
    }
    int64_t pause = shortest_ns << (tries_ - turns);
    if (tries_ < turns + doublings)
        ++tries_;
    if (park(spin_kind, {}, deadline_in(pause)) == -ECANCELED)
        yield_turn();
}

} // namespace corun::calls
