// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/signal_queue.h"

#include "co_hook/waist/signal_delivery.h"
#include "co_hook/waist/signal_fds.h"
#include "co_hook/waist/signal_restart.h"
#include "co_hook/waist/signals.h"

#include "co_routine/base/raw_vector.h"

#include <cerrno>
#include <cstring>
#include <new>
#include <sys/resource.h>

namespace corun::waist {

volatile bool signals_arrived;
kernel_action actions[most_signals + 1];

namespace {

// ---- Masks

constexpr worker_signals &kernels = the_worker.signals; // what its one kernel thread has

void tell_mask() {
    if (kernels.mask_of_interrupted)
        *kernels.mask_of_interrupted = kernels.blocked_by_all;
    else
        block_in_kernel(kernels.blocked_by_all | kernels.held);
}

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
    signal_set now =
        (kernels.blocked_by_all & ~which) | (counted(which) & ~kernels.never_in_kernel);
    if (now == kernels.blocked_by_all)
        return;
    kernels.blocked_by_all = now;
    tell_mask();
}

// ---- Queues

size_t queued;

size_t most_queued() {
    rlimit limit{};
    word r = sys::call(SYS_prlimit64, 0, RLIMIT_SIGPENDING, nullptr, &limit);
    return r == 0 ? limit.rlim_cur : 1024;
}

void free_pending(pending_signal *p) {
    --queued;
    the_worker.env->slab.release(p, sizeof *p);
}

thread *thread_of(list_node *n) { return CO_CONTAINER(n, thread, link); }

// Of the process, in the kernel's words; nullptr: it has ended, and the others go on.
thread *first_thread() {
    worker *w = &the_worker;
    return w->main.link.linked() && w->main.tid == w->pid ? &w->main : thread_of_tid(w->pid);
}

bool takes(const thread *t, int signal) {
    return !(t->signals.blocked & bit_of(signal)) || (t->signals.awaited & bit_of(signal));
}

// As the kernel chooses: the first thread if it wants it, then any.
thread *taker_of(int signal, thread *prefer) {
    worker *w = &the_worker;
    if (prefer && takes(prefer, signal))
        return prefer;
    if (thread *first = first_thread(); first && takes(first, signal))
        return first;
    if (thread *running = running_thread(); running && takes(running, signal))
        return running->link.linked() ? running : nullptr;
    for (list_node *n = w->threads.ring.next; n != &w->threads.ring; n = n->next)
        if (takes(thread_of(n), signal))
            return thread_of(n);
    return nullptr;
}

// The kernel keeps one of a thread, and one of the process.
bool has_one(const thread_signals &mine, int signal, bool of_process) {
    const list_node *head = &mine.queue.ring;
    for (list_node *n = head->next; n != head; n = n->next) {
        const pending_signal *p = CO_CONTAINER(n, pending_signal, link);
        if (p->info.si_signo == signal && p->of_process == of_process)
            return true;
    }
    return false;
}

int enqueue(thread *t, const siginfo_t &info, bool of_process) {
    int s = info.si_signo;
    thread_signals &mine = t->signals;
    bool wanted = takes(t, s);
    if (is_ignored(s) && wanted && !(mine.awaited & bit_of(s)))
        return 0;
    if (s < first_queued_signal && (mine.pending & bit_of(s)) && has_one(mine, s, of_process))
        return 0;
    if (s >= first_queued_signal && queued >= 1024 && queued >= most_queued())
        return -EAGAIN;
    void *memory = the_worker.env->slab.allocate(sizeof(pending_signal));
    if (!memory)
        return -EAGAIN;
    ++queued;
    mine.queue.push_back(&(new (memory) pending_signal{{}, info, of_process})->link);
    mine.pending |= bit_of(s);
    if (wanted) {
        mine.look = true;
        interrupt(t);
    } else {
        show_to_signalfds(t, s);
    }
    return 0;
}

// ---- Timers of one thread (SIGEV_THREAD_ID): the kernel knows none but its own

struct thread_timer {
    int timer, tid;
};
raw_vector<thread_timer> timers;

int tid_of_timer(int timer) {
    for (size_t i = 0; i < timers.size(); ++i)
        if (timers[i].timer == timer)
            return timers[i].tid;
    return 0;
}

} // namespace

void note_timer(int timer, int tid) {
    size_t i = 0;
    while (i < timers.size() && timers[i].timer != timer)
        ++i;
    if (i == timers.size() && tid != 0)
        for (i = 0; i < timers.size() && timers[i].tid != 0;)
            ++i;
    if (i < timers.size())
        timers[i] = {timer, tid};
    else if (tid != 0 && timers.reserve(i + 1))
        timers.push_back({timer, tid});
}

// ---- Actions

bool is_ignored(int signal) {
    constexpr signal_set by_default =
        bit_of(SIGCHLD) | bit_of(SIGCONT) | bit_of(SIGURG) | bit_of(SIGWINCH);
    uintptr_t handler = actions[signal].handler;
    return handler == reinterpret_cast<uintptr_t>(SIG_IGN) ||
           (handler == 0 && (by_default & bit_of(signal)));
}

// ---- Masks

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

