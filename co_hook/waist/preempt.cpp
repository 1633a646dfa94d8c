// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/preempt.h"

#include "co_hook/waist/code_names.h"
#include "co_hook/waist/signal_queue.h"
#include "co_hook/waist/stats.h"

#include "co_routine/base/check.h"
#include "co_routine/base/user_memory.h"
#include "co_routine/core/switch.h"

#include <ctime>

#pragma GCC visibility push(hidden)
extern "C" {
void waist_sigreturn(corun::waist::machine *m, corun::waist::thread *t); // signal_delivery.cpp
}
#pragma GCC visibility pop

namespace corun::waist {
namespace {

constexpr int64_t tick_ns = 10 * ns_per_ms; // each costs about 2 us
char tick;                                  // its address marks the signal

// Runs as a handler on the thread's stack and FS base; its frame brings everything back.
void yield_in_handler(int, siginfo_t *, void *context) {
    thread *t = tls_thread;
    enter_runtime(t);
    co_env *env = t->home->env;
    // The second time behind those whose time or event came while it computed: the loop looks for
    // them when this turn ends, and puts them behind what is ready already.
    for (int turn = 0; turn < 2; ++turn) {
        env->make_ready(t->co);
        yield_to_caller(env);
    }
    turn_begins(t);
    leave_runtime(t);
    waist_sigreturn(static_cast<machine *>(context), t);
}

// Each thread is reported once, as it happens, or in the table.
void note_preemption(worker *w, thread *t, const machine &m) {
    uintptr_t pc = place_of_program(m.at(REG_RIP), m.at(REG_RSP));
    ++w->preemptions;
    if (w->counts.timed)
        time_turn_preempted(t, m, pc);
    if (!t->counts.was_preempted) {
        t->counts.was_preempted = true;
        unsigned n = w->counts.threads_preempted++;
        if (n < noted_as_preempted) {
            t->counts.line = &w->counts.preempted[n];
            *t->counts.line = {t->tid, pc, 0};
        }
        if (debug_flags() & CO_DEBUG_BLOCKED) {
            char where[300];
            format_code(where, sizeof where, pc);
            warn("computes or spins, and is preempted (thread %d; said once): at %s", t->tid,
                 where);
        }
    }
    if (t->counts.line)
        ++t->counts.line->times;
}

// Somebody who computes may keep anything in rsp.
bool has_stack_for_frame(const machine &m) {
    size_t bytes = signal_frame_bytes(m);
    faults_let_in window;
    return can_write(reinterpret_cast<void *>(m.at(REG_RSP) - bytes), bytes);
}

} // namespace

int begin_preemption(worker *w) {
    capture(set_ids_signal);
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo =
        set_ids_signal; // glibc's own, whose real ones never pass through the kernel here
    event.sigev_value.sival_ptr = &tick;
    event._sigev_un._tid = static_cast<int>(sys::gettid());
    int timer = 0;
    word r = sys::call(SYS_timer_create, CLOCK_THREAD_CPUTIME_ID, &event, &timer);
    if (sys::failed(r))
        return static_cast<int>(r);
    itimerspec each{{0, tick_ns}, {0, tick_ns}};
    r = sys::call(SYS_timer_settime, timer, 0, &each, nullptr);
    w->switches_at_tick = 0;
    return static_cast<int>(r);
}

bool is_tick(const siginfo_t &info) {
    return info.si_signo == set_ids_signal && info.si_code == SI_TIMER &&
           info.si_value.sival_ptr == &tick;
}

void on_tick(worker *w, thread *t, machine *m) {
    uint64_t switches = w->env->counts.switches;
    // Not sooner, also when somebody's time has come: 5,000 of Python's threads ask for the interpreter
    // every 5 ms (its own interval; two of them are a tick), and each hand-over would be another one's.
    if (w->live < 2 || w->switches_at_tick != switches) {
        w->switches_at_tick = switches;
        return;
    }
    if (!has_stack_for_frame(*m))
        return; // at a later tick
    note_preemption(w, t, *m);
    kernel_action yields{reinterpret_cast<uintptr_t>(&yield_in_handler), 0,
                         reinterpret_cast<uintptr_t>(&waist_restorer), 0};
    siginfo_t none{};
    none.si_signo = set_ids_signal;
    push_signal_frame(t, m, yields, none, t->signals.blocked, UINTPTR_MAX);
}

} // namespace corun::waist
