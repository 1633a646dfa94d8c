// SPDX-License-Identifier: Apache-2.0
// Children: waiting for them, system and pclose. spawn.cpp and vfork.cpp start them.
#include "co_hook/calls/children.h"
#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/spawn.h"
#include "co_hook/symbols/stdio_open.h"
#include "co_hook/symbols/time_types.h"

#include "co_routine/loop/offload.h"

#include <cstdio>
#include <initializer_list>
#include <sys/wait.h>
#include <unistd.h>

extern "C" int _IO_fclose(FILE *); // libc's fclose by the name that nobody interposes

namespace corun::symbols {

#if defined(__i386__)
// As programs with 64-bit time see it. (A hook with a nameless type would not be exported.)
struct rusage64 {
    timeval64 ru_utime, ru_stime;
    long rest[14];
};
#endif

namespace {

constexpr unsigned family = CO_HOOK_CHILDREN;

word raw_wait4(pid_t pid, int *status, int options, rusage *use) {
    return sys::call(SYS_wait4, pid, status, options, use);
}

#if defined(__i386__)
template <class Wait> word wait_with_use64(rusage64 *use, Wait wait) {
    rusage kernels{};
    word r = wait(use ? &kernels : nullptr);
    if (r > 0 && use) {
        use->ru_utime = {kernels.ru_utime.tv_sec, kernels.ru_utime.tv_usec};
        use->ru_stime = {kernels.ru_stime.tv_sec, kernels.ru_stime.tv_usec};
        __builtin_memcpy(use->rest, &kernels.ru_maxrss, sizeof use->rest);
    }
    return r;
}
#endif

// ---- system

constexpr int could_not_run = 127 << 8; // as if the shell had said so itself

// 0 and the child's number, or an errno value.
int start_shell(const char *command, const uint64_t *mask, pid_t *pid) {
    sigset_t set{}, back_to_default;
    __builtin_memcpy(&set, mask, sizeof *mask);
    sigemptyset(&back_to_default);
    for (int s : {SIGINT, SIGQUIT})
        if (!calls::system_ignored(s))
            sigaddset(&back_to_default, s);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &set);
    posix_spawnattr_setsigdefault(&attributes, &back_to_default);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    char shell[] = "sh", option[] = "-c";
    char *const arguments[] = {shell, option, const_cast<char *>(command), nullptr};
    int error = spawn(pid, "/bin/sh", &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    return error;
}

// wait(pid, &status): the child's number or -errno.
template <class Wait> word run_shell(const char *command, Wait wait) {
    uint64_t mask = 0;
    calls::begin_system(&mask);
    pid_t pid = 0;
    int status = 0, error = start_shell(command, &mask, &pid);
    word r = 0;
    if (error == 0) {
        r = wait(pid, &status);
    } else {
        status = could_not_run;
    }
    calls::end_system();
    if (error != 0)
        errno = error;
    return sys::failed(r) ? r : status;
}

template <class Wait> word system_by(const char *command, Wait wait) {
    if (command)
        return run_shell(command, wait);
    word r = run_shell("exit 0", wait);
    return sys::failed(r) ? r : static_cast<word>(r == 0);
}

word wait_natively(pid_t pid, int *status) {
    word r;
    do
        r = raw_wait4(pid, status, 0, nullptr);
    while (r == -EINTR);
    return r;
}

} // namespace

CORUN_HOOK(pid_t, wait4, (pid_t pid, int *status, int options, rusage *use),
           (pid, status, options, use), raw_wait4(pid, status, options, use),
           calls::wait4(pid, status, options, use))
CORUN_HOOK(pid_t, wait3, (int *status, int options, rusage *use), (status, options, use),
           raw_wait4(-1, status, options, use), calls::wait4(-1, status, options, use))
CORUN_HOOK(pid_t, waitpid, (pid_t pid, int *status, int options), (pid, status, options),
           raw_wait4(pid, status, options, nullptr), calls::wait4(pid, status, options, nullptr))
CORUN_HOOK(pid_t, wait, (int *status), (status), raw_wait4(-1, status, 0, nullptr),
           calls::wait4(-1, status, 0, nullptr))
CORUN_HOOK_ALIAS(pid_t, __waitpid, waitpid, (pid_t, int *, int));
CORUN_HOOK_ALIAS(pid_t, __wait, wait, (int *));
CORUN_HOOK(int, waitid, (int type, id_t id, siginfo_t *info, int options),
           (type, id, info, options), sys::call(SYS_waitid, type, id, info, options, nullptr),
           calls::waitid(type, id, info, options, nullptr))
#if defined(__i386__)
CORUN_HOOK(pid_t, __wait4_time64, (pid_t pid, int *status, int options, rusage64 *use),
           (pid, status, options, use),
           wait_with_use64(use, [=](rusage *k) { return raw_wait4(pid, status, options, k); }),
           wait_with_use64(use, [=](rusage *k) { return calls::wait4(pid, status, options, k); }))
CORUN_HOOK(pid_t, __wait3_time64, (int *status, int options, rusage64 *use), (status, options, use),
           wait_with_use64(use, [=](rusage *k) { return raw_wait4(-1, status, options, k); }),
           wait_with_use64(use, [=](rusage *k) { return calls::wait4(-1, status, options, k); }))
#endif

CORUN_HOOK(int, system, (const char *command), (command), system_by(command, wait_natively),
           system_by(command, calls::wait_for_system))

// The stream and the child's number are libc's, so libc ends them; on a helper, because it waits.
CORUN_NATIVE(int, pclose, (FILE * stream), _IO_fclose(stream));

namespace {

struct closing {
    FILE *stream;
    int result, error;
};

constexpr wait_kind pclose_kind{"pclose", false, nullptr};

// Wide characters are still to be written, and may raise SIGPIPE, which helpers block.
int64_t close_on_helper(void *argument) {
    auto *c = static_cast<closing *>(argument);
    uint64_t broken_pipe = uint64_t{1} << (SIGPIPE - 1);
    sys::call(SYS_rt_sigprocmask, SIG_UNBLOCK, &broken_pipe, nullptr, sys::sigset_bytes);
    c->result = native_pclose(c->stream);
    c->error = errno;
    sys::call(SYS_rt_sigprocmask, SIG_BLOCK, &broken_pipe, nullptr, sys::sigset_bytes);
    return 0;
}

} // namespace

int hook_pclose(FILE *stream) {
    int fd = fileno_unlocked(stream);
    bool waits = hooks_are_on(family);
    int unwritten = flush_before_close(stream); // nobody holds a lock on it after that
    if (fd >= 0 && waits)
        if (int e = calls::outwait_turns(fd))
            return to_libc<int>(e);
    if (fd >= 0)
        if (int e = calls::before_close(fd))
            return plain_result<int>(e);
    closing c{stream, 0, 0};
    int64_t r = waits ? offload_function(pclose_kind, offload_own, close_on_helper, &c, sizeof c,
                                         no_deadline)
                      : -EAGAIN;
    if (r == -EAGAIN || r == -ENOMEM) {
        c.result = native_pclose(stream);
        c.error = errno;
        r = 0;
    }
    calls::after_close(fd);
    if (r != 0)
        return to_libc<int>(static_cast<word>(r));
    if (unwritten != 0 && c.result == 0) // the child's own end goes before
        return plain_result<int>(-unwritten);
    errno = c.error;
    return c.result;
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(wait4, E),          CORUN_ENTRY(wait3, E),           CORUN_ENTRY(waitpid, E),
    CORUN_ENTRY(wait, E),           CORUN_ALIAS_ENTRY(__waitpid, E), CORUN_ALIAS_ENTRY(__wait, E),
    CORUN_ENTRY(waitid, E),
#if defined(__i386__)
    CORUN_ENTRY(__wait4_time64, E), CORUN_ENTRY(__wait3_time64, E),
#endif
    CORUN_ENTRY(system, E),         CORUN_ENTRY(pclose, O),
};

} // namespace

CORUN_TABLE(child_table, entries);

} // namespace corun::symbols