// ---- Pending

bool record_signal(const siginfo_t &info, int interrupted_tid) {
    unsigned end = kernels.ring_end;
    kernels.ring[end % most_recorded] = {info, interrupted_tid};
    kernels.ring_end = end + 1;
    signals_arrived = true;
    bool full = end + 1 - kernels.ring_begin >= most_recorded;
    if (full)
        kernels.kernel_holds_back = true;
    return !full;
}

void forget_after_fork() {
    timers.clear(); // which are the parent's
    kernels.ring_begin = kernels.ring_end;
    signals_arrived = false;
    kernels.kernel_holds_back = false;
}

void give_out(const siginfo_t &info, int interrupted_tid) {
    thread *interrupted = thread_of_tid(interrupted_tid);
    int s = info.si_signo;
    if (info.si_code == SI_TIMER)
        if (int tid = tid_of_timer(info.si_timerid)) {
            if (thread *t = thread_of_tid(tid))
                enqueue(t, info, false);
            return;
        }
    // What the kernel sends to the thread that made a call: it knows only one.
    bool by_call = (s == SIGPIPE || s == SIGXFSZ) && info.si_pid == the_worker.pid;
    if (by_call && interrupted) {
        enqueue(interrupted, info, false);
        return;
    }
    if (info.si_code == SI_TKILL) {
        if (thread *first = first_thread())
            enqueue(first, info, false);
        return;
    }
    bool of_running = info.si_code == SI_TIMER || s == SIGPROF || s == SIGVTALRM;
    send_to_process(info, of_running ? interrupted : nullptr);
}

void give_out_signals() {
    for (;;) {
        signals_arrived = false;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (kernels.ring_begin == kernels.ring_end)
            break;
        const recorded_signal r = kernels.ring[kernels.ring_begin % most_recorded];
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        kernels.ring_begin = kernels.ring_begin + 1;
        give_out(r.info, r.interrupted_tid);
    }
    if (kernels.kernel_holds_back) {
        kernels.kernel_holds_back = false;
        tell_mask();
    }
}

int send_to(thread *t, const siginfo_t &info) { return enqueue(t, info, false); }

void send_to_process(const siginfo_t &info, thread *prefer) {
    if (thread *t = taker_of(info.si_signo, prefer)) {
        enqueue(t, info, true);
        return;
    }
    // All block it by now: the kernel keeps it for the first that does not.
    if (signal_set its = bit_of(info.si_signo) & kernels.never_in_kernel) {
        kernels.never_in_kernel &= ~its;
        change_kernel_mask(its);
    }
    sys::call(SYS_rt_sigqueueinfo, the_worker.pid, info.si_signo, &info);
}

bool take_pending(thread *t, signal_set of, pending_signal *out) {
    thread_signals &mine = t->signals;
    signal_set some = mine.pending & of;
    if (some == 0)
        return false;
    if (some & of_faults)
        some &= of_faults;
    int s = __builtin_ctzll(some) + 1;
    pending_signal *found = nullptr;
    bool more = false;
    for (list_node *n = mine.queue.ring.next; n != &mine.queue.ring; n = n->next) {
        pending_signal *p = CO_CONTAINER(n, pending_signal, link);
        if (p->info.si_signo != s)
            continue;
        more = found != nullptr;
        if (more)
            break;
        found = p;
    }
    if (!more)
        mine.pending &= ~bit_of(s);
    if (!found)
        return false;
    found->link.unlink();
    *out = *found;
    out->link = {};
    free_pending(found);
    return true;
}

void drop_pending(thread *t, int signal) {
    thread_signals &mine = t->signals;
    list_node *next;
    for (list_node *n = mine.queue.ring.next; n != &mine.queue.ring; n = next) {
        next = n->next;
        pending_signal *p = CO_CONTAINER(n, pending_signal, link);
        if (signal != 0 && p->info.si_signo != signal)
            continue;
        p->link.unlink();
        free_pending(p);
    }
    mine.pending &= signal == 0 ? 0 : ~bit_of(signal);
}

void remove_pending(thread *t, pending_signal *p) {
    int s = p->info.si_signo;
    p->link.unlink();
    free_pending(p);
    if (!has_one(t->signals, s, true) && !has_one(t->signals, s, false))
        t->signals.pending &= ~bit_of(s);
}

void offer_to_others(thread *t, signal_set which) {
    thread_signals &mine = t->signals;
    list_head offered;
    signal_set left = 0;
    list_node *next;
    for (list_node *n = mine.queue.ring.next; n != &mine.queue.ring; n = next) {
        next = n->next;
        pending_signal *p = CO_CONTAINER(n, pending_signal, link);
        if (p->of_process && (which & bit_of(p->info.si_signo))) {
            p->link.unlink();
            offered.push_back(&p->link);
        } else {
            left |= bit_of(p->info.si_signo);
        }
    }
    mine.pending = left;
    while (list_node *n = offered.pop_front()) {
        pending_signal *p = CO_CONTAINER(n, pending_signal, link);
        siginfo_t info = p->info;
        free_pending(p);
        send_to_process(info, nullptr);
    }
}

} // namespace corun::waist
