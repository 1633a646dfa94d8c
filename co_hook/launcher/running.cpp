// SPDX-License-Identifier: Apache-2.0
// A process is stopped for some tens of microseconds by ptrace. One that a debugger has already cannot be.
#include "co_hook/launcher/stacks.h"

#include <cerrno>
#include <csignal>
#include <ctime>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

namespace corun::launcher {

namespace {

// It may be in the kernel, where it does not stop at once.
bool wait_until_stopped(int pid, int *status) {
    constexpr timespec longest = {0, 200000000};
    sigset_t of_children;
    sigemptyset(&of_children);
    sigaddset(&of_children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &of_children, nullptr);
    for (;;) {
        int r = waitpid(pid, status, __WALL | WNOHANG);
        if (r != 0)
            return r == pid && WIFSTOPPED(*status);
        if (sigtimedwait(&of_children, nullptr, &longest) < 0 && errno != EINTR)
            return false;
    }
}

bool read_stopped(const attached &p, const thread_row &listed, stopped *out) {
    user_regs_struct r;
    if (ptrace(PTRACE_GETREGS, p.pid, nullptr, &r) != 0 || !read_again(p, listed, &out->thread))
        return false;
    out->registers =
        registers_of(kept_registers{r.rbx, r.rbp, r.r12, r.r13, r.r14, r.r15, r.rsp, r.rip});
    out->is_in_program = r.fs_base == out->thread.t->fs;
    if (!out->is_in_program)
        registers_at_call(p, out->thread, &out->registers);
    out->bytes = read_upwards(p, out->registers.sp(), out->stack, sizeof out->stack);
    return true;
}

} // namespace

bool stop_and_read(const attached &p, const thread_row &listed, stopped *out) {
    if (ptrace(PTRACE_SEIZE, p.pid, nullptr, nullptr) != 0)
        return false;
    int status = 0;
    // Where it does not stop, the end of this process lets it go.
    if (ptrace(PTRACE_INTERRUPT, p.pid, nullptr, nullptr) != 0 ||
        !wait_until_stopped(p.pid, &status))
        return false;
    bool done = read_stopped(p, listed, out);
    // It may have stopped for a signal, which it is to get.
    bool has_signal = status >> 16 == 0;
    ptrace(PTRACE_DETACH, p.pid, nullptr, has_signal ? long{WSTOPSIG(status)} : 0L);
    return done;
}

} // namespace corun::launcher
