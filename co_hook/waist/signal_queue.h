// SPDX-License-Identifier: Apache-2.0
// Masks and pending signals: what is blocked where, who gets what, and the actions of the program.
// All of it in the runtime, or in on_signal where that has interrupted the program.
#pragma once

#include "co_hook/waist/worker.h"

namespace corun::waist {

extern kernel_action actions[most_signals + 1] __attribute__((visibility("hidden")));

bool is_ignored(int signal); // by the program, or by default
// The kernel's handler of this signal is ours, whatever the program has.
void capture(int signal);
bool is_captured(int signal);
// Tells the kernel what it is to do: the program's action, or on_signal.
word set_kernel_action(int signal);

// ---- Masks
signal_set kernel_mask();
// The mask of the kernel thread while on_signal runs is the one that its end brings back.
void masks_go_to(signal_set *of_interrupted); // nullptr: to the kernel, at once
void set_blocked(thread *t, signal_set now);
void set_mask_for_a_call(thread *t, signal_set mask); // the former one comes back
void restore_former_mask(thread *t);
void block_in_kernel(signal_set mask); // until kernel_mask() is in force again
// In a handler, where all is blocked, SIGSEGV is let through: to a touch of the program's memory it is the answer.
class faults_let_in {
  public:
    faults_let_in() { block_in_kernel(all_signals & ~of_touches); }
    ~faults_let_in() { block_in_kernel(all_signals); }
    faults_let_in(const faults_let_in &) = delete;
    faults_let_in &operator=(const faults_let_in &) = delete;
};
void tell_mask();                      // what it is to have, after it had something else
void hold_in_kernel(signal_set which); // besides what kernel_mask() says; 0: no more
void count_thread(const thread *t, bool begins);

// ---- Pending
// Recorded by on_signal. False: no more room after this one, the rest must stay in the kernel.
bool record_signal(const siginfo_t &info, int interrupted_tid);
void forget_after_fork();
void give_out_signals();
// To this thread alone. 0, or -EAGAIN: there are too many.
int send_to(thread *t, const siginfo_t &info);
// Directed at the process; prefer: whom to ask first, or nullptr.
void send_to_process(const siginfo_t &info, thread *prefer);
// Whom a signal from the kernel is meant for, and sends it.
void give_out(const siginfo_t &info, int interrupted_tid);
// What all threads block and is kept by another one, of these: t has it now.
void bring_kept(thread *t, signal_set which);
// Takes the next of these out. False: there is none.
bool take_pending(thread *t, signal_set of, pending_signal *out);
void drop_pending(thread *t, int signal); // 0: all
void remove_pending(thread *t, pending_signal *p);
void offer_to_others(thread *t, signal_set which);

// ---- Timers that are for one thread
void note_timer(int timer, int tid); // tid 0: it is gone

} // namespace corun::waist
