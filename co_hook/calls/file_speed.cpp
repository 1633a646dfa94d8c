// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/file_speed.h"

#include "co_routine/base/spinlock.h"
#include "co_routine/base/user_memory.h"
#include "co_routine/loop/offload.h"

#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <new>
#include <sys/stat.h>

namespace corun::calls {
namespace {

// ---- File systems --------------------------------------------------------------------------------

// Their magic numbers. What stands in neither list may ask somebody else.
constexpr uint32_t in_memory[] = {
    0x01021994, // tmpfs, devtmpfs
    0x858458f6, // ramfs
    0x9fa0,     // proc
    0x62656572, // sysfs
    0x1cd1,     // devpts
    0x27e0eb,   // cgroup
    0x63677270, // cgroup2
    0x958458f6, // hugetlbfs
    0x64626720, // debugfs
    0x74726163, // tracefs
    0x73636673, // securityfs
    0xf97cff8c, // selinux
    0xcafe4a11, // bpf
    0x19800202, // mqueue
    0x50495045, // pipes
    0x534f434b, // sockets
    0x09041934, // anonymous inodes
    0x6e736673, // namespaces
    0x50494446, // pidfds
    0x6165676c, // pstore
    0x62656570, // configfs
    0x42494e4d, // binfmt_misc
};
constexpr uint32_t on_disk[] = {
    0xef53,     // ext2, ext3, ext4
    0x58465342, // xfs
    0x9123683e, // btrfs
    0xf2f52010, // f2fs
    0xca451a4e, // bcachefs
    0x2fc12fc1, // zfs
    0x794c7630, // overlayfs
    0x73717368, // squashfs
    0xe0f5e1e2, // erofs
    0x9660,     // iso9660
    0x15013346, // udf
    0x4d44,     // vfat
    0x2011bab0, // exfat
    0x7366746e, // ntfs3
    0x3153464a, // jfs
    0x52654973, // reiserfs
    0x3434,     // nilfs2
};

file_speed speed_of_type(uint64_t type) {
    for (uint32_t t : in_memory)
        if (t == type)
            return speed_memory;
    for (uint32_t t : on_disk)
        if (t == type)
            return speed_disk;
    return speed_far;
}

struct known_device {
    uint64_t device;
    int64_t until_ns;
    file_speed speed;
};
known_device known[64];
unsigned known_lock;
constexpr int64_t known_for_ns = 10 * ns_per_s;

known_device &place_of(uint64_t device) { return known[(device * 0x9e3779b97f4a7c15U) >> 58]; }

uint64_t device_of(const struct statx &s) {
    return uint64_t{s.stx_dev_major} << 32 | s.stx_dev_minor;
}

file_speed recall(uint64_t device) {
    int64_t now = now_ns();
    spin_guard guard(&known_lock);
    known_device &k = place_of(device);
    return k.device == device && k.until_ns > now ? k.speed : speed_unknown;
}

void remember(uint64_t device, file_speed speed) {
    int64_t until = now_ns() + known_for_ns;
    spin_guard guard(&known_lock);
    place_of(device) = {device, until, speed};
}

// Type and device, without asking a server.
word ask_cached(int fd, struct statx *about) {
    return sys::call(SYS_statx, fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, about);
}

// May wait: on a helper.
file_speed ask_file_system(int fd) {
    // f_type is the first word of all the kernel's structures.
    alignas(16) unsigned char about[256] = {};
    unsigned long type = 0;
#if defined(__i386__)
    constexpr size_t statfs64_bytes = 84;
    word r = sys::call(SYS_fstatfs64, fd, statfs64_bytes, about);
#else
    word r = sys::call(SYS_fstatfs, fd, about);
#endif
    memcpy(&type, about, sizeof type);
    return sys::failed(r) ? speed_far : speed_of_type(type);
}

// ---- Lookups -------------------------------------------------------------------------------------

int open_to_look(int dirfd, const char *path, bool follow, bool cached) {
    open_how how{};
    how.flags = O_PATH | O_CLOEXEC | (follow ? 0U : unsigned{O_NOFOLLOW});
    how.resolve = cached ? 0x20 : 0; // RESOLVE_CACHED
    word r = sys::call(SYS_openat2, dirfd, path, &how, sizeof how);
    if (r == -ENOSYS && !cached)
        r = sys::call(SYS_openat, dirfd, path, how.flags, 0);
    return static_cast<int>(r);
}

// Does the result mean that nothing is known?
bool says_nothing(int r) {
    return r == -EAGAIN || r == -ENOSYS || r == -EINVAL || r == -EMFILE || r == -ENFILE ||
           r == -EPERM || r == -EINTR;
}

void describe(const struct statx &about, path_look *out) {
    out->type = about.stx_mode & S_IFMT;
    out->device_major = about.stx_rdev_major;
}

// From the cache alone; false: somebody must go and see.
bool look_in_cache(int dirfd, const char *path, bool follow, path_look *out) {
    int fd = open_to_look(dirfd, path, follow, true);
    if (fd < 0) {
        out->error = fd;
        return !says_nothing(fd);
    }
    struct statx about {};
    file_speed speed = speed_unknown;
    if (ask_cached(fd, &about) == 0) {
        describe(about, out);
        speed = recall(device_of(about));
    }
    sys::close(fd);
    out->slow = speed == speed_far;
    return speed != speed_unknown;
}

struct look_job {
    int dirfd;
    bool follow;
    path_look found;
    char path[PATH_MAX];
};

int64_t look_on_helper(void *argument) {
    look_job *job = static_cast<look_job *>(argument);
    int fd = open_to_look(job->dirfd, job->path, job->follow, false);
    job->found.error = fd < 0 ? fd : 0;
    if (fd < 0) {
        job->found.slow = true; // a server may be asked again what is not there
        return 0;
    }
    struct statx about {};
    ask_cached(fd, &about);
    describe(about, &job->found);
    file_speed speed = ask_file_system(fd);
    remember(device_of(about), speed);
    sys::close(fd);
    job->found.slow = speed == speed_far;
    return 0;
}

} // namespace

int path_bytes(const char *path) {
    char piece[256];
    for (size_t at = 0; at < PATH_MAX;) {
        size_t to_page_end = page_size - reinterpret_cast<uintptr_t>(path + at) % page_size;
        size_t n = to_page_end < sizeof piece ? to_page_end : sizeof piece;
        if (!copy_from_user(piece, path + at, n))
            return -EFAULT;
        if (const void *end = memchr(piece, 0, n)) {
            size_t length = at + static_cast<size_t>(static_cast<const char *>(end) - piece);
            return length < PATH_MAX ? static_cast<int>(length + 1) : -ENAMETOOLONG;
        }
        at += n;
    }
    return -ENAMETOOLONG;
}

int look_at(const wait_kind &kind, int dirfd, const char *path, bool follow, path_look *out) {
    *out = path_look{};
    if (look_in_cache(dirfd, path, follow, out))
        return 0;
    int bytes = path_bytes(path);
    // What is the thread's own cannot be looked up by another one.
    constexpr char own[] = "/proc/thread-self";
    if (bytes < 0 || strncmp(path, own, sizeof own - 1) == 0)
        return 0;
    pool_block block(sizeof(look_job));
    if (!block.data())
        return -ENOMEM;
    look_job *job = new (block.data()) look_job;
    job->dirfd = dirfd;
    job->follow = follow;
    job->found = {};
    memcpy(job->path, path, static_cast<size_t>(bytes));
    int64_t r =
        offload_function(kind, offload_shared, look_on_helper, job,
                         offsetof(look_job, path) + static_cast<size_t>(bytes), no_deadline);
    if (r != 0)
        return static_cast<int>(r);
    *out = job->found;
    out->lookup_slow = true;
    return 0;
}

int learn_speed(const wait_kind &kind, int fd, uint32_t bits, file_speed *speed) {
    *speed = speed_of(bits);
    if (CO_LIKELY(*speed != speed_unknown))
        return 0;
    word flags = sys::fcntl(fd, F_GETFL, 0);
    struct statx about {};
    if (sys::failed(flags) || ask_cached(fd, &about) != 0) {
        *speed = speed_memory; // the call itself will say what is wrong
        return 0;
    }
    *speed = recall(device_of(about));
    if (*speed == speed_unknown) {
        struct question {
            int fd;
            file_speed speed;
        } q{fd, speed_unknown};
        int64_t r = offload_function(
            kind, offload_shared,
            [](void *argument) -> int64_t {
                question *asked = static_cast<question *>(argument);
                asked->speed = ask_file_system(asked->fd);
                return 0;
            },
            &q, sizeof q, no_deadline);
        if (r != 0)
            return static_cast<int>(r);
        *speed = q.speed;
        remember(device_of(about), *speed);
    }
    if ((about.stx_mode & S_IFMT) == S_IFBLK)
        *speed = speed_disk; // its node stands in a file system in memory
    // Each write waits for the disk itself, and each read with O_DIRECT.
    if (flags & (O_DIRECT | O_DSYNC))
        if ((about.stx_mode & S_IFMT) != S_IFCHR)
            *speed = *speed == speed_memory ? speed_memory : speed_far;
    add_bits(fd, static_cast<uint32_t>(*speed) << speed_shift);
    return 0;
}

} // namespace corun::calls
