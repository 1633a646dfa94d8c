// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/children.h"

#include "co_hook/calls/back_off.h"
#include "co_hook/calls/own_fd.h"
#include "co_hook/calls/signals.h"

#include "co_routine/base/spinlock.h"
#include "co_routine/base/user_memory.h"
#include "co_routine/loop/fd_events.h"
#include "co_routine/loop/offload.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/wait.h>

namespace corun::calls {
namespace {

void abandon_system(coroutine *co) {
    abandon_own_fd(co);
    end_system();
}

constexpr wait_kind child_kind{"waitpid", false, abandon_own_fd};
constexpr wait_kind pidfd_kind{"waitid", true, abandon_fd_wait};
constexpr wait_kind system_kind{"system", false, abandon_system};

// Whom a wait is for, in waitid's words.
struct target {
    int type;
    id_t id;
    int options;
};

// A pidfd tells of the end alone, and to any thread of the process.
bool is_served_by_pidfd(const target &t) {
    return t.type == P_PID &&
           !(t.options & (WSTOPPED | WCONTINUED | __WNOTHREAD | __WALL | __WCLONE));
}

// Until a look may find something. 0, or -errno. *pidfd: was opened after the last look but one, and is
// to be waited on now; -1: it is still to be opened.
int wait_by_pidfd(const wait_kind &kind, const target &t, int *pidfd) {
    if (*pidfd < 0) {
        sys::word fd = sys::call(SYS_pidfd_open, static_cast<pid_t>(t.id), 0);
        if (fd == -ESRCH)
            return 0; // gone meanwhile
        if (sys::failed(fd))
            return static_cast<int>(fd);
        *pidfd = static_cast<int>(fd); // one more look: the number may be another process's by now
        return 0;
    }
    int fd = *pidfd;
    *pidfd = -1;
    return wait_for_own_fd(kind, fd, no_deadline);
}

int wait_by_helper(const wait_kind &kind, const target &t) {
    const long args[6] = {t.type, static_cast<long>(t.id), 0, t.options | WNOWAIT, 0, 0};
    int64_t r = offload_syscall(kind, offload_own, SYS_waitid, args, nullptr, 0, no_deadline);
    return r == -ECHILD || r == -EINTR ? 0 : static_cast<int>(r);
}

// look() makes the call with WNOHANG: would_block, or the result. A lambda's frame is the caller's:
// only its own coroutine looks.
constexpr word would_block = 0;
template <class Look> word wait_for(const wait_kind &kind, const target &t, Look look) {
    int pidfd = -1, e = 0;
    bool by_pidfd = is_served_by_pidfd(t), by_helper = !(t.options & __WNOTHREAD);
    by_helper = by_helper && kind.abandon == abandon_own_fd;
    back_off pauses;
    word r;
    while ((r = look()) == would_block) {
        if (by_pidfd)
            e = wait_by_pidfd(kind, t, &pidfd);
        else if (by_helper)
            e = wait_by_helper({kind.call, false, nullptr}, t);
        else
            e = pauses.wait(kind, {}, no_deadline);
        if (e == -ECANCELED)
            return e;
        if (e != 0) { // the kernel is too old, or there is no descriptor or thread to be had
            by_helper = by_pidfd && by_helper;
            by_pidfd = false;
        }
    }
    if (pidfd >= 0)
        sys::close(pidfd);
    return r;
}

target target_of(pid_t pid, int options) {
    int all = (options & (WSTOPPED | WCONTINUED | __WNOTHREAD | __WALL | __WCLONE)) | WEXITED;
    if (pid > 0)
        return {P_PID, static_cast<id_t>(pid), all};
    if (pid == -1)
        return {P_ALL, 0, all};
    sys::word group = pid == 0 ? sys::call(SYS_getpgid, 0) : -static_cast<sys::word>(pid);
    return {P_PGID, static_cast<id_t>(group), all};
}

word wait4_as(const wait_kind &kind, pid_t pid, int *status, int options, rusage *use) {
    return wait_for(kind, target_of(pid, options),
                    [=] { return sys::call(SYS_wait4, pid, status, options | WNOHANG, use); });
}

// The program's own pidfd is waited for like any descriptor of its.
word wait_on_pidfd(int fd, siginfo_t *info, int options, rusage *use) {
    back_off pauses;
    for (;;) {
        info->si_pid = 0;
        word r = sys::call(SYS_waitid, P_PIDFD, fd, info, options | WNOHANG, use);
        if (r != 0 || info->si_pid != 0)
            return r;
        sys::word flags = sys::fcntl(fd, F_GETFL, 0);
        if (sys::failed(flags))
            return flags;
        if (flags & O_NONBLOCK)
            return -EAGAIN;
        int e;
        if (options & (WSTOPPED | WCONTINUED)) {
            e = pauses.wait(child_kind, {}, no_deadline);
        } else {
            fd_saw_eagain(fd, fd_read);
            e = fd_wait(pidfd_kind, fd, fd_read, no_deadline);
        }
        if (e != 0)
            return e;
    }
}

// The child is gone whether or not it can be told. As the kernel does, zeros are told with an error; it
// stops before that at a bad place for the usage alone.
word tell(word r, const siginfo_t &told, siginfo_t *info) {
    constexpr size_t written = offsetof(siginfo_t, si_status) + sizeof told.si_status;
    return r != -EFAULT && info && !copy_to_user(info, &told, written) ? -EFAULT : r;
}

// ---- system(3)

struct system_state {
    unsigned lock = 0;
    unsigned users = 0;
    kernel_action interrupt{}, quit{}; // as they were before the first
};
constinit system_state systems;
constinit thread_local unsigned systems_here __attribute__((tls_model("initial-exec")));
constinit thread_local bool child_was_blocked __attribute__((tls_model("initial-exec")));

constexpr uint64_t bit_of(int signal) { return uint64_t{1} << (signal - 1); }
constexpr uint64_t child_bit = bit_of(SIGCHLD);

void set_action(int signal, const kernel_action *now, kernel_action *former) {
    sys::call(SYS_rt_sigaction, signal, now, former, sys::sigset_bytes);
}

} // namespace

word wait4(pid_t pid, int *status, int options, rusage *use) {
    if (options & WNOHANG)
        return sys::call(SYS_wait4, pid, status, options, use);
    return wait4_as(child_kind, pid, status, options, use);
}

word waitid(int type, id_t id, siginfo_t *info, int options, rusage *use) {
    if (options & WNOHANG)
        return sys::call(SYS_waitid, type, id, info, options, use);
    siginfo_t told{};
    if (type == P_PIDFD)
        return tell(wait_on_pidfd(static_cast<int>(id), &told, options, use), told, info);
    target t{type, id, options};
    if (type == P_PGID && id == 0)
        t.id = static_cast<id_t>(sys::call(SYS_getpgid, 0));
    word found = 0;
    word r = wait_for(child_kind, t, [&] {
        told.si_pid = 0;
        found = sys::call(SYS_waitid, type, id, &told, options | WNOHANG, use);
        return found == 0 && told.si_pid == 0 ? would_block : word{1};
    });
    return tell(r == 1 ? found : r, told, info);
}

void begin_system(uint64_t *mask) {
    spin_guard guard(&systems.lock);
    if (systems.users++ == 0) {
        kernel_action ignore{};
        ignore.handler = SIG_IGN;
        set_action(SIGINT, &ignore, &systems.interrupt);
        set_action(SIGQUIT, &ignore, &systems.quit);
    }
    sys::call(SYS_rt_sigprocmask, SIG_BLOCK, &child_bit, mask, sys::sigset_bytes);
    if (systems_here++ == 0)
        child_was_blocked = (*mask & child_bit) != 0;
    else if (!child_was_blocked)
        *mask &= ~child_bit; // another coroutine's system blocked it
}

void end_system() {
    spin_guard guard(&systems.lock);
    if (--systems.users == 0) {
        set_action(SIGINT, &systems.interrupt, nullptr);
        set_action(SIGQUIT, &systems.quit, nullptr);
    }
    if (--systems_here == 0 && !child_was_blocked)
        sys::call(SYS_rt_sigprocmask, SIG_UNBLOCK, &child_bit, nullptr, sys::sigset_bytes);
}

bool system_ignored(int signal) {
    return (signal == SIGINT ? systems.interrupt : systems.quit).handler == SIG_IGN;
}

word wait_for_system(pid_t pid, int *status) {
    word r = wait4_as(system_kind, pid, status, 0, nullptr);
    if (r == -ECANCELED) {
        sys::call(SYS_kill, pid, SIGKILL);
        sys::call(SYS_wait4, pid, nullptr, 0, nullptr);
    }
    return r;
}

} // namespace corun::calls
