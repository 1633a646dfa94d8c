// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/machine.h"

#include "co_hook/launcher/text.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
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

struct trial {
    volatile int step;
    volatile int error;
};

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
    *t = {begun, 0};
    if (filtered)
        try_in_child(t);
    else
        try_all(t);
    if (t->step == end_of_steps)
        return nullptr;
    return text("%s: %s", step_names[t->step],
                t->error < 0 ? strsignal(-t->error) : strerror(t->error));
}

} // namespace

machine look_at_machine() {
    machine m = {};
    m.fsgsbase = (getauxval(AT_HWCAP2) & hwcap2_fsgsbase) != 0;
    m.seccomp_filter = status_of("Seccomp") == 2;
    m.no_new_privs = status_of("NoNewPrivs") == 1;
    m.deny_write_exec = prctl(get_mdwe, 0UL, 0UL, 0UL, 0UL) > 0;
    struct utsname system;
    m.release = uname(&system) == 0 ? text("%s", system.release) : "?";
    m.forbidden = try_what_is_needed(m.seccomp_filter);
    return m;
}

} // namespace corun::launcher
