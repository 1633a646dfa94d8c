// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/signal_restart.h"

#include "co_hook/calls/fd_state.h"
#include "co_hook/calls/lock.h"
#include "co_routine/loop/offload.h"

#include <fcntl.h>
#include <linux/futex.h>

namespace corun::waist {
namespace {

// Sockets with a time limit of their own do not go on.
interruption of_socket(long nr, int fd) {
    bool sends = nr == SYS_sendto || nr == SYS_sendmsg || nr == SYS_sendmmsg || nr == SYS_write ||
                 nr == SYS_writev || nr == SYS_pwrite64 || nr == SYS_connect;
    long limit[2] = {};
    int size = sizeof limit;
    word r =
        sys::call(SYS_getsockopt, fd, SOL_SOCKET, sends ? SO_SNDTIMEO : SO_RCVTIMEO, limit, &size);
    bool limited = r == 0 && (limit[0] != 0 || limit[1] != 0);
    return limited ? interruption::ends : interruption::restarts;
}

// A read or write of a disk file ends by itself, and must not be made twice.
interruption of_transfer(long nr, int fd) {
    uint32_t bits = calls::known_bits(fd);
    if (calls::is_socket(bits))
        return of_socket(nr, fd);
    return calls::kind_of(bits) == calls::kind_file ? interruption::never : interruption::restarts;
}

bool is_transfer(long nr) {
    return nr == SYS_read || nr == SYS_readv || nr == SYS_preadv2 || nr == SYS_write ||
           nr == SYS_writev || nr == SYS_pwritev2;
}

bool moves_data(long nr) { return is_transfer(nr) || nr == SYS_accept || nr == SYS_accept4; }

interruption of_futex(const frame *f) {
    int command = static_cast<int>(f->rsi) & FUTEX_CMD_MASK;
    bool waits = command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET;
    if (!waits)
        return interruption::never;
    return f->r10 != 0 ? interruption::ends : interruption::restarts;
}

} // namespace

interruption interruption_of(long nr, const frame *f) {
    auto fd = static_cast<int>(f->rdi);
    if (is_transfer(nr))
        return of_transfer(nr, fd);
    switch (nr) {
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_recvmmsg:
    case SYS_sendto:
    case SYS_sendmsg:
    case SYS_sendmmsg:
    case SYS_accept:
    case SYS_accept4:
    case SYS_connect:
        return of_socket(nr, fd);
    case SYS_futex:
        return of_futex(f);
    case SYS_fcntl:
        return calls::is_lock_wait(static_cast<int>(f->rsi)) ? interruption::restarts
                                                             : interruption::never;
    case SYS_open: // a FIFO's; what makes files must not be made twice
        return f->rsi & O_CREAT ? interruption::never : interruption::restarts;
    case SYS_openat:
        return f->rdx & O_CREAT ? interruption::never : interruption::restarts;
    case SYS_wait4:
    case SYS_waitid:
    case SYS_flock:
    case SYS_mq_timedsend:
    case SYS_mq_timedreceive:
        return interruption::restarts;
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
    case SYS_pause:
    case SYS_rt_sigsuspend:
    case SYS_rt_sigtimedwait:
    case SYS_msgrcv:
    case SYS_msgsnd:
    case SYS_semop:
    case SYS_semtimedop:
    case SYS_io_getevents:
    case SYS_io_pgetevents:
    case SYS_io_uring_enter:
        return interruption::ends;
    default:
        return polls(nr) ? interruption::ends : interruption::never;
    }
}

bool polls(long nr) {
    switch (nr) {
    case SYS_poll:
    case SYS_ppoll:
    case SYS_select:
    case SYS_pselect6:
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
        return true;
    default:
        return false;
    }
}

bool looks_once_more(long nr) {
    return nr == SYS_wait4 || nr == SYS_waitid || nr == SYS_rt_sigtimedwait || polls(nr);
}

void interrupt(thread *t) {
    if (t->call_nr < 0 || interruption_of(t->call_nr, t->at_call) == interruption::never)
        return;
    coroutine *co = t->co;
    t->signals.interrupted = true;
    if (moves_data(t->call_nr) && cancel_after_offload(co))
        return;
    co->set(flag_cancel);
    co->set(flag_cancel_errno);
    if (co->state == co_state::parked)
        co->env->make_ready(co);
}

bool take_interruption(thread *t) {
    if (!t->signals.interrupted)
        return false;
    t->signals.interrupted = false;
    t->co->clear(flag_cancel);
    t->co->clear(flag_cancel_errno);
    return true;
}

} // namespace corun::waist
