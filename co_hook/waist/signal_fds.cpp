// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/signal_fds.h"

#include "co_hook/waist/signal_queue.h"
#include "co_hook/waist/signal_restart.h"

#include "co_routine/base/check.h"
#include "co_routine/base/user_memory.h"

#include <cstring>
#include <fcntl.h>
#include <poll.h>

namespace corun::waist {

signal_set of_signalfds;

namespace {

template <class T> T *at(word a) { return reinterpret_cast<T *>(a); }

bool may_look(long nr) { return nr == SYS_read || nr == SYS_readv || polls(nr); }

bool is_readable_signalfd(int fd) {
    pollfd p{fd, POLLIN, 0};
    if (sys::ppoll(&p, 1, &sys::at_once, nullptr) <= 0 || !(p.revents & POLLIN))
        return false;
    constexpr char name[] = "anon_inode:[signalfd]";
    char path[40], found[sizeof name] = {};
    format_line(path, sizeof path, "/proc/self/fd/%d", fd);
    return sys::call(SYS_readlinkat, AT_FDCWD, path, found, sizeof found - 1) == sizeof name - 1 &&
           memcmp(found, name, sizeof name) == 0;
}

// The sets are what they were if nothing is found.
word look_by_select(const word (&a)[6]) {
    constexpr int most = 1024;
    char saved[3][most / 8];
    auto count = static_cast<int>(a[0]);
    if (count < 0 || count > most)
        return 0;
    size_t bytes = (static_cast<size_t>(count) + 63) / 64 * 8;
    for (int i = 0; i < 3; ++i) {
        if (a[1 + i] && !can_write(at<void>(a[1 + i]), bytes))
            return 0;
        if (a[1 + i])
            memcpy(saved[i], at<void>(a[1 + i]), bytes);
    }
    sys::kernel_timespec at_once{0, 0}; // the kernel writes what is left
    word r = sys::call(SYS_pselect6, count, a[1], a[2], a[3], &at_once, nullptr);
    for (int i = 0; i < 3 && r <= 0; ++i)
        if (a[1 + i])
            memcpy(at<void>(a[1 + i]), saved[i], bytes);
    return r;
}

// Without waiting. Above 0: it has found something.
word look(long nr, const word (&a)[6]) {
    switch (nr) {
    case SYS_read:
    case SYS_readv:
        return is_readable_signalfd(static_cast<int>(a[0])) ? native(nr, a) : 0;
    case SYS_poll:
    case SYS_ppoll:
        return sys::call(SYS_ppoll, a[0], a[1], &sys::at_once, nullptr, sys::sigset_bytes);
    case SYS_select:
    case SYS_pselect6:
        return look_by_select(a);
    default:
        return sys::call(SYS_epoll_pwait, a[0], a[1], a[2], 0, nullptr, sys::sigset_bytes);
    }
}

template <class F> void each_pending(thread *t, F f) {
    list_head &queue = t->signals.queue;
    list_node *next;
    for (list_node *n = queue.ring.next; n != &queue.ring; n = next) {
        next = n->next;
        f(CO_CONTAINER(n, pending_signal, link));
    }
}

// What the kernel keeps of a siginfo_t.
bool is_same(const siginfo_t &a, const siginfo_t &b) { return memcmp(&a, &b, 48) == 0; }

pending_signal *lent_one(thread *t, const siginfo_t &info) {
    pending_signal *found = nullptr;
    each_pending(t, [&](pending_signal *p) {
        if (!found && p->lent && is_same(p->info, info))
            found = p;
    });
    return found;
}

} // namespace

loan::loan(thread *t, signal_set which) : t_(t), which_(which & ~of_faults) {
    if (which_ == 0)
        return;
    hold_in_kernel(which_);
    each_pending(t, [this](pending_signal *p) {
        int s = p->info.si_signo;
        p->lent = (which_ & bit_of(s)) &&
                  sys::call(SYS_rt_tgsigqueueinfo, sys::getpid(), sys::gettid(), s, &p->info) == 0;
    });
}

loan::~loan() {
    if (which_ == 0)
        return;
    // The kernel gives out a thread's own ones first.
    siginfo_t info;
    while (sys::call(sys::nr_rt_sigtimedwait, &which_, &info, &sys::at_once, sys::sigset_bytes) >
           0) {
        pending_signal *p = lent_one(t_, info);
        if (!p) {
            sys::call(SYS_rt_sigqueueinfo, sys::getpid(), info.si_signo, &info);
            break;
        }
        p->lent = false;
    }
    each_pending(t_, [this](pending_signal *p) {
        if (p->lent)
            remove_pending(t_, p);
    });
    hold_in_kernel(0);
}

word make_signalfd(long nr, const word (&a)[6]) {
    word r = native(nr, a);
    signal_set mask;
    if (!sys::failed(r) && user_read(at<void>(a[1]), &mask))
        of_signalfds |= mask & ~never_blocked;
    return r;
}

bool look_at_signalfds(thread *self, long nr, const word (&a)[6], word *result) {
    signal_set own = self->signals.pending & self->signals.blocked & of_signalfds;
    if (own == 0 || !may_look(nr))
        return false;
    {
        loan l(self, own);
        *result = look(nr, a);
    }
    if (*result <= 0)
        return false; // errors are the call's to find
    restore_former_mask(self);
    return true;
}

void show_to_signalfds(thread *t, int signal) {
    if (!(of_signalfds & bit_of(signal)) || !may_look(t->call_nr))
        return;
    t->signals.look = true;
    interrupt(t);
}

} // namespace corun::waist
