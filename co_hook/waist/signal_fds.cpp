// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/signal_fds.h"

#include "co_hook/calls/fd_state.h"
#include "co_hook/calls/wait.h"
#include "co_hook/waist/signal_queue.h"
#include "co_hook/waist/signal_restart.h"

#include "co_routine/base/user_memory.h"

#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/uio.h>

namespace corun::waist {

signal_set of_signalfds;

namespace {

template <class T> T *at(word a) { return reinterpret_cast<T *>(a); }

bool may_look(long nr) { return nr == SYS_read || nr == SYS_readv || polls(nr); }

bool is_readable_signalfd(int fd) {
    pollfd p{fd, POLLIN, 0};
    if (sys::ppoll(&p, 1, &sys::at_once, nullptr) <= 0 || !(p.revents & POLLIN))
        return false;
    char name[32];
    calls::name_of_descriptor(fd, name, sizeof name);
    return strcmp(name, "anon_inode:[signalfd]") == 0;
}

// Of what is lent, the first of each number are those that the program has read: the kernel gives out a
// thread's own ones before the process's. Memory of ours, because a readv may scatter them.
word look_by_read(loan *l, int fd, signalfd_siginfo *found, size_t bytes) {
    if (!is_readable_signalfd(fd))
        return 0;
    word r = sys::read(fd, found, bytes);
    for (word i = 0; i < r / word{sizeof *found}; ++i)
        l->was_read(static_cast<int>(found[i].ssi_signo));
    return r;
}

// False: not all of it. Natively what was read is lost then, too.
bool scatter(const char *from, size_t bytes, const iovec *pieces, size_t count) {
    for (size_t i = 0; i < count && bytes > 0; ++i) {
        iovec piece;
        if (!user_read(pieces + i, &piece))
            return false;
        size_t n = piece.iov_len < bytes ? piece.iov_len : bytes;
        if (n > 0 && !copy_to_user(piece.iov_base, from, n))
            return false;
        from += n;
        bytes -= n;
    }
    return true;
}

word read_own(thread *t, signal_set own, long nr, const word (&a)[6]) {
    signalfd_siginfo found[16];
    iovec whole{at<void>(a[1]), static_cast<size_t>(a[2])};
    const iovec *pieces = nr == SYS_read ? &whole : at<const iovec>(a[1]);
    size_t count = nr == SYS_read ? 1 : static_cast<size_t>(a[2]);
    if (count > calls::most_parts || !can_read(pieces, count * sizeof *pieces))
        return 0;
    size_t bytes = calls::bytes_in(pieces, count);
    word r;
    {
        loan l(t, own);
        r = look_by_read(&l, static_cast<int>(a[0]), found,
                         bytes < sizeof found ? bytes : sizeof found);
    }
    bool all = r <= 0 || scatter(reinterpret_cast<const char *>(found), static_cast<size_t>(r),
                                 pieces, count);
    return all ? r : -EFAULT;
}

// The sets are what they were if nothing is found.
word look_by_select(thread *t, signal_set own, const word (&a)[6]) {
    auto count = static_cast<int>(a[0]);
    if (count < 0)
        return 0;
    size_t words = calls::bytes_of_select_set(&count) / sizeof(long);
    calls::pool_block saved(3 * words * sizeof(long) + 1);
    long *former[3];
    for (size_t i = 0; i < 3; ++i) {
        former[i] = reinterpret_cast<long *>(saved.data()) + i * words;
        if (!saved.data() ||
            (a[1 + i] && !copy_from_user(former[i], at<void>(a[1 + i]), words * sizeof(long))))
            return 0;
    }
    sys::kernel_timespec at_once{0, 0}; // the kernel writes what is left
    word r;
    {
        loan l(t, own);
        r = sys::call(SYS_pselect6, count, a[1], a[2], a[3], &at_once, nullptr);
    }
    for (size_t i = 0; i < 3 && r <= 0; ++i)
        for (size_t n = 0; n < words && a[1 + i]; ++n)
            if (long *now = at<long>(a[1 + i]) + n; *now != former[i][n]) // which it has written
                *now = former[i][n];
    return r;
}

// Without waiting. Above 0: it has found something.
word look(thread *t, signal_set own, long nr, const word (&a)[6]) {
    switch (nr) {
    case SYS_read:
    case SYS_readv:
        return read_own(t, own, nr, a);
    case SYS_select:
    case SYS_pselect6:
        return look_by_select(t, own, a);
    default:
        break;
    }
    loan l(t, own);
    if (nr == SYS_poll || nr == SYS_ppoll)
        return sys::call(SYS_ppoll, a[0], a[1], &sys::at_once, nullptr, sys::sigset_bytes);
    return sys::call(SYS_epoll_pwait, a[0], a[1], a[2], 0, nullptr, sys::sigset_bytes);
}

template <class F> void each_pending(thread *t, F f) {
    list_head &queue = t->signals.queue;
    list_node *next;
    for (list_node *n = queue.ring.next; n != &queue.ring; n = next) {
        next = n->next;
        f(CO_CONTAINER(n, pending_signal, link));
    }
}

} // namespace

loan::loan(thread *t, signal_set which) : t_(t), which_(which) {
    if (which_ == 0)
        return;
    hold_in_kernel(which_);
    each_pending(t, [this](pending_signal *p) {
        int s = p->info.si_signo;
        p->lent = (which_ & bit_of(s)) &&
                  sys::call(SYS_rt_tgsigqueueinfo, sys::getpid(), sys::gettid(), s, &p->info) == 0;
    });
}

void loan::was_read(int signal) {
    bool found = false;
    each_pending(t_, [&](pending_signal *p) {
        if (found || !p->lent || p->info.si_signo != signal)
            return;
        found = true;
        remove_pending(t_, p);
    });
}

// As many as are still lent, and no more: behind them come those of the process, which keep their order.
loan::~loan() {
    if (which_ == 0)
        return;
    each_pending(t_, [this](pending_signal *p) {
        if (!p->lent)
            return;
        signal_set its = bit_of(p->info.si_signo);
        p->lent = false;
        if (sys::call(sys::nr_rt_sigtimedwait, &its, &p->info, &sys::at_once, sys::sigset_bytes) <=
            0)
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
    if (!may_look(nr))
        return false;
    bring_kept(self, self->signals.blocked & of_signalfds);
    signal_set own = self->signals.pending & self->signals.blocked & of_signalfds;
    if (own == 0)
        return false;
    *result = look(self, own, nr, a);
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
