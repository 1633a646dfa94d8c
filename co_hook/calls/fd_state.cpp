// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/fd_state.h"

#include "co_routine/base/check.h"
#include "co_routine/core/native.h"

#include <cerrno>
#include <fcntl.h>
#include <linux/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#ifndef TCP_ULP
#define TCP_ULP 31
#endif

namespace corun::calls {

sparse_array<fd_state> fd_states;

namespace {

uint32_t epoch = 1; // of changes to descriptors that are duplicated

constexpr uint32_t generation_mask = ~(generation_one - 1U);

// nullptr in a vfork child too: it closes and makes its own descriptors, but the memory is the
// parent's.
fd_state *state_of(int fd) {
    return fd < 0 || memory_is_borrowed() ? nullptr : fd_states.at(static_cast<size_t>(fd));
}

uint32_t load(const fd_state *s) { return __atomic_load_n(&s->bits, __ATOMIC_ACQUIRE); }

// Sets and clears bits unless the number has become another descriptor since before was read.
bool update(fd_state *s, uint32_t before, uint32_t set, uint32_t clear) {
    uint32_t now = before;
    while (!__atomic_compare_exchange_n(&s->bits, &now, (now & ~clear) | set, false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        if ((now & generation_mask) != (before & generation_mask))
            return false;
    return true;
}

void begin_state(int fd, uint32_t bits) {
    fd_state *s = state_of(fd);
    if (!s)
        return;
    uint32_t now = load(s);
    while (!__atomic_compare_exchange_n(&s->bits, &now,
                                        ((now & generation_mask) + generation_one) | bits, false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    }
}

// A new descriptor under this number.
void begin(int fd, uint32_t bits) {
    fd_forget(fd); // what the loop remembers is the old one's, if it was closed behind our back
    begin_state(fd, bits);
}

sys::word option(int fd, int level, int name, void *value, socklen_t size) {
    return sys::call(SYS_getsockopt, fd, level, name, value, &size);
}

uint32_t socket_kind(int type, int domain, int protocol) {
    uint32_t family = domain == AF_UNIX ? uint32_t{bit_unix} : 0U;
    if (type == SOCK_SEQPACKET)
        return kind_seqpacket | family;
    if (type != SOCK_STREAM)
        return kind_message | family;
    bool inet = domain == AF_INET || domain == AF_INET6;
    bool tcp = inet ? protocol == 0 || protocol == IPPROTO_TCP : false;
    return (tcp ? kind_tcp : kind_stream) | family;
}

uint32_t ask_socket(int fd, int type) {
    int domain = 0, protocol = -1;
    option(fd, SOL_SOCKET, SO_DOMAIN, &domain, sizeof domain);
    option(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, sizeof protocol);
    uint32_t kind = socket_kind(type, domain, protocol);
    char upper[16] = {};
    if (kind == kind_tcp)
        if (option(fd, IPPROTO_TCP, TCP_ULP, upper, sizeof upper) == 0)
            if (upper[0])
                kind = kind_stream; // kTLS: a record at a time, a short read says nothing
    return kind;
}

uint32_t ask_access(int fd) {
    sys::word flags = sys::fcntl(fd, F_GETFL, 0);
    int mode = static_cast<int>(flags) & O_ACCMODE;
    return mode == O_WRONLY   ? uint32_t{bit_no_read}
           : mode == O_RDONLY ? uint32_t{bit_no_write}
                              : 0U;
}

uint32_t ask_file(int fd) {
    struct statx about;
    sys::word r =
        sys::call(SYS_statx, fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &about);
    if (r == -EBADF)
        return kind_unknown;
    if (sys::failed(r))
        return kind_device;                // no statx here: the careful way serves everything
    constexpr unsigned memory_devices = 1; // null, zero, random: they never wait
    switch (about.stx_mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFBLK:
        return kind_file;
    case S_IFIFO:
        return kind_pipe;
    case S_IFCHR:
        return about.stx_rdev_major == memory_devices ? kind_file : kind_device;
    default:
        return kind_anonymous;
    }
}

uint32_t limit_bit(fd_direction d) { return d == fd_read ? bit_limit_known : bit_send_limit_known; }

// The option in milliseconds, rounded up as the kernel rounds to its ticks.
uint32_t ask_limit(int fd, fd_direction d) {
    struct {
        long seconds, microseconds; // the kernel's old timeval, native words on both architectures
    } t{};
    int name = d == fd_read ? SO_RCVTIMEO : SO_SNDTIMEO;
#if defined(__i386__)
    name = d == fd_read ? 20 : 21; // SO_RCVTIMEO_OLD, whatever time_t the headers think of
#endif
    if (sys::failed(option(fd, SOL_SOCKET, name, &t, sizeof t)))
        return 0;
    uint64_t ms = static_cast<uint64_t>(t.seconds) * 1000 +
                  (static_cast<uint64_t>(t.microseconds) + 999) / 1000;
    return ms > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(ms);
}

} // namespace

void name_of_descriptor(int fd, char *name, size_t room) {
    char link[32];
    format_line(link, sizeof link, "/proc/self/fd/%d", fd);
    sys::word n = sys::call(SYS_readlink, link, name, room - 1);
    name[n > 0 ? n : 0] = '\0';
}

uint32_t learn_bits(int fd) {
    fd_state *s = state_of(fd);
    if (!s)
        return 0;
    uint32_t before = load(s);
    int type = 0;
    sys::word r = option(fd, SOL_SOCKET, SO_TYPE, &type, sizeof type);
    uint32_t kind = sys::failed(r) ? ask_file(fd) : ask_socket(fd, type);
    if (kind == kind_unknown)
        return 0;
    if (!is_socket(kind))
        kind |= ask_access(fd);
    // A number of whose beginning nothing was noted is somebody else's descriptor.
    uint32_t origin = before & bit_flags_known ? 0U : uint32_t{bit_foreign};
    update(s, before, kind | origin, learnt_bits);
    return (before & ~uint32_t{learnt_bits}) | kind | origin;
}

void unlearn(int fd) {
    if (fd_state *s = state_of(fd))
        update(s, load(s), bit_foreign, learnt_bits | bit_flags_known | speed_mask);
}

void add_bits(int fd, uint32_t bits) {
    if (fd_state *s = state_of(fd))
        update(s, load(s), bits, 0);
}

int blocking_deadline(int fd, fd_direction d, int64_t *deadline_ns) {
    *deadline_ns = no_deadline;
    fd_state *s = state_of(fd);
    if (!s)
        return -EBADF;
    uint32_t bits = load(s), now = __atomic_load_n(&epoch, __ATOMIC_ACQUIRE);
    bool stale =
        bits & bit_duplicated ? __atomic_load_n(&s->epoch, __ATOMIC_ACQUIRE) != now : false;
    bool flags_known = stale ? false : (bits & (bit_flags_known | bit_foreign)) == bit_flags_known;
    bool limit_known = stale || (bits & bit_foreign) ? false : (bits & limit_bit(d)) != 0;
    bool nonblocking = (bits & bit_nonblocking) != 0;
    if (!flags_known) {
        sys::word flags = sys::fcntl(fd, F_GETFL, 0);
        if (sys::failed(flags))
            return static_cast<int>(flags);
        nonblocking = (flags & O_NONBLOCK) != 0;
        if (!update(s, bits, bit_flags_known | (nonblocking ? uint32_t{bit_nonblocking} : 0U),
                    (nonblocking ? 0U : uint32_t{bit_nonblocking}) |
                        (stale ? uint32_t{bit_limit_known | bit_send_limit_known} : 0U)))
            return -EBADF;
        if (stale)
            __atomic_store_n(&s->epoch, now, __ATOMIC_RELEASE);
    }
    if (nonblocking)
        return fd_nonblocking;
    if (!is_socket(bits))
        return 0;
    if (!limit_known) {
        __atomic_store_n(&s->limit_ms[d], ask_limit(fd, d), __ATOMIC_RELEASE);
        update(s, bits, limit_bit(d), 0);
    }
    if (uint32_t ms = __atomic_load_n(&s->limit_ms[d], __ATOMIC_ACQUIRE))
        *deadline_ns = deadline_in(int64_t{ms} * ns_per_ms);
    return 0;
}

namespace {
uint32_t known_flags(bool nonblocking) {
    return bit_flags_known | (nonblocking ? uint32_t{bit_nonblocking} : 0U);
}
} // namespace

void note_socket(int fd, int domain, int type, int protocol) {
    uint32_t kind = socket_kind(type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC), domain, protocol);
    begin(fd, kind | known_flags(type & SOCK_NONBLOCK));
}

// The kind is the listener's; its time limits were too when the connection began, so they are asked.
void note_accepted(int fd, int listener, int flags) {
    const fd_state *s = state_of(listener);
    uint32_t kind = s ? load(s) & (kind_mask | bit_unix) : 0U;
    begin(fd, kind | known_flags(flags & SOCK_NONBLOCK));
}

void note_pipe(const int fds[2], int flags) {
    begin(fds[0], kind_pipe | uint32_t{bit_no_write} | known_flags(flags & O_NONBLOCK));
    begin(fds[1], kind_pipe | uint32_t{bit_no_read} | known_flags(flags & O_NONBLOCK));
}

void note_anonymous(int fd, bool nonblocking) {
    begin(fd, kind_anonymous | known_flags(nonblocking));
}

void note_foreign(int fd) { begin(fd, bit_foreign); }

void note_shared(int fd) {
    if (fd_state *s = state_of(fd))
        update(s, load(s), bit_foreign, 0);
}

void note_all_shared() {
    if (!memory_is_borrowed())
        fd_states.for_each([](size_t, fd_state &s) {
            if (load(&s) & ~generation_mask)
                update(&s, load(&s), bit_foreign, 0);
        });
}

void note_opened(int fd, int flags) { begin(fd, known_flags(flags & O_NONBLOCK)); }

void note_duplicate(int from, int to, bool replaced) {
    if (replaced)
        fd_renew(to);
    else
        fd_forget(to);
    fd_state *s = state_of(from), *copy = state_of(to);
    if (!s || !copy)
        return;
    update(s, load(s), bit_duplicated, 0);
    begin_state(to, load(s) & ~generation_mask);
    copy->limit_ms[fd_read] = s->limit_ms[fd_read];
    copy->limit_ms[fd_write] = s->limit_ms[fd_write];
    // The two may have been told apart by an earlier epoch: both ask once more.
    __atomic_store_n(&s->epoch, 0U, __ATOMIC_RELEASE);
    __atomic_store_n(&copy->epoch, 0U, __ATOMIC_RELEASE);
}

namespace {
// The other copies of a duplicated descriptor are to ask again.
void tell_duplicates(const fd_state *s) {
    if (load(s) & bit_duplicated)
        __atomic_add_fetch(&epoch, 1U, __ATOMIC_ACQ_REL);
}
} // namespace

void note_status_flags(int fd, bool nonblocking) {
    fd_state *s = state_of(fd);
    if (!s)
        return;
    uint32_t set = bit_flags_known | (nonblocking ? uint32_t{bit_nonblocking} : 0U);
    // Known flags tell that its beginning was noted; of another one they say nothing lasting.
    if (kind_of(load(s)) == kind_unknown)
        set |= bit_foreign;
    // O_DIRECT may have come or gone: the speed is learnt anew.
    update(s, load(s), set, (nonblocking ? 0U : uint32_t{bit_nonblocking}) | speed_mask);
    tell_duplicates(s);
}

void note_socket_option(int fd, int level, int name) {
    fd_state *s = state_of(fd);
    if (!s)
        return;
    if (level == SOL_SOCKET) {
        constexpr int time_limits[] = {20, 21, 66, 67}; // SO_RCVTIMEO, SO_SNDTIMEO, old and new
        for (int limit : time_limits)
            if (name == limit) {
                update(s, load(s), 0, bit_limit_known | bit_send_limit_known);
                tell_duplicates(s);
            }
    } else if (level == IPPROTO_TCP) {
        if (name == TCP_ULP)
            update(s, load(s), kind_stream, kind_mask);
    }
}

void note_closing(int fd) {
    fd_state *s = fd < 0 ? nullptr : fd_states.find(static_cast<size_t>(fd));
    if (!s || memory_is_borrowed())
        return;
    uint32_t now = load(s);
    while (!__atomic_compare_exchange_n(&s->bits, &now, (now & generation_mask) + generation_one,
                                        false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    }
}

} // namespace corun::calls
