// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/machine.h"

#include "co_hook/launcher/text.h"

#include <cerrno>
#include <csignal>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

namespace corun::launcher {

namespace {

constexpr unsigned long hwcap2_fsgsbase = 2; // asm/hwcap2.h
constexpr int get_mdwe = 66;                 // PR_GET_MDWE, Linux 6.3

// The number behind "Key:" of /proc/self/status; -1: no such line.
long status_of(const char *key) {
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    long value = -1;
    while (file != nullptr && fgets(line, sizeof line, file) != nullptr)
        if (begins(line, key) && line[strlen(key)] == ':')
            value = strtol(line + strlen(key) + 1, nullptr, 10);
    if (file != nullptr)
        fclose(file);
    return value;
}

// What the library will do, tried. One step each; a step that the filter kills for is known by the
// last one that was begun.
enum step { begun, making_executable, putting_in_place, epoll, event, end_of_steps };
constexpr const char *step_names[] = {"mmap", "mprotect(PROT_EXEC)", "mremap(MREMAP_FIXED)",
                                      "epoll_create1", "eventfd2"};

// Under a seccomp filter: what the library calls for itself, and in place of what the program calls. With
// arguments that the kernel refuses, or that change nothing.
constexpr long none = -1;
struct tried_call {
    const char *name;
    long number;
    long a[6];
    bool may_fail; // there is another way, unless it is death
};
#define TRIED(name, ...)                                                                           \
    { #name, SYS_##name, {__VA_ARGS__ }, false }
#define TRIED_BUT(name, ...)                                                                       \
    { #name, SYS_##name, {__VA_ARGS__ }, true }
constexpr tried_call calls_of_library[] = {TRIED(accept4, none),
                                           TRIED(clock_gettime, CLOCK_MONOTONIC),
                                           TRIED(epoll_ctl, none),
                                           TRIED(epoll_pwait, none),
                                           TRIED(epoll_pwait2, none),
                                           TRIED(fcntl, none, F_GETFL),
                                           TRIED(getpid),
                                           TRIED(getsockopt, none),
                                           TRIED(gettid),
                                           TRIED(madvise, 0, 0, MADV_DONTNEED),
                                           TRIED(openat, AT_FDCWD),
                                           TRIED(ppoll, none, 1),
                                           TRIED(pread64, none),
                                           TRIED(preadv2, none),
                                           TRIED(prlimit64, 0, RLIMIT_NOFILE),
                                           TRIED(pselect6, none),
                                           TRIED(pwrite64, none),
                                           TRIED(pwritev2, none),
                                           TRIED(read, none),
                                           TRIED(readv, none),
                                           TRIED(recvfrom, none),
                                           TRIED(recvmsg, none),
                                           TRIED(rt_sigaction, none),
                                           TRIED(rt_sigprocmask, none),
                                           TRIED(rt_sigqueueinfo, none),
                                           TRIED(rt_tgsigqueueinfo, none),
                                           TRIED(sched_yield),
                                           TRIED(sendmsg, none),
                                           TRIED(sendto, none),
                                           TRIED(sigaltstack),
                                           TRIED(tgkill, none, none),
                                           TRIED(timer_create, none),
                                           TRIED(timer_settime, none),
                                           TRIED(wait4, none, 0, none),
                                           TRIED(waitid, none),
                                           TRIED(write, none),
                                           TRIED(writev, none),
                                           TRIED_BUT(fstatfs, none),
                                           TRIED_BUT(get_robust_list, none),
                                           TRIED_BUT(getdents64, none),
                                           TRIED_BUT(mincore, none),
                                           TRIED_BUT(openat2, none),
                                           TRIED_BUT(pidfd_open, none),
                                           TRIED_BUT(prctl, PR_GET_SECCOMP),
                                           TRIED_BUT(process_vm_readv, none),
                                           TRIED_BUT(signalfd4, none, 0, 0, none),
                                           TRIED_BUT(statx, none),
                                           TRIED_BUT(sysinfo),
                                           TRIED_BUT(uname)};
#undef TRIED
#undef TRIED_BUT
constexpr int count_of_calls = sizeof calls_of_library / sizeof calls_of_library[0];

struct trial {
    bool filtered;
    volatile int step; // from end_of_steps on, of calls_of_library
    volatile int error;
};

const char *name_of_step(int step) {
    return step < end_of_steps ? step_names[step] : calls_of_library[step - end_of_steps].name;
}

void try_calls(trial *t) {
    for (const tried_call &c : calls_of_library) {
        long r = syscall(c.number, c.a[0], c.a[1], c.a[2], c.a[3], c.a[4], c.a[5]);
        bool denied = r < 0 && (errno == EPERM || errno == EACCES || errno == ENOSYS);
        if (denied && !c.may_fail) {
            t->error = errno;
            return;
        }
        t->step = t->step + 1;
    }
}

void try_all(trial *t) {
    auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    auto fails = [t] { t->error = errno; };
    t->step = begun;
    void *from = mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *to = mmap(nullptr, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (from == MAP_FAILED || to == MAP_FAILED)
        return fails();
    memset(from, 0xc3, page);
    t->step = making_executable;
    if (mprotect(from, page, PROT_READ | PROT_EXEC) != 0)
        return fails();
    t->step = putting_in_place;
    if (mremap(from, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
        return fails();
    munmap(to, page);
    t->step = epoll;
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return fails();
    close(fd);
    t->step = event;
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return fails();
    close(fd);
    t->step = end_of_steps;
    if (t->filtered)
        try_calls(t);
}

// In a child, because the answer of a filter may be death.
void try_in_child(trial *t) {
    fflush(nullptr);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSYS, SIG_DFL);
        try_all(t);
        _exit(0);
    }
    int status = 0;
    if (child < 0) {
        t->error = errno;
        return;
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        t->error = -WTERMSIG(status);
}

const char *try_what_is_needed(bool filtered) {
    auto *t = static_cast<trial *>(
        mmap(nullptr, sizeof(trial), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (t == MAP_FAILED)
        fail(exit_cannot, "mmap: %s", strerror(errno));
    *t = {filtered, begun, 0};
    if (filtered)
        try_in_child(t);
    else
        try_all(t);
    if (t->step == end_of_steps + (filtered ? count_of_calls : 0))
        return nullptr;
    return text("%s: %s", name_of_step(t->step),
                t->error < 0 ? strsignal(-t->error) : strerror(t->error));
}

} // namespace

machine look_at_machine() {
    machine m = {};
    m.fsgsbase = (getauxval(AT_HWCAP2) & hwcap2_fsgsbase) != 0;
    m.seccomp_filter = status_of("Seccomp") == 2;
    m.no_new_privs = status_of("NoNewPrivs") == 1;
    m.forbidden = try_what_is_needed(m.seccomp_filter);
    bool may = !m.seccomp_filter || m.forbidden == nullptr; // what comes now was among it
    struct utsname system;
    m.deny_write_exec = may && prctl(get_mdwe, 0UL, 0UL, 0UL, 0UL) > 0;
    m.release = may && uname(&system) == 0 ? text("%s", system.release) : "?";
    return m;
}

} // namespace corun::launcher
