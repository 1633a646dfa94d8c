// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/signal_calls.h"

#include "co_hook/waist/rights.h"
#include "co_hook/waist/signal_delivery.h"
#include "co_hook/waist/signal_fds.h"
#include "co_hook/waist/signal_queue.h"
#include "co_hook/waist/signals.h"

#include "co_routine/base/user_memory.h"

#include <cerrno>
#include <cstring>

namespace corun::waist {
namespace {

signal_set captured;

// ---- To one thread

word send_natively(const siginfo_t &info) {
    return sys::call(SYS_rt_tgsigqueueinfo, sys::getpid(), sys::gettid(), info.si_signo, &info);
}

word signal_thread(thread *t, const siginfo_t &info) {
    int s = info.si_signo;
    bool blocks = (t->signals.blocked | t->signals.awaited) & bit_of(s);
    // The default action is the process's, and the kernel's to take.
    if ((bit_of(s) & never_blocked) ||
        (!blocks && !actions[s].has_handler() && !is_ignored(s) && !is_captured(s)))
        return send_natively(info);
    if (s == SIGCONT) // has its effect whatever is blocked
        sys::call(SYS_tgkill, sys::getpid(), sys::gettid(), s);
    return send_to(t, info);
}

// ---- Numbers of threads

bool is_virtual(int tid) { return tid > sys::highest_tid; }

word send_by_number(thread *self, int tid, const siginfo_t &info) {
    int s = info.si_signo;
    thread *t = thread_of_tid(tid);
    if (!t) {
        bool of_main = tid == the_worker.pid; // it has ended, and the process goes on
        return s >= 0 && s <= most_signals ? (of_main ? 0 : -ESRCH) : -EINVAL;
    }
    if (s < 0 || s > most_signals)
        return -EINVAL;
    if (s == 0)
        return 0;
    if (s == set_ids_signal)
        rights_round_begins(self);
    return signal_thread(t, info);
}

siginfo_t info_of(int signal) {
    siginfo_t info{};
    info.si_signo = signal;
    info.si_code = SI_TKILL;
    info.si_pid = static_cast<pid_t>(sys::getpid());
    info.si_uid = static_cast<uid_t>(sys::call(SYS_getuid));
    return info;
}

word tgkill(thread *self, long nr, const word (&a)[6]) {
    bool named = nr == SYS_tgkill; // with its process
    auto pid = static_cast<int>(a[0]), tid = static_cast<int>(named ? a[1] : a[0]);
    auto s = static_cast<int>(named ? a[2] : a[1]);
    bool ours = !named || pid == sys::getpid();
    if (tid <= 0 || (named && pid <= 0))
        return -EINVAL;
    if (ours && (is_virtual(tid) || thread_of_tid(tid) || tid == the_worker.pid))
        return send_by_number(self, tid, info_of(s));
    if (is_virtual(tid))
        return -ESRCH;
    if (ours && named && s == set_ids_signal)
        return -ESRCH; // a helper: it has no part in this
    return native(nr, a);
}

word queue_to_thread(thread *self, const word (&a)[6]) {
    auto pid = static_cast<int>(a[0]), tid = static_cast<int>(a[1]);
    if (pid != sys::getpid() || (!is_virtual(tid) && !thread_of_tid(tid)))
        return native(SYS_rt_tgsigqueueinfo, a);
    siginfo_t info;
    if (!user_read(reinterpret_cast<const void *>(a[3]), &info))
        return -EFAULT;
    info.si_signo = static_cast<int>(a[2]);
    return send_by_number(self, tid, info);
}

word timer_create(const word (&a)[6]) {
    sigevent event;
    if (!user_read(reinterpret_cast<const void *>(a[1]), &event))
        return native(SYS_timer_create, a);
    int tid = event._sigev_un._tid, s = event.sigev_signo;
    if (!(event.sigev_notify & SIGEV_THREAD_ID) || !thread_of_tid(tid) || s < 1 || s > most_signals)
        return native(SYS_timer_create, a);
    event._sigev_un._tid = static_cast<int>(sys::gettid());
    word r = sys::call(SYS_timer_create, a[0], &event, a[2]);
    if (sys::failed(r))
        return r;
    capture(s); // the thread may block it where the others do not
    note_timer(*reinterpret_cast<const int *>(a[2]), tid);
    return r;
}

bool is_set_to_ignore(int signal) {
    return actions[signal].handler == reinterpret_cast<uintptr_t>(SIG_IGN);
}

// What is blocked stays so in the new program, which knows one thread: this one. And so does what is
// ignored, and what is pending.
word exec(thread *self, long nr, const word (&a)[6]) {
    for (int s = 1; s <= most_signals; ++s)
        if (is_captured(s) && is_set_to_ignore(s))
            sys::call(SYS_rt_sigaction, s, &actions[s], nullptr, sys::sigset_bytes);
    word r;
    {
        bring_kept(self, self->signals.blocked);
        loan l(self, self->signals.pending & self->signals.blocked);
        block_in_kernel(self->signals.blocked);
        r = native(nr, a);
    }
    block_in_kernel(kernel_mask());
    for (int s = 1; s <= most_signals; ++s)
        if (is_captured(s))
            set_kernel_action(s);
    return r;
}

} // namespace

// ---- Actions

bool is_captured(int signal) { return (captured & bit_of(signal)) != 0; }

void capture(int signal) {
    captured |= bit_of(signal);
    set_kernel_action(signal);
}

word set_kernel_action(int signal) {
    kernel_action now = actions[signal];
    // What is captured comes also where the program ignores it, for a thread that blocks it has it all
    // the same: glibc's thread for SIGEV_THREAD, of signal 32, which whoever is born of a posix_spawn
    // ignores. But an ignored SIGPIPE costs nothing.
    bool free = signal == SIGPIPE && is_set_to_ignore(signal);
    if (now.has_handler() || (is_captured(signal) && !free))
        now = action_of_ours(now.flags);
    return sys::call(SYS_rt_sigaction, signal, &now, nullptr, sys::sigset_bytes);
}

bool sending_call(thread *self, long nr, const word (&a)[6], word *result) {
    switch (nr) {
    case SYS_tgkill:
    case SYS_tkill:
        return *result = tgkill(self, nr, a), true;
    case SYS_rt_tgsigqueueinfo:
        return *result = queue_to_thread(self, a), true;
    case SYS_timer_create:
        return *result = timer_create(a), true;
    case SYS_timer_delete:
        note_timer(static_cast<int>(a[0]), 0);
        return false;
    case SYS_execve:
    case SYS_execveat:
        return *result = exec(self, nr, a), true;
    default:
        return false;
    }
}

} // namespace corun::waist
