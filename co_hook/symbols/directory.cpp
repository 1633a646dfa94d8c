// SPDX-License-Identifier: Apache-2.0
// Directories. libc reads entries some 32 KiB at a time: only the readdir that finds the buffer empty
// asks the file system, and only that one goes to a helper. It is known by the kernel's position,
// which is that behind the last entry in the buffer (its d_off).
//
//     readdir  readdir  ...  readdir        (entries of the buffer: in place)
//     readdir: d_off of the last entry == the kernel's position -> a helper fills the buffer
//
// A helper inside readdir keeps its turn at the descriptor, so closedir waits for it also when the
// coroutine that read has gone.
#include "co_hook/symbols/file_call.h"

#include "co_hook/calls/transfer.h"

#include <dirent.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_FILES;

// The d_off of the entry read last, by descriptor; 0: none.
sparse_array<uint64_t> last_offsets;

uint64_t kernel_position(int fd) {
#if defined(__i386__)
    int64_t at = -1;
    sys::call(SYS__llseek, fd, 0, 0, &at, SEEK_CUR);
    return static_cast<uint64_t>(at);
#else
    return static_cast<uint64_t>(sys::call(SYS_lseek, fd, 0, SEEK_CUR));
#endif
}

bool buffer_is_empty(int fd) {
    const uint64_t *last = last_offsets.find(static_cast<size_t>(fd));
    uint64_t seen = last ? __atomic_load_n(last, __ATOMIC_RELAXED) : 0;
    return seen == 0 || seen == kernel_position(fd);
}

void note_position(int fd, uint64_t offset) {
    if (uint64_t *last = last_offsets.at(static_cast<size_t>(fd)))
        __atomic_store_n(last, offset, __ATOMIC_RELAXED);
}

template <class E> uint64_t offset_of(const E *entry) {
    if (!entry)
        return 0;
    if constexpr (sizeof entry->d_off == sizeof(int64_t))
        return static_cast<uint64_t>(entry->d_off);
    else
        return static_cast<uint32_t>(entry->d_off);
}

void end_turn_late(int64_t, const long *args) { calls::end_turn(static_cast<int>(args[1])); }

template <class E> struct reading {
    DIR *directory;
    E *(*read)(DIR *);
    E *entry;
    int error;
};

template <class E> int64_t read_on_helper(void *argument) {
    auto *r = static_cast<reading<E> *>(argument);
    errno = 0;
    r->entry = r->read(r->directory);
    r->error = errno;
    return 0;
}

// As libc's: nullptr with errno unchanged at the end.
template <class E> E *read_entry(const wait_kind &kind, DIR *directory, E *(*native)(DIR *)) {
    int fd = dirfd(directory);
    if (fd < 0 || (!calls::turn_is_taken(fd) && !buffer_is_empty(fd))) {
        E *entry = native(directory);
        if (fd >= 0)
            note_position(fd, offset_of(entry));
        return entry;
    }
    int e = calls::take_turn(fd);
    if (e == 0) {
        reading<E> r{directory, native, nullptr, 0};
        bool given_up = false;
        e = static_cast<int>(offload_function(kind, offload_shared, read_on_helper<E>, &r, sizeof r,
                                              no_deadline, end_turn_late, &given_up, fd));
        if (!given_up)
            calls::end_turn(fd);
        if (e == 0) {
            note_position(fd, offset_of(r.entry));
            if (r.error)
                errno = r.error;
            return r.entry;
        }
    }
    leave_with(e);
    return nullptr;
}

// Another position: what was noted says nothing any more.
void forget_position(DIR *directory) {
    int fd = directory ? dirfd(directory) : -1;
    if (fd >= 0)
        note_position(fd, 0);
}

// What libc's fdopendir asks of the descriptor may have to be fetched. The descriptor is ours.
DIR *stream_of(const wait_kind &kind, int fd);

} // namespace

CORUN_NATIVE(DIR *, fdopendir, (int), (plain_result<int>(-ENOSYS), static_cast<DIR *>(nullptr)));
DIR *hook_fdopendir(int fd) {
    DIR *directory = native_fdopendir(fd);
    forget_position(directory);
    return directory;
}

CORUN_NATIVE(DIR *, opendir, (const char *),
             (plain_result<int>(-ENOSYS), static_cast<DIR *>(nullptr)));
DIR *hook_opendir(const char *path) {
    static constexpr wait_kind kind{"opendir", false, nullptr};
    constexpr int flags = O_RDONLY | O_NDELAY | O_DIRECTORY | O_LARGEFILE | O_CLOEXEC;
    if (!hooks_are_on(family) || native_fdopendir == fallback_fdopendir) {
        DIR *directory = native_opendir(path);
        if (directory)
            calls::note_opened(dirfd(directory), flags);
        forget_position(directory);
        return directory;
    }
    word fd = calls::openat(AT_FDCWD, path, flags, 0);
    if (!sys::failed(fd))
        return stream_of(kind, static_cast<int>(fd));
    leave_with(fd);
    return nullptr;
}

