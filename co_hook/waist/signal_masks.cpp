// SPDX-License-Identifier: Apache-2.0
// What each thread blocks, and so the kernel.
#include "co_hook/waist/signal_queue.h"

namespace corun::waist {
namespace {

constexpr worker_signals &kernels = the_worker.signals; // what its one kernel thread has

void add_to_counts(signal_set which, bool more) {
    for (; which != 0; which &= which - 1) {
        int i = __builtin_ctzll(which);
        kernels.blocked_by[i] += more ? 1U : -1U;
    }
}

// Of these, those that all threads block.
signal_set counted(signal_set which) {
    signal_set all = 0;
    for (; which != 0; which &= which - 1) {
        int i = __builtin_ctzll(which);
        if (kernels.blocked_by[i] == kernels.threads)
            all |= signal_set{1} << i;
    }
    return all;
}

void change_kernel_mask(signal_set which) {
    signal_set now = (kernels.blocked_by_all & ~which) | (counted(which) & ~of_touches);
    if (now == kernels.blocked_by_all)
        return;
    kernels.blocked_by_all = now;
    tell_mask();
}

} // namespace

void tell_mask() {
    if (kernels.mask_of_interrupted)
        *kernels.mask_of_interrupted = kernels.blocked_by_all;
    else
        block_in_kernel(kernels.blocked_by_all | kernels.held);
}

signal_set kernel_mask() { return kernels.blocked_by_all; }

void masks_go_to(signal_set *of_interrupted) { kernels.mask_of_interrupted = of_interrupted; }

void block_in_kernel(signal_set mask) {
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, sys::sigset_bytes);
}

void hold_in_kernel(signal_set which) {
    kernels.held = which;
    tell_mask();
}

void set_blocked(thread *t, signal_set now) {
    thread_signals &mine = t->signals;
    now &= ~never_blocked;
    signal_set more = now & ~mine.blocked, less = mine.blocked & ~now;
    if ((more | less) == 0)
        return;
    add_to_counts(more, true);
    add_to_counts(less, false);
    mine.blocked = now;
    change_kernel_mask(more | less);
    bring_kept(t, less);
    if (mine.pending & more)
        offer_to_others(t, more);
    if (mine.deliverable() != 0)
        mine.look = true;
}

void set_mask_for_a_call(thread *t, signal_set mask) {
    if (!t->signals.has_former)
        t->signals.former = t->signals.blocked;
    t->signals.has_former = true;
    set_blocked(t, mask);
}

void restore_former_mask(thread *t) {
    if (!t->signals.has_former)
        return;
    t->signals.has_former = false;
    set_blocked(t, t->signals.former);
}

void count_thread(const thread *t, bool begins) {
    add_to_counts(t->signals.blocked, begins);
    kernels.threads += begins ? 1U : -1U;
    if (kernels.threads != 0)
        change_kernel_mask(all_signals & ~never_blocked);
}

} // namespace corun::waist
