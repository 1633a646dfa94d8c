// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/signal_calls.h"

#include "co_hook/calls/credentials.h"
#include "co_hook/waist/signal_delivery.h"
#include "co_hook/waist/signal_queue.h"
#include "co_hook/waist/signals.h"

#include "co_routine/base/check.h"
#include "co_routine/base/user_memory.h"

#include <cerrno>
#include <cstring>

namespace corun::waist {
namespace {

signal_set captured;

word native(long nr, const word (&a)[6]) {
    return sys::call6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

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

// ---- The broadcast of set*id
//
// libc signals every thread; each makes the system call in its handler, the one that asked for it
// comes last, and if their results differ libc aborts. The kernel has one set of credentials for all
// of them here: the first call of the round is made, the others get its result.

struct {
    const thread *caller; // nullptr: no round is under way
    bool made;
    long nr;
    word a[3];
    word result;
} round_of_ids;

bool sets_ids(long nr) {
    switch (nr) {
    case SYS_setuid:
    case SYS_setgid:
    case SYS_setreuid:
    case SYS_setregid:
    case SYS_setresuid:
    case SYS_setresgid:
    case SYS_setgroups:
        return true;
    default:
        return false;
    }
}

word set_ids(long nr, const word (&a)[6]) {
    if (int e = calls::before_credentials_change(true))
        return e;
    return native(nr, a);
}

// ---- Numbers of threads

bool is_virtual(int tid) { return tid > 4194304; }

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
    if (s == set_ids_signal && (!round_of_ids.caller || round_of_ids.made))
        round_of_ids = {self, false, 0, {}, 0};
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
// ignored.
word exec(thread *self, long nr, const word (&a)[6]) {
    for (int s = 1; s <= most_signals; ++s)
        if (is_captured(s) && is_set_to_ignore(s))
            sys::call(SYS_rt_sigaction, s, &actions[s], nullptr, sys::sigset_bytes);
    block_in_kernel(self->signals.blocked);
    word r = native(nr, a);
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

word refuse_for_one_thread() {
    warn(
        "a change of credentials or namespaces for one thread is refused: all threads of a program "
        "under corun have the same");
    return -EPERM;
}

bool set_ids_call(thread *self, long nr, const word (&a)[6], word *result) {
    bool others = self->home->live > 1;
    if (others && (nr == SYS_unshare || nr == SYS_setns))
        return *result = refuse_for_one_thread(), true;
    if (others && (nr == SYS_setfsuid || nr == SYS_setfsgid)) // which know no errors
        return refuse_for_one_thread(), *result = native(nr, {-1, 0, 0, 0, 0, 0}), true;
    if (!sets_ids(nr))
        return false;
    auto &round = round_of_ids;
    bool in_round = round.caller && (self->signals.sets_ids || self == round.caller);
    bool last = self == round.caller;
    self->signals.sets_ids = false;
    if (!in_round) {
        if (self->home->live > 1) {
            warn(
                "a change of credentials for one thread is refused: all threads of a program under "
                "corun have the same");
            return *result = -EPERM, true;
        }
        return *result = set_ids(nr, a), true;
    }
    bool known = round.made && round.nr == nr && memcmp(round.a, a, sizeof round.a) == 0;
    if (!known)
        round = {round.caller, true, nr, {a[0], a[1], a[2]}, set_ids(nr, a)};
    *result = round.result;
    if (last)
        round.caller = nullptr;
    return true;
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