CORUN_NATIVE(int, closedir, (DIR *), plain_result<int>(-ENOSYS));
namespace {
void close_late_stream(int64_t result, const long *args) {
    if (result > 0)
        native_closedir(reinterpret_cast<DIR *>(static_cast<uintptr_t>(result)));
    else
        sys::close(static_cast<int>(args[1]));
}

DIR *stream_of(const wait_kind &kind, int fd) {
    int far = calls::is_far(kind, fd);
    DIR *directory = nullptr;
    word r = far;
    if (far == 0) {
        directory = native_fdopendir(fd);
        r = directory ? 0 : -errno;
    } else if (far > 0) {
        bool given_up = false;
        int64_t result = offload_function(
            kind, offload_shared,
            [](void *number) -> int64_t {
                DIR *opened = native_fdopendir(*static_cast<int *>(number));
                return opened ? static_cast<int64_t>(reinterpret_cast<uintptr_t>(opened)) : -errno;
            },
            &fd, sizeof fd, no_deadline, close_late_stream, &given_up, fd);
        if (given_up) { // the descriptor goes with the call
            leave_with(static_cast<word>(result));
            return nullptr;
        }
        r = static_cast<word>(result < 0 ? result : 0);
        if (result > 0)
            directory = reinterpret_cast<DIR *>(static_cast<uintptr_t>(result));
    }
    forget_position(directory);
    if (directory)
        return directory;
    calls::close(fd);
    leave_with(r);
    return nullptr;
}
} // namespace

int hook_closedir(DIR *directory) {
    int fd = directory ? dirfd(directory) : -1;
    if (fd < 0)
        return native_closedir(directory);
    if (hooks_are_on(family))
        if (int e = calls::outwait_turns(fd))
            return to_libc<int>(e);
    note_position(fd, 0);
    if (int e = calls::before_close(fd))
        return plain_result<int>(e);
    int r = native_closedir(directory);
    calls::after_close(fd);
    return r;
}

#define CORUN_READDIR(name, E)                                                                     \
    CORUN_NATIVE(E *, name, (DIR *), (plain_result<int>(-ENOSYS), static_cast<E *>(nullptr)));     \
    E *hook_##name(DIR *directory) {                                                               \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!directory || !hooks_are_on(family))                                                   \
            return native_##name(directory);                                                       \
        return read_entry<E>(kind, directory, native_##name);                                      \
    }
// The caller's memory; a helper only fills the stream's buffer by the call without it.
#define CORUN_READDIR_R(name, E)                                                                   \
    CORUN_NATIVE(int, name, (DIR *, E *, E **), ENOSYS);                                           \
    int hook_##name(DIR *directory, E *entry, E **result) {                                        \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!directory || !hooks_are_on(family))                                                   \
            return native_##name(directory, entry, result);                                        \
        return read_entry_r<E>(kind, directory, entry, result, native_##name);                     \
    }
namespace {
template <class E> struct reading_r {
    DIR *directory;
    int (*read)(DIR *, E *, E **);
    E entry, *result;
};
template <class E>
int read_entry_r(const wait_kind &kind, DIR *directory, E *entry, E **result,
                 int (*native)(DIR *, E *, E **)) {
    int fd = dirfd(directory);
    if (fd < 0 || (!calls::turn_is_taken(fd) && !buffer_is_empty(fd))) {
        int r = native(directory, entry, result);
        if (fd >= 0)
            note_position(fd, r == 0 ? offset_of(*result) : 0);
        return r;
    }
    if (int e = calls::take_turn(fd))
        return leave_wait(-e);
    reading_r<E> r{directory, native, {}, nullptr};
    bool given_up = false;
    int64_t e = offload_function(
        kind, offload_shared,
        [](void *argument) -> int64_t {
            auto *job = static_cast<reading_r<E> *>(argument);
            E *found = nullptr;
            int error = job->read(job->directory, &job->entry, &found);
            job->result = found;
            return error;
        },
        &r, sizeof r, no_deadline, end_turn_late, &given_up, fd);
    if (given_up)
        return leave_wait(static_cast<int>(-e));
    calls::end_turn(fd);
    if (e < 0)
        return leave_wait(static_cast<int>(-e));
    note_position(fd, r.result ? offset_of(&r.entry) : 0);
    *result = r.result ? entry : nullptr;
    if (r.result)
        memcpy(entry, &r.entry,
               r.entry.d_reclen < sizeof r.entry ? r.entry.d_reclen : sizeof r.entry);
    return static_cast<int>(e);
}
} // namespace
CORUN_READDIR(readdir, dirent)
CORUN_READDIR_R(readdir_r, dirent)
#if defined(__i386__)
CORUN_READDIR(readdir64, dirent64)
CORUN_READDIR_R(readdir64_r, dirent64)
#else
CORUN_HOOK_ALIAS(dirent *, readdir64, readdir, (DIR *));
CORUN_HOOK_ALIAS(int, readdir64_r, readdir_r, (DIR *, dirent *, dirent **));
#endif

CORUN_NATIVE(void, rewinddir, (DIR *), (void)0);
void hook_rewinddir(DIR *directory) {
    forget_position(directory);
    native_rewinddir(directory);
}
// libc.a has it under no other name.
static void seek_without_libc(DIR *directory, long position) {
    native_rewinddir(directory);
    while (telldir(directory) != position && native_readdir(directory))
        continue;
}
CORUN_NATIVE(void, seekdir, (DIR * directory, long position),
             seek_without_libc(directory, position));
void hook_seekdir(DIR *directory, long position) {
    forget_position(directory);
    native_seekdir(directory, position);
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(opendir, O),   CORUN_ENTRY(fdopendir, B),   CORUN_ENTRY(closedir, B),
    CORUN_ENTRY(readdir, O),   CORUN_ENTRY(readdir_r, O),   CORUN_ENTRY(rewinddir, B),
    CORUN_ENTRY(seekdir, B),
#if defined(__i386__)
    CORUN_ENTRY(readdir64, O), CORUN_ENTRY(readdir64_r, O),
#else
    CORUN_ALIAS_ENTRY(readdir64, O), CORUN_ALIAS_ENTRY(readdir64_r, O),
#endif
};

} // namespace

CORUN_TABLE(directory_table, entries);

} // namespace corun::symbols
