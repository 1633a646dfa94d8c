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
#include <sched.h>
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
enum step { forking, begun, making_executable, putting_in_place, epoll, event, end_of_steps };
constexpr const char *step_names[] = {
    "clone", "mmap", "mprotect(PROT_EXEC)", "mremap(MREMAP_FIXED)", "epoll_create1", "eventfd2"};

// Under a seccomp filter: what the library calls for itself, and in place of what the program calls. With
// arguments that the kernel refuses, or that change nothing. tests/lint/own_calls compares it with the
// sources and with corun(1).
enum class need {
    always,
    if_known, // an old kernel lacks it (ENOSYS), and then there is another way
    never     // there is always another way, or little is lost; unless it is death
};
constexpr long none = -1;
struct tried_call {
    const char *name;
    long number;
    long a[6];
    need needed;
};
// clang-format off
#define NEEDED(name, ...) { #name, SYS_##name, {__VA_ARGS__}, need::always }
#define IF_KNOWN(name, ...) { #name, SYS_##name, {__VA_ARGS__}, need::if_known }
#define NOT_NEEDED(name, ...) { #name, SYS_##name, {__VA_ARGS__}, need::never }
constexpr tried_call calls_of_library[] = {
    NEEDED(accept4, none),
    NEEDED(clock_gettime, CLOCK_MONOTONIC),
    NEEDED(clone, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_THREAD | CLONE_SYSVSEM), // no CLONE_SIGHAND
    NEEDED(epoll_ctl, none),
    NEEDED(epoll_pwait, none),
    IF_KNOWN(epoll_pwait2, none),
    NEEDED(fcntl, none, F_GETFL),
    NEEDED(getpgid, 0),
    NEEDED(getpid),
    NEEDED(getsockopt, none),
    NEEDED(gettid),
    NEEDED(getuid),
    NEEDED(kill, 0, 0),
    NEEDED(lseek, none),
    NEEDED(madvise, 0, 0, MADV_DONTNEED),
    NEEDED(msync, 0, 0, MS_ASYNC),
    NEEDED(openat, AT_FDCWD),
    NEEDED(ppoll, none, 1),
    NEEDED(pread64, none),
    NEEDED(preadv, none),
    IF_KNOWN(preadv2, none),
    NEEDED(prlimit64, 0, RLIMIT_NOFILE),
    NEEDED(pselect6, none),
    NEEDED(pwrite64, none),
    NEEDED(pwritev, none),
    IF_KNOWN(pwritev2, none),
    NEEDED(read, none),
    NEEDED(readlink, none),
    NEEDED(readv, none),
    NEEDED(recvfrom, none),
    NEEDED(recvmsg, none),
    NEEDED(rt_sigaction, none),
    NEEDED(rt_sigpending, none),
    NEEDED(rt_sigprocmask, none),
    NEEDED(rt_sigqueueinfo, none),
    NEEDED(rt_sigtimedwait, none),
    NEEDED(rt_tgsigqueueinfo, none),
    NEEDED(sched_yield),
    NEEDED(sendmsg, none),
    NEEDED(sendto, none),
    NEEDED(sigaltstack),
    NEEDED(tgkill, none, none),
    NEEDED(timer_create, none),
    NEEDED(timer_settime, none),
    NEEDED(wait4, none, 0, none),
    NEEDED(waitid, none),
    NEEDED(write, none),
    NEEDED(writev, none),
    NOT_NEEDED(fstat, none),
    NOT_NEEDED(fstatfs, none),
    NOT_NEEDED(get_robust_list, none),
    NOT_NEEDED(getdents64, none),
    NOT_NEEDED(getpeername, none), // a dump's
    NOT_NEEDED(getsockname, none),
    NOT_NEEDED(memfd_create, none), // the name of another thread, read or written by libc
    NOT_NEEDED(mincore, none),
    NOT_NEEDED(openat2, none),
    NOT_NEEDED(pidfd_open, none),
    NOT_NEEDED(prctl, PR_GET_SECCOMP),
    NOT_NEEDED(pipe2, 0), // libunwind's, as it is loaded
    NOT_NEEDED(process_vm_readv, none),
    NOT_NEEDED(process_vm_writev, none),
    NOT_NEEDED(signalfd4, none, 0, 0, none),
    NOT_NEEDED(statx, none),
    NOT_NEEDED(sysinfo),
    NOT_NEEDED(uname)};
#undef NEEDED
#undef IF_KNOWN
#undef NOT_NEEDED
// clang-format on
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
        bool denied = r < 0 && (errno == EPERM || errno == EACCES);
        bool unknown = r < 0 && errno == ENOSYS;
        if ((denied && c.needed != need::never) || (unknown && c.needed == need::always)) {
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
    *t = {filtered, forking, 0};
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
