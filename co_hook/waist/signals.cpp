// SPDX-License-Identifier: Apache-2.0
// The system calls about signals, and where signals meet the lives of threads and processes.
#include "co_hook/waist/signals.h"

#include "co_hook/calls/dispatch.h"
#include "co_hook/calls/kernel_time.h"
#include "co_hook/calls/signals.h"
#include "co_hook/waist/signal_calls.h"
#include "co_hook/waist/signal_delivery.h"
#include "co_hook/waist/signal_fds.h"
#include "co_hook/waist/signal_frame.h"
#include "co_hook/waist/signal_queue.h"
#include "co_hook/waist/signal_restart.h"

#include "co_routine/loop/park.h"

#include <cerrno>
#include <cstring>

namespace corun::waist {
namespace {

constexpr wait_kind pause_kind{"a signal handler", false, nullptr};

template <class T> T *at(word a) { return reinterpret_cast<T *>(a); }
bool is_set(word size) { return static_cast<size_t>(size) == sys::sigset_bytes; }

word sigprocmask(thread *self, const word (&a)[6]) {
    if (!is_set(a[3]))
        return -EINVAL;
    signal_set old = self->signals.blocked;
    if (a[1]) {
        signal_set set;
        if (!user_read(at<void>(a[1]), &set))
            return -EFAULT;
        switch (static_cast<int>(a[0])) {
        case SIG_BLOCK:
            set |= old;
            break;
        case SIG_UNBLOCK:
            set = old & ~set;
            break;
        case SIG_SETMASK:
            break;
        default:
            return -EINVAL;
        }
        set_blocked(self, set);
    }
    return a[2] && !user_write(at<void>(a[2]), old) ? -EFAULT : 0;
}

word sigpending(thread *self, const word (&a)[6]) {
    if (static_cast<size_t>(a[1]) > sys::sigset_bytes)
        return -EINVAL;
    bring_kept(self, self->signals.blocked);
    signal_set pending = 0;
    sys::call(SYS_rt_sigpending, &pending, sys::sigset_bytes);
    pending = (pending | self->signals.pending) & self->signals.blocked;
    return copy_to_user(at<void>(a[0]), &pending, static_cast<size_t>(a[1])) ? 0 : -EFAULT;
}

// Until a handler is to run.
word wait_for_handler(thread *self) {
    while (self->signals.deliverable() == 0)
        if (int e = park(pause_kind, {}, no_deadline))
            return e;
    self->signals.interrupted = true;
    self->signals.look = true;
    return -ECANCELED;
}

word sigsuspend(thread *self, const word (&a)[6]) {
    if (!is_set(a[1]))
        return -EINVAL;
    signal_set mask;
    if (!user_read(at<void>(a[0]), &mask))
        return -EFAULT;
    set_mask_for_a_call(self, mask);
    signals_before_call();
    return wait_for_handler(self);
}

word sigtimedwait(thread *self, const word (&a)[6]) {
    int64_t ns;
    signal_set wanted;
    if (!is_set(a[3]))
        return -EINVAL;
    if (!user_read(at<void>(a[0]), &wanted))
        return -EFAULT;
    if (int e = calls::read_kernel_time(at<const void>(a[2]), true, &ns))
        return e;
    wanted &= ~never_blocked;
    bring_kept(self, wanted);
    pending_signal p;
    if (take_pending(self, wanted, &p)) {
        return a[1] && !user_write(at<void>(a[1]), p.info) ? -EFAULT : p.info.si_signo;
    }
    if (self->signals.interrupted && ns != 0)
        return sys::call(sys::nr_rt_sigtimedwait, &wanted, a[1], &sys::at_once, sys::sigset_bytes) >
                       0
                   ? -EAGAIN
                   : -ECANCELED;
    self->signals.awaited = wanted;
    word r = calls::sigtimedwait(&wanted, at<siginfo_t>(a[1]), ns == no_deadline ? -1 : ns);
    self->signals.awaited = 0;
    return r;
}

word sigaction(const word (&a)[6]) {
    auto s = static_cast<int>(a[0]);
    if (!is_set(a[3]) || s < 1 || s > most_signals)
        return -EINVAL;
    if (bit_of(s) & never_blocked)
        return sys::call(SYS_rt_sigaction, s, a[1], a[2], sys::sigset_bytes);
    kernel_action former = actions[s];
    if (a[1]) {
        kernel_action now;
        if (!user_read(at<void>(a[1]), &now))
            return -EFAULT;
        actions[s] = now;
        actions[s].mask &= ~never_blocked;
        set_kernel_action(s);
        if (is_ignored(s)) {
            worker *w = &the_worker;
            for (list_node *n = w->threads.ring.next; n != &w->threads.ring; n = n->next)
                drop_pending(CO_CONTAINER(n, thread, link), s);
        }
    }
    return a[2] && !user_write(at<void>(a[2]), former) ? -EFAULT : 0;
}

word sigaltstack(thread *self, const frame *f, const word (&a)[6]) {
    constexpr size_t least = 2048;
    alternate_stack &mine = self->signals.alternate;
    bool there = is_on(mine, f->sp());
    stack_t former{};
    former.ss_sp = at<void>(static_cast<word>(mine.low));
    former.ss_flags = mine.flags | (there ? SS_ONSTACK : 0);
    former.ss_size = mine.bytes;
    if (a[0]) {
        stack_t s;
        if (!user_read(at<void>(a[0]), &s))
            return -EFAULT;
        int mode = s.ss_flags & ~auto_disarm;
        if (there)
            return -EPERM;
        if (mode != 0 && mode != SS_DISABLE && mode != SS_ONSTACK)
            return -EINVAL;
        if (mode == SS_DISABLE)
            mine = {0, s.ss_flags, 0};
        else if (s.ss_size < least)
            return -ENOMEM;
        else
            mine = {reinterpret_cast<uintptr_t>(s.ss_sp), s.ss_flags & auto_disarm, s.ss_size};
    }
    return a[1] && !user_write(at<void>(a[1]), former) ? -EFAULT : 0;
}

} // namespace

int begin_signals(worker *w) {
    if (!take_alternate_stack(w) || !begin_dispatcher(w))
        return -ENOMEM;
    signal_set former;
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &all_signals, &former, sys::sigset_bytes);
    for (int s = 1; s <= most_signals; ++s) {
        sys::call(SYS_rt_sigaction, s, nullptr, &actions[s], sys::sigset_bytes);
        if (actions[s].has_handler())
            set_kernel_action(s);
    }
    // It is for the thread that wrote, whatever the others block: the kernel has only one to ask.
    capture(SIGPIPE);
    // What touches memory of the program that is not there (base/user_memory.h).
    capture(SIGSEGV);
    capture(SIGBUS);
    touches_are_caught = true;
    w->main.signals.blocked = former & ~never_blocked;
    count_thread(&w->main, true);
    block_in_kernel(kernel_mask());
    return 0;
}

