// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/own_signals.h"

#include "co_hook/waist/code_names.h"
#include "co_hook/waist/signal_frame.h"

#include "co_routine/loop/park.h"

#include <csignal>
#include <ucontext.h>

namespace corun::waist {
namespace {

constexpr wait_kind answer_kind{"a signal to answer", false, nullptr, nullptr, ended_by::runtime};

own_answer answers[most_signals + 1];
uint64_t arrived; // atomic: those to be answered by answer_forever

word swap_action(int s, const kernel_action *now, kernel_action *former) {
    return sys::call(SYS_rt_sigaction, s, now, former, sys::sigset_bytes);
}

void *answer_forever(void *) {
    worker *w = &the_worker;
    for (;;) {
        uint64_t some = __atomic_exchange_n(&arrived, 0, __ATOMIC_ACQ_REL);
        for (; some != 0; some &= some - 1) {
            int s = __builtin_ctzll(some) + 1;
            answers[s](w, s, 0);
        }
        if (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) == 0)
            park(answer_kind, {}, no_deadline);
    }
}

// Interrupted was: code of a thread of the program, and all of the runtime is at rest; or the runtime,
// and answer_forever is woken.
void on_own_signal(int s, siginfo_t *, void *context) {
    worker *w = &the_worker;
    if (static_cast<int>(sys::getpid()) != w->pid) // a child of vfork, on our memory
        return;
    uintptr_t fs = fs_base();
    const thread *t = whose_turn(w);
    const greg_t *registers = static_cast<const ucontext_t *>(context)->uc_mcontext.gregs;
    if (t && fs == t->fs) {
        if (w->active)
            set_fs_base(w->fs);
        answers[s](w, s,
                   place_of_program(static_cast<uintptr_t>(registers[REG_RIP]),
                                    static_cast<uintptr_t>(registers[REG_RSP])));
        set_fs_base(fs);
        return;
    }
    __atomic_or_fetch(&arrived, bit_of(s), __ATOMIC_ACQ_REL);
    w->answerer.wake();
}

void show(int s) {
    constexpr unsigned long restorer = 0x04000000;
    kernel_action now{};
    if (sys::failed(swap_action(s, nullptr, &now)) || now.handler != 0)
        return;
    kernel_action ours{reinterpret_cast<uintptr_t>(&on_own_signal),
                       SA_SIGINFO | SA_ONSTACK | SA_RESTART | restorer,
                       reinterpret_cast<uintptr_t>(&waist_restorer), all_signals};
    swap_action(s, &ours, nullptr);
}

void hide(int s) {
    kernel_action now{}, none{};
    if (!sys::failed(swap_action(s, nullptr, &now)) &&
        now.handler == reinterpret_cast<uintptr_t>(&on_own_signal))
        swap_action(s, &none, nullptr);
}

template <class F> void each_signal(F f) {
    for (int s = 1; s <= most_signals; ++s)
        if (answers[s])
            f(s);
}

} // namespace

void own_signal(int signal, own_answer answer) { answers[signal] = answer; }

void disown_signal(int signal) {
    hide(signal);
    answers[signal] = nullptr;
}

bool is_own_signal(int signal) {
    return signal >= 1 && signal <= most_signals && answers[signal] != nullptr;
}

const thread *whose_turn(const worker *w) {
    if (!w->active)
        return &w->main;
    const coroutine *co = w->env->running;
    return co == &w->env->root ? nullptr : static_cast<const thread *>(co->arg);
}

bool begin_own_signals(worker *w) {
    constexpr size_t stack_bytes = 32 * 1024;
    return w->answerer.start(w, answer_forever, stack_bytes);
}

void own_signals_after_fork_in_child(worker *w) {
    arrived = 0; // the parent's
    begin_own_signals(w);
}

void own_signals_after_sigaction(const word (&a)[6]) {
    auto s = static_cast<int>(a[0]);
    if (!is_own_signal(s))
        return;
    auto *former = reinterpret_cast<kernel_action *>(a[2]);
    if (former && former->handler == reinterpret_cast<uintptr_t>(&on_own_signal))
        *former = {};
    show(s);
}

void hide_own_signals() { each_signal(hide); }

void show_own_signals() { each_signal(show); }

} // namespace corun::waist
