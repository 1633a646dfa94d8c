// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/thread_names.h"

#include "co_hook/waist/worker.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>

namespace corun::waist {
namespace {

constexpr size_t name_bytes = 16; // with its end: TASK_COMM_LEN

// Files that are open to be written. More at a time keep their names to themselves.
struct {
    int fd, tid; // tid 0: free
    dev_t device;
    ino_t inode;
} written[8];

void set_name(thread *t, const char *name) {
    if (t == &t->home->main) {
        sys::call(SYS_prctl, PR_SET_NAME, name);
        return;
    }
    co_extra *extra = extra_of(t->co);
    if (!extra)
        return;
    strncpy(extra->name, name, name_bytes - 1);
    extra->name[name_bytes - 1] = '\0';
}

// One that has got none is called as the process is.
void get_name(const thread *t, char (&name)[name_bytes]) {
    const co_extra *extra = t == &t->home->main ? nullptr : t->co->extra;
    if (extra && extra->name[0])
        memcpy(name, extra->name, name_bytes);
    else
        sys::call(SYS_prctl, PR_GET_NAME, name);
    name[name_bytes - 1] = '\0';
}

// nullptr: the path is none of a thread's name.
thread *thread_of_path(const char *path) {
    constexpr char begin[] = "/proc/self/task/", end[] = "/comm";
    if (strncmp(path, begin, sizeof begin - 1) != 0)
        return nullptr;
    const char *digits = path + sizeof begin - 1;
    size_t count = strspn(digits, "0123456789");
    constexpr size_t most_digits = 9;
    if (count == 0 || count > most_digits + 1 || strcmp(digits + count, end) != 0)
        return nullptr;
    int64_t tid = 0;
    for (size_t i = 0; i < count; ++i)
        tid = tid * 10 + (digits[i] - '0');
    return tid <= INT32_MAX ? thread_of_tid(static_cast<int>(tid)) : nullptr;
}

} // namespace

bool name_call(thread *self, const word (&a)[6], word *result) {
    bool sets = a[0] == PR_SET_NAME;
    if (self == &self->home->main || (!sets && a[0] != PR_GET_NAME))
        return false;
    char name[name_bytes];
    if (sets) {
        // The kernel reads the name, which may be anywhere, and the process has its own back.
        char former[name_bytes];
        sys::call(SYS_prctl, PR_GET_NAME, former);
        if (word e = sys::call(SYS_prctl, PR_SET_NAME, a[1]))
            return *result = e, true;
        sys::call(SYS_prctl, PR_GET_NAME, name);
        sys::call(SYS_prctl, PR_SET_NAME, former);
        set_name(self, name);
    } else {
        if (word e = sys::call(SYS_prctl, PR_GET_NAME, a[1]))
            return *result = e, true;
        get_name(self, name);
        memcpy(reinterpret_cast<char *>(a[1]), name, name_bytes);
    }
    return *result = 0, true;
}

void inherit_name(const thread *self, thread *child) {
    const co_extra *extra = self->co->extra;
    if (extra && extra->name[0] && self != &self->home->main)
        set_name(child, extra->name);
}

word open_name(const char *path, word flags) {
    const thread *t = thread_of_path(path);
    if (!t)
        return -ENOENT;
    unsigned on_exec = flags & O_CLOEXEC ? MFD_CLOEXEC : 0;
    word fd = sys::call(SYS_memfd_create, "comm", on_exec);
    if (sys::failed(fd))
        return fd;
    if ((flags & O_ACCMODE) != O_RDONLY) {
        struct stat s {};
        sys::call(SYS_fstat, fd, &s);
        for (auto &w : written)
            if (w.tid == 0) {
                w = {static_cast<int>(fd), t->tid, s.st_dev, s.st_ino};
                break;
            }
        return fd;
    }
    char name[name_bytes];
    get_name(t, name);
    size_t length = strlen(name);
    name[length] = '\n';
    sys::call(SYS_pwrite64, fd, name, length + 1, 0);
    return fd;
}

void name_is_closing(int fd) {
    for (auto &w : written) {
        if (w.tid == 0 || w.fd != fd)
            continue;
        char name[name_bytes] = {};
        thread *t = thread_of_tid(w.tid);
        w.tid = 0;
        struct stat s {}; // the number may be another file's by now: dup2, close_range
        sys::call(SYS_fstat, fd, &s);
        if (t && s.st_dev == w.device && s.st_ino == w.inode &&
            sys::call(SYS_pread64, fd, name, name_bytes - 1, 0) > 0)
            set_name(t, name);
    }
}

unsigned describe_thread(char *out, unsigned size, const thread *t) {
    const char *name = t->co && t->co->extra ? t->co->extra->name : "";
    unsigned n = format_line(out, size, *name ? "thread %d '%s'" : "thread %d", t->tid, name);
    make_printable(out, n);
    return n;
}

} // namespace corun::waist