void thread_begins(thread *t) { count_thread(t, true); }

void thread_ends(thread *t) {
    count_thread(t, false);
    if (t->signals.pending != 0)
        offer_to_others(t, all_signals);
    drop_pending(t, 0);
}

// The calls that are made with another mask, which goes as far as the call does.
bool masked_call(thread *self, long nr, word (&a)[6]) {
    struct with_size {
        const signal_set *mask;
        size_t bytes;
    };
    int which;
    switch (nr) {
    case SYS_ppoll:
        which = 3;
        break;
    case SYS_pselect6:
    case SYS_io_pgetevents:
        which = 5;
        break;
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
        which = 4;
        break;
    default:
        return false;
    }
    if (a[which] == 0)
        return false;
    with_size m{};
    signal_set mask;
    if (which != 5)
        m = {at<const signal_set>(a[which]), static_cast<size_t>(a[which + 1])};
    else if (!user_read(at<void>(a[which]), &m))
        return false; // calls::dispatch says what is wrong
    if (!m.mask || m.bytes != sys::sigset_bytes || !user_read(m.mask, &mask))
        return false;
    set_mask_for_a_call(self, mask);
    a[which] = 0;
    return true;
}

bool signal_call(thread *self, frame *f, long nr, word (&a)[6], word *result) {
    if (finds_at_signalfds(self, nr, a, result))
        return true;
    switch (nr) {
    case SYS_rt_sigprocmask:
        return *result = sigprocmask(self, a), true;
    case SYS_rt_sigpending:
        return *result = sigpending(self, a), true;
    case SYS_rt_sigsuspend:
        return *result = sigsuspend(self, a), true;
    case SYS_pause:
        return *result = wait_for_handler(self), true;
    case SYS_rt_sigtimedwait:
        return *result = sigtimedwait(self, a), true;
    case SYS_rt_sigaction:
        return *result = sigaction(a), true;
    case SYS_signalfd:
    case SYS_signalfd4:
        return *result = make_signalfd(nr, a), true;
    case SYS_sigaltstack:
        return *result = sigaltstack(self, f, a), true;
    case SYS_ppoll:
    case SYS_pselect6:
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
    case SYS_io_pgetevents: {
        if (!masked_call(self, nr, a))
            return false;
        signals_before_call();
        if (self->signals.deliverable() != 0)
            interrupt(self); // looks, and does not wait
        if (!calls::dispatch(nr, a, true, result))
            *result = native(nr, a);
        bool polls = nr == SYS_ppoll || nr == SYS_pselect6;
        if (polls && *result == 0 && self->signals.deliverable() != 0) {
            self->signals.interrupted = self->signals.look = true;
            *result = -ECANCELED;
        }
        if (*result != -ECANCELED)
            restore_former_mask(self);
        return true;
    }
    default:
        return sending_call(self, nr, a, result);
    }
}

// ---- Processes

void signals_before_fork() { block_in_kernel(all_signals); }

void signals_after_fork_in_parent() { block_in_kernel(kernel_mask()); }

void signals_after_fork_in_child(thread *self) {
    forget_after_fork();
    drop_pending(self, 0);
    take_interruption(self);
    begin_dispatcher(self->home);
    block_in_kernel(kernel_mask());
}

void signals_before_vfork(const thread *self) {
    if (self->home->active)
        block_in_kernel(self->signals.blocked);
}

void signals_after_vfork() {
    if (the_worker.active)
        block_in_kernel(kernel_mask());
}

} // namespace corun::waist
