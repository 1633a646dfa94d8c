// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/files.h"

#include "co_hook/calls/transfer.h"

#include <cerrno>
#include <fcntl.h>
#include <initializer_list>
#include <sys/stat.h>

namespace corun::calls {
namespace {

constexpr wait_kind open_kind{"open", false, nullptr};

template <int... Fds> void end_uses_late(int64_t, const long *args) {
    (end_use(static_cast<int>(args[Fds])), ...);
}

// 0, or the error of a string that is not the program's.
int describe_buffers(const file_call &c, offload_buffer (&buffers)[4], int *count) {
    for (int i : {c.path, c.second_path}) {
        if (i < 0 || c.args[i] == 0)
            continue;
        void *path = reinterpret_cast<void *>(c.args[i]);
        int bytes = path_bytes(static_cast<char *>(path));
        if (bytes < 0)
            return bytes;
        offload_buffer &b = buffers[(*count)++];
        b.user = path;
        b.bytes = static_cast<size_t>(bytes);
        b.in = true;
    }
    if (c.in >= 0 && c.args[c.in] != 0) {
        offload_buffer &b = buffers[(*count)++];
        b.user = reinterpret_cast<void *>(c.args[c.in]);
        b.bytes = c.in_bytes;
        b.in = true;
    }
    if (c.out >= 0 && c.args[c.out] != 0) {
        offload_buffer &b = buffers[(*count)++];
        b.user = reinterpret_cast<void *>(c.args[c.out]);
        b.bytes = c.out_bytes;
        b.out = true;
        b.counted = c.counted;
    }
    for (int i : {c.offset, c.second_offset}) {
        if (i < 0 || c.args[i] == 0)
            continue;
        offload_buffer &b = buffers[(*count)++];
        b.user = reinterpret_cast<void *>(c.args[i]);
        b.bytes = sizeof(int64_t);
        b.in = b.out = true;
    }
    return 0;
}

// The numbers stay open until end_uses, or until the helper ends them.
int begin_uses(const file_call &c, offload_late *on_late) {
    if (int e = begin_use(static_cast<int>(c.args[0])))
        return e;
    *on_late = end_uses_late<0>;
    if (c.second_fd < 0)
        return 0;
    *on_late = c.second_fd == 1 ? end_uses_late<0, 1> : end_uses_late<0, 2>;
    int e = begin_use(static_cast<int>(c.args[c.second_fd]));
    if (e)
        end_use(static_cast<int>(c.args[0]));
    return e;
}
void end_uses(const file_call &c) {
    end_use(static_cast<int>(c.args[0]));
    if (c.second_fd >= 0)
        end_use(static_cast<int>(c.args[c.second_fd]));
}

// ---- open

// The flags that the kernel would look at.
int open_flags(int flags) {
    if (flags & O_PATH)
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    return flags;
}

enum class opening { in_place, shared, own };

// Who opens what was found there.
opening who_opens(const path_look &found, int flags) {
    constexpr uint32_t memory_devices = 1, terminals_of_processes = 136, last_of_them = 143,
                       this_terminal = 5;
    if (flags & O_PATH)
        return found.slow ? opening::shared : opening::in_place;
    bool waits = !(flags & O_NONBLOCK);
    bool changes = (flags & O_TRUNC) || (flags & O_TMPFILE) == O_TMPFILE;
    switch (found.error ? 0 : found.type) {
    case S_IFIFO:
        return waits && (flags & O_ACCMODE) != O_RDWR ? opening::own : opening::in_place;
    case S_IFCHR: {
        uint32_t m = found.device_major;
        bool at_once = m == memory_devices || m == this_terminal ||
                       (m >= terminals_of_processes && m <= last_of_them);
        return at_once || !waits ? opening::in_place : opening::own;
    }
    case 0: // not there, or nobody knows
        return (flags & O_CREAT) || found.slow ? opening::shared : opening::in_place;
    default:
        return found.slow || changes ? opening::shared : opening::in_place;
    }
}

} // namespace

word in_place(const file_call &c) {
    return sys::call6(c.nr, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5]);
}

word by_helper(const file_call &c, offload_kind how, offload_late on_late) {
    if (c.by_fd && known_bits(static_cast<int>(c.args[0])) == 0)
        return in_place(c); // EBADF
    offload_buffer buffers[4] = {};
    int count = 0;
    if (int e = describe_buffers(c, buffers, &count))
        return e == -EFAULT || e == -ENAMETOOLONG ? in_place(c)
                                                  : e; // it has its own order of checks
    if (c.by_fd)
        if (int e = begin_uses(c, &on_late))
            return e;
    bool given_up = false;
    word r = static_cast<word>(offload_syscall(c.kind, how, c.nr, c.args, buffers, count,
                                               no_deadline, on_late, &given_up));
    if (given_up)
        return r;
    if (c.by_fd)
        end_uses(c);
    return r == -EFBIG || (r == -EPIPE && c.second_fd >= 0) ? in_place(c) : r;
}

word by_path(const file_call &c) {
    path_look found;
    const char *path = reinterpret_cast<const char *>(c.args[c.path]);
    if (int e = look_at(c.kind, c.dirfd, path, c.follow, &found))
        return e;
    return found.slow ? by_helper(c) : in_place(c);
}

int is_far(const wait_kind &kind, int fd) {
    uint32_t bits = known_bits(fd);
    if (kind_of(bits) != kind_file)
        return 0;
    file_speed speed;
    if (int e = learn_speed(kind, fd, bits, &speed))
        return e;
    return speed == speed_far;
}

word by_descriptor(const file_call &c) {
    int far = is_far(c.kind, static_cast<int>(c.args[0]));
    if (far < 0)
        return far;
    return far ? by_helper(c) : in_place(c);
}

word openat(int dirfd, const char *path, int flags, unsigned mode) {
    flags = open_flags(flags);
    const file_call c{.kind = open_kind,
                      .nr = SYS_openat,
                      .args = {dirfd, sys::as_word(path), flags, static_cast<long>(mode)},
                      .path = 1};
    path_look found;
    if (int e = look_at(open_kind, dirfd, path, !(flags & O_NOFOLLOW), &found))
        return e;
    opening who = who_opens(found, flags);
    if (found.error == -EFAULT || found.error == -ENAMETOOLONG)
        who = opening::in_place;
    word r =
        who == opening::in_place
            ? in_place(c)
            : by_helper(c, who == opening::own ? offload_own : offload_shared, close_late_result);
    if (!sys::failed(r))
        note_opened(static_cast<int>(r), flags);
    return r;
}

} // namespace corun::calls
