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

kernel_action actions[most_signals + 1];

namespace {

constexpr worker_signals &kernels = the_worker.signals; // what its one kernel thread has

// ---- Queues

size_t most_queued() {
    rlimit limit{};
    word r = sys::call(SYS_prlimit64, 0, RLIMIT_SIGPENDING, nullptr, &limit);
    return r == 0 ? limit.rlim_cur : 1024;
}

void free_pending(pending_signal *p) {
    --kernels.queued;
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
pending_signal *pending_one(const thread_signals &mine, int signal, bool of_process) {
    const list_node *head = &mine.queue.ring;
    for (list_node *n = head->next; n != head; n = n->next) {
        pending_signal *p = CO_CONTAINER(n, pending_signal, link);
        if (p->info.si_signo == signal && p->of_process == of_process)
            return p;
    }
    return nullptr;
}

int enqueue(thread *t, const siginfo_t &info, bool of_process) {
    int s = info.si_signo;
    thread_signals &mine = t->signals;
    bool wanted = takes(t, s);
    if (is_ignored(s) && wanted && !(mine.awaited & bit_of(s)))
        return 0;
    if (s < first_queued_signal && (mine.pending & bit_of(s)) && pending_one(mine, s, of_process))
        return 0;
    if (s >= first_queued_signal && kernels.queued >= 1024 && kernels.queued >= most_queued())
        return -EAGAIN;
    void *memory = the_worker.env->slab.allocate(sizeof(pending_signal));
    if (!memory)
        return -EAGAIN;
    ++kernels.queued;
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

// ---- What is sent of of_touches while all threads block it

template <class F> void each_thread(F f) {
    list_head &all = the_worker.threads;
    for (list_node *n = all.ring.next; n != &all.ring; n = n->next)
        f(thread_of(n));
}

thread *keeper_of(int signal) {
    thread *found = nullptr;
    each_thread([&](thread *t) {
        if (pending_one(t->signals, signal, true))
            found = t;
    });
    return found;
}

void keep(const siginfo_t &info) {
    worker *w = &the_worker;
    if (keeper_of(info.si_signo) || w->threads.ring.next == &w->threads.ring)
        return;
    thread *first = first_thread();
    enqueue(first ? first : thread_of(w->threads.ring.next), info, true);
    kernels.kept |= bit_of(info.si_signo);
    each_thread([&](thread *t) { show_to_signalfds(t, info.si_signo); });
}

// ---- Timers of one thread (SIGEV_THREAD_ID): the kernel knows none but its own

struct thread_timer {
    int timer, tid;
};
static_vector<thread_timer> timers;

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

// ---- Pending

bool record_signal(const siginfo_t &info, int interrupted_tid) {
    unsigned end = kernels.ring_end;
    kernels.ring[end % most_recorded] = {info, interrupted_tid};
    kernels.ring_end = end + 1;
    kernels.arrived = true;
    bool full = end + 1 - kernels.ring_begin >= most_recorded;
    if (full)
        kernels.kernel_holds_back = true;
    return !full;
}

void forget_after_fork() {
    timers.clear(); // which are the parent's
    kernels.ring_begin = kernels.ring_end;
    kernels.arrived = false;
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
        kernels.arrived = false;
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
    if (bit_of(info.si_signo) & of_touches)
        keep(info);
    else
        sys::call(SYS_rt_sigqueueinfo, the_worker.pid, info.si_signo, &info);
}

void bring_kept(thread *t, signal_set which) {
    for (signal_set some = which & kernels.kept; some != 0; some &= some - 1) {
        int s = __builtin_ctzll(some) + 1;
        thread *keeper = keeper_of(s);
        if (!keeper)
            kernels.kept &= ~bit_of(s);
        if (!keeper || keeper == t)
            continue;
        pending_signal *p = pending_one(keeper->signals, s, true);
        siginfo_t info = p->info;
        remove_pending(keeper, p);
        enqueue(t, info, true);
    }
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
    if (!pending_one(t->signals, s, true) && !pending_one(t->signals, s, false))
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
