// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/attach.h"

#include "co_hook/launcher/elf_file.h"
#include "co_hook/launcher/text.h"

#include "co_routine/base/clock.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

namespace corun::launcher {

namespace {

constexpr char library[] = "libcorun_waist.so";

// The last error, and who may.
const char *why() {
    bool is_forbidden = errno == EACCES || errno == EPERM;
    return text("%s%s", strerror(errno),
                is_forbidden ? ": its user and root may look at it, as ptrace(2) has it" : "");
}

int number(const char *digits) {
    size_t length = strlen(digits);
    if (length == 0 || length > 9 || strspn(digits, "0123456789") != length || atoi(digits) == 0)
        fail(exit_cannot, "'%s' is no number of a process", digits);
    return atoi(digits);
}

// Where its library was mapped first, and from what file.
bool find_library(int pid, uintptr_t *start, char **file) {
    FILE *maps = fopen(text("/proc/%d/maps", pid), "re");
    if (maps == nullptr)
        fail(exit_cannot, "process %d: %s", pid, errno == ENOENT ? "there is none" : why());
    char line[4096];
    while (fgets(line, sizeof line, maps) != nullptr) {
        line[strcspn(line, "\n")] = '\0';
        char *path = strchr(line, '/');
        unsigned long low = strtoul(line, nullptr, 16);
        if (path == nullptr)
            continue;
        if (same(base_name(path), text("%s (deleted)", library)))
            fail(exit_cannot,
                 "process %d: its %s was replaced or deleted since it started: it cannot be read",
                 pid, library);
        if (!same(base_name(path), library))
            continue;
        *start = low;
        *file = text("%s", path);
        fclose(maps);
        return true;
    }
    fclose(maps);
    return false;
}

} // namespace

file_of::file_of(int pid, const char *path)
    : fd_(open(text("/proc/%d/root%s", pid, path), O_PATH | O_CLOEXEC)) {
    struct stat about;
    if (fd_ < 0 || fstat(fd_, &about) != 0 || !S_ISREG(about.st_mode))
        return;
    bytes_ = about.st_size;
    snprintf(path_, sizeof path_, "/proc/self/fd/%d", fd_);
}

file_of::~file_of() {
    if (fd_ >= 0)
        close(fd_);
}

bool read_memory(const attached &p, const void *from, void *to, size_t bytes) {
    iovec ours{to, bytes}, theirs{const_cast<void *>(from), bytes};
    return process_vm_readv(p.pid, &ours, 1, &theirs, 1, 0) == static_cast<ssize_t>(bytes);
}

namespace {

attached attach(const char *pid) {
    attached p;
    p.pid = number(pid);
    uintptr_t start = 0;
    char *path = nullptr;
    elf_file elf;
    if (!find_library(p.pid, &start, &path))
        fail(exit_cannot, "process %d does not run under corun", p.pid);
    constexpr off_t largest_library = off_t{64} << 20;
    const file_of file(p.pid, path);
    if (file.bytes() > largest_library || !open_elf(file.path(), &elf))
        fail(exit_cannot, "process %d: %s is not the file any more that it was started with", p.pid,
             printable(path));
    const Elf64_Sym *symbol = elf.exported(waist::published_name);
    if (symbol == nullptr)
        fail(exit_cannot, "process %d was started by another version of corun: use that one",
             p.pid);
    p.published_at = reinterpret_cast<const void *>(start + symbol->st_value);
    if (!read_memory(p, p.published_at, &p.shown, sizeof p.shown))
        fail(exit_cannot, "process %d: its memory cannot be read: %s", p.pid, why());
    if (memcmp(p.shown.magic, waist::published_magic, sizeof p.shown.magic) != 0 ||
        p.shown.bytes != sizeof p.shown || p.shown.layout != waist::layout_of_this_build())
        fail(exit_cannot, "process %d was started by another version of corun: use that one",
             p.pid);
    return p;
}

} // namespace

attached attach_to_threads(const char *pid) {
    attached p = attach(pid);
    copy_of<waist::worker> w;
    if (!w.read(p, p.shown.the_worker) || w.bytes[offsetof(waist::worker, active)] == 0)
        fail(exit_cannot, "process %d has never had a second thread: there is nothing to show",
             p.pid);
    return p;
}

namespace {
int64_t works_since; // 0: it does not give way
} // namespace

void give_way() {
    constexpr int a_little = 5;
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + a_little);
    works_since = now_ns();
}

void sleep_at_times() {
    constexpr int64_t at_once_ns = ns_per_ms / 10;
    constexpr timespec a_moment = {0, ns_per_ms * 3 / 20};
    if (works_since == 0 || now_ns() - works_since < at_once_ns)
        return;
    nanosleep(&a_moment, nullptr);
    works_since = now_ns();
}

} // namespace corun::launcher
