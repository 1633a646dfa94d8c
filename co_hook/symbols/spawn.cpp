// SPDX-License-Identifier: Apache-2.0
// Starting children: fork, posix_spawn, popen. All three are short stops of the thread, made by libc
// itself.
//
//   fork          what must be done in the child hangs on pthread_atfork, so that it also happens
//                 where libc forks inside itself
//   posix_spawn   until its exec the child runs on our memory: where libc's own code leads to hooks
//                 (a -static program) they must be native and note nothing
//   popen         does the same, and brings a descriptor that no hooked call made
#include "co_hook/symbols/spawn.h"

#include "co_hook/calls/fd_state.h"
#include "co_hook/symbols/hook.h"

#include <cstdio>
#include <unistd.h>

// libc's functions by the names that nobody interposes. Those of posix_spawn are not exported by
// libc.so; in a -static program popen brings them along.
extern "C" {
pid_t __fork();
FILE *_IO_popen(const char *, const char *);
#define CORUN_SPAWN_PARAMETERS                                                                     \
    (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,                     \
     const posix_spawnattr_t *attributes, char *const *arguments, char *const *environment)
__attribute__((weak)) int __posix_spawn CORUN_SPAWN_PARAMETERS;
__attribute__((weak)) int __posix_spawnp CORUN_SPAWN_PARAMETERS;
}

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_CHILDREN;

struct borrowing {
    borrowing() {
        calls::note_all_shared();
        begin_borrowing();
    }
    ~borrowing() { end_borrowing(); }
    borrowing(const borrowing &) = delete;
    borrowing &operator=(const borrowing &) = delete;
};

} // namespace

CORUN_NATIVE(pid_t, fork, (), __fork());
pid_t hook_fork() { return native_fork(); }

// The error is the result.
#define CORUN_SPAWN(name)                                                                          \
    CORUN_NATIVE(int, name, CORUN_SPAWN_PARAMETERS,                                                \
                 __##name ? __##name(pid, path, actions, attributes, arguments, environment)       \
                          : ENOSYS);                                                               \
    int hook_##name CORUN_SPAWN_PARAMETERS {                                                       \
        borrowing child;                                                                           \
        return native_##name(pid, path, actions, attributes, arguments, environment);              \
    }
CORUN_SPAWN(posix_spawn)
CORUN_SPAWN(posix_spawnp)

int spawn(pid_t *pid, const char *path, const posix_spawnattr_t *attributes, char *const *arguments,
          char *const *environment) {
    return hook_posix_spawn(pid, path, nullptr, attributes, arguments, environment);
}

CORUN_NATIVE(FILE *, popen, (const char *command, const char *mode), _IO_popen(command, mode));
FILE *hook_popen(const char *command, const char *mode) {
    FILE *stream;
    {
        borrowing child;
        stream = native_popen(command, mode);
    }
    if (stream)
        calls::note_foreign(fileno_unlocked(stream));
    return stream;
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(fork, B),
    CORUN_ENTRY(posix_spawn, B),
    CORUN_ENTRY(posix_spawnp, B),
    CORUN_ENTRY(popen, B),
};

} // namespace

CORUN_TABLE(spawn_table, entries);

} // namespace corun::symbols
