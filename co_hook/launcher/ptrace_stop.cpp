// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/ptrace_stop.h"

#include "co_hook/launcher/text.h"

#include <cerrno>
#include <csignal>
#include <ctime>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

namespace corun::launcher {

namespace {

// It may be in the kernel, where it does not stop at once: behind a vfork, say, not before that child's exec.
bool wait_until_stopped(int pid, int *status) {
    constexpr timespec longest = {0, 200000000};
    sigset_t of_children;
    sigemptyset(&of_children);
    sigaddset(&of_children, SIGCHLD); // blocked, as all are
    for (bool is_late = false;;) {
        int r = waitpid(pid, status, __WALL | WNOHANG);
        if (r != 0 || is_late)
            return r == pid && WIFSTOPPED(*status);
        is_late = sigtimedwait(&of_children, nullptr, &longest) < 0 && errno != EINTR;
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

// Where it does not stop in time, it is let go by the end of this process.
bool seize_and_read(const attached &p, const thread_row &listed, stopped *out) {
    int status = 0;
    if (ptrace(PTRACE_SEIZE, p.pid, nullptr, nullptr) != 0 ||
        ptrace(PTRACE_INTERRUPT, p.pid, nullptr, nullptr) != 0 ||
        !wait_until_stopped(p.pid, &status))
        return false;
    bool done = read_stopped(p, listed, out);
    // It may have stopped for a signal, which it is to get.
    bool has_signal = status >> 16 == 0;
    ptrace(PTRACE_DETACH, p.pid, nullptr, has_signal ? long{WSTOPSIG(status)} : 0L);
    return done;
}

stopped *shared_with_children() {
    void *at =
        mmap(nullptr, sizeof(stopped), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        fail(exit_cannot, "out of memory");
    return static_cast<stopped *>(at);
}

} // namespace

stopped *stop_and_read(const attached &p, const thread_row &listed) {
    static stopped *out;
    if (out == nullptr)
        out = shared_with_children();
    signal(SIGCHLD,
           SIG_DFL); // ignored, as some leave it to what they start, it would not come at all
    pid_t child = fork();
    if (child < 0)
        return nullptr;
    if (child == 0) {
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, nullptr);
        _exit(seize_and_read(p, listed, out) ? 0 : 1);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return nullptr;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? out : nullptr;
}

} // namespace corun::launcher
