// SPDX-License-Identifier: Apache-2.0
// A process that runs under corun, looked at from outside by /proc and process_vm_readv: it is not stopped,
// and more is not needed than ptrace's usual rules ask for (the same user, or root).
#ifndef CORUN_HOOK_LAUNCHER_ATTACH_H
#define CORUN_HOOK_LAUNCHER_ATTACH_H

#include "co_hook/waist/published.h"

#include <sys/types.h>

namespace corun::launcher {

struct attached {
    int pid = 0;
    const void *published_at = nullptr; // there
    waist::published shown = {};
};

// A regular file as that process sees it, which path() cannot lead away from any more: what is put in its place
// might do what it does when it is opened. "": there is no such one.
class file_of {
  public:
    file_of(int pid, const char *path);
    ~file_of();
    file_of(const file_of &) = delete;
    file_of &operator=(const file_of &) = delete;
    const char *path() const { return path_; }
    off_t bytes() const { return bytes_; }

  private:
    int fd_;
    off_t bytes_ = 0;
    char path_[32] = "";
};

// False: it is not there any more, or never was.
bool read_memory(const attached &p, const void *from, void *to, size_t bytes);

// What stands there, copied; nothing is destroyed here that is theirs.
template <class T> struct copy_of {
    alignas(T) unsigned char bytes[sizeof(T)];
    T *operator->() { return reinterpret_cast<T *>(bytes); }
    const T *operator->() const { return reinterpret_cast<const T *>(bytes); }
    bool read(const attached &p, const T *from) {
        return read_memory(p, from, bytes, sizeof bytes);
    }
};

// By the digits of its number. It has a second thread, or had it. What is wrong ends the launcher with a line
// and 125.
attached attach_to_threads(const char *pid);

// To processes of the usual priority, from now on: where a server has all processors to itself, who lists its
// threads waits for it. Not for who stops it.
void give_way();
// Then called for each piece of long work: it sleeps now and again. Who works on keeps a core for milliseconds,
// whatever its priority, and as long waits each request that the server has there.
void sleep_at_times();

} // namespace corun::launcher

#endif
