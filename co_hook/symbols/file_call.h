// SPDX-License-Identifier: Apache-2.0
// Hooks of functions that ask the file system: each is described once, as a system call
// (calls/files.h), or left to libc on a helper where libc does more than one.
//
//     CORUN_FILE_CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), by_helper,
//                     .nr = SYS_mkdir, .args = {WORD(path), WORD(mode)}, .path = 0)
//
//     libc_by_path(kind, AT_FDCWD, path, true, st, [](const char *p, struct stat *s) {
//         return native_stat(p, s); })     // 0 or -1 and errno, as libc has it
#pragma once

#include "co_hook/calls/files.h"
#include "co_hook/symbols/hook.h"

#include <climits>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <type_traits>

#define WORD(x) sys::as_word(x)
#if defined(__i386__)
#define WORDS64(x)                                                                                 \
    static_cast<long>(static_cast<uint64_t>(x)), static_cast<long>(static_cast<int64_t>(x) >> 32)
#else
#define WORDS64(x) static_cast<long>(x)
#endif

#define CORUN_FILE_CALL(result, name, parameters, arguments, how, ...)                             \
    static constexpr wait_kind name##_kind{#name, false, nullptr};                                 \
    static calls::file_call describe_##name parameters {                                           \
        return {.kind = name##_kind, __VA_ARGS__};                                                 \
    }                                                                                              \
    CORUN_HOOK_IF(hooks_are_on_for_program, result, name, parameters, arguments,                   \
                  calls::in_place(describe_##name arguments),                                      \
                  calls::how(describe_##name arguments))

namespace corun::symbols {

// ---- libc's function on a helper -----------------------------------------------------------------

// What it is given stands in memory of the pool: the function object (plain values only), the string
// and what it fills in.
template <class F, class Out> struct libc_job {
    F function;
    Out out;
    char path[PATH_MAX];
};

template <class F, class Out> constexpr size_t offset_of_path() {
    using job = libc_job<F, Out>;
    return offsetof(job, path);
}

template <class F, class Out> int64_t run_libc_job(void *argument) {
    auto *job = static_cast<libc_job<F, Out> *>(argument);
    int64_t r = job->function(job->path, &job->out);
    return r == -1 ? -errno : r;
}

// function(path, out) on a helper; path may be nullptr. out is given and receives *out.
template <class Out, class F>
word libc_by_helper(const wait_kind &kind, const char *path, Out *out, F function,
                    offload_late on_late = nullptr, long late_argument = 0,
                    bool *given_up = nullptr) {
    static_assert(std::is_trivially_copyable_v<F> && std::is_trivially_copyable_v<Out>);
    int bytes = path ? calls::path_bytes(path) : 0;
    if (bytes < 0)
        return bytes;
    calls::pool_block block(sizeof(libc_job<F, Out>));
    if (!block.data())
        return -ENOMEM;
    auto *job = reinterpret_cast<libc_job<F, Out> *>(block.data());
    new (&job->function) F(function);
    if (out)
        memcpy(&job->out, out, sizeof *out);
    if (path)
        memcpy(job->path, path, static_cast<size_t>(bytes));
    word r =
        static_cast<word>(offload_function(kind, offload_shared, run_libc_job<F, Out>, job,
                                           offset_of_path<F, Out>() + static_cast<size_t>(bytes),
                                           no_deadline, on_late, given_up, late_argument));
    if (out && !sys::failed(r))
        memcpy(out, &job->out, sizeof *out);
    return r;
}

// The same as libc's result, in place if what it looks for is cached and near.
template <class Out, class F>
int libc_by_path(const wait_kind &kind, int dirfd, const char *path, bool follow, Out *out,
                 F function) {
    calls::path_look found;
    int e = calls::look_at(kind, dirfd, path, follow, &found);
    if (e == 0 && !found.slow)
        return static_cast<int>(function(path, out));
    return to_libc<int>(e ? e : libc_by_helper(kind, path, out, function));
}

template <class Out, class F>
int libc_by_descriptor(const wait_kind &kind, int fd, Out *out, F function) {
    int far = calls::is_far(kind, fd);
    if (far == 0)
        return static_cast<int>(function(nullptr, out));
    return to_libc<int>(
        far < 0 ? far : libc_by_helper(kind, static_cast<const char *>(nullptr), out, function));
}

inline bool names_descriptor(const char *path, int flags) {
    return (flags & AT_EMPTY_PATH) && (!path || calls::path_bytes(path) == 1);
}

// As the *at functions take it: function(path, out), where path may be the descriptor's own.
template <class Out, class F>
int libc_at(const wait_kind &kind, int dirfd, const char *path, int flags, Out *out, F function) {
    if (names_descriptor(path, flags))
        return libc_by_descriptor(kind, dirfd, out,
                                  [function](const char *, Out *o) { return function("", o); });
    return libc_by_path(kind, dirfd, path, !(flags & AT_SYMLINK_NOFOLLOW), out, function);
}

} // namespace corun::symbols

// A function of libc that fills in what it has of a file, in a structure of its own; raw: the system
// call, of path or fd and out, where libc's cannot be found (-static).
#define CORUN_BY_PATH(name, Out, raw, follow)                                                      \
    CORUN_NATIVE(int, name, (const char *path, Out *out), plain_result<int>(raw));                 \
    int hook_##name(const char *path, Out *out) {                                                  \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!hooks_are_on_for_program(family))                                                     \
            return native_##name(path, out);                                                       \
        return libc_by_path(kind, AT_FDCWD, path, follow, out,                                     \
                            [](const char *p, Out *o) { return native_##name(p, o); });            \
    }
#define CORUN_BY_DESCRIPTOR(name, Out, raw)                                                        \
    CORUN_NATIVE(int, name, (int fd, Out *out), plain_result<int>(raw));                           \
    int hook_##name(int fd, Out *out) {                                                            \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!hooks_are_on_for_program(family))                                                     \
            return native_##name(fd, out);                                                         \
        return libc_by_descriptor(kind, fd, out,                                                   \
                                  [fd](const char *, Out *o) { return native_##name(fd, o); });    \
    }
