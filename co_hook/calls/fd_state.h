// SPDX-License-Identifier: Apache-2.0
// What is known of a descriptor without asking the kernel again: its kind, whether the program made
// it non-blocking, its time limits. Learnt at first use, for the whole process.
//
//     uint32_t bits = known_bits(fd);             // learns the kind, if need be
//     if (is_socket(bits) && !surely_nonblocking(bits)) ...
//     int e = blocking_deadline(fd, fd_read, &deadline);
//
// Rules
//  - Nothing here changes a descriptor. In particular O_NONBLOCK is never flipped: it belongs to the
//    open file, which other processes may share.
//  - What may change under us is not trusted: a descriptor that was not made by a hooked call
//    (foreign: inherited, passed, made inside libc) is asked for its flags and limits before each wait, and
//    so is one that a child got, or a process that it was sent to; one that
//    was duplicated is asked again after any change to a duplicated one (an epoch counts those).
//  - Creation, close and dup2 reset an entry. Entries have a generation, so that what one thread
//    learnt about the old file is not written over another thread's new one.
//  - An entry that turns out to be wrong (ENOTSOCK) is forgotten and learnt anew.
#pragma once

#include "co_routine/base/sparse_array.h"
#include "co_routine/loop/fd_events.h"

namespace corun::calls {

enum fd_kind : uint32_t {
    kind_unknown = 0,
    kind_tcp,       // TCP over IPv4 or IPv6 without kTLS: a short read means empty
    kind_stream,    // any other byte stream socket
    kind_message,   // datagrams and the like
    kind_seqpacket, // messages; write() adds MSG_EOR
    kind_file,      // regular file, directory, block device, /dev/null and kin: nothing to wait for
    kind_pipe,      // pipe or FIFO
    kind_device,    // terminals and the like
    kind_anonymous, // eventfd, timerfd, signalfd, inotify ...
};

enum : uint32_t {
    kind_mask = 0xF,
    bit_unix = 1 << 4,        // AF_UNIX
    bit_flags_known = 1 << 5, // the next bit is valid
    bit_nonblocking = 1 << 6, // by the program's wish
    bit_limit_known = 1 << 7, // SO_RCVTIMEO; the next bit: SO_SNDTIMEO
    bit_send_limit_known = 1 << 8,
    bit_duplicated = 1 << 9,
    bit_foreign = 1 << 10,
    bit_no_nowait = 1 << 11, // RWF_NOWAIT is refused
    bit_no_read = 1 << 12,   // opened for writing only: no edge would ever say EBADF
    bit_no_write = 1 << 13,
    speed_shift =
        14, // two bits: how long calls on this file may take, see file_speed; of an anonymous
            // one, see least_read
    speed_mask = 3 << speed_shift,
    learnt_bits = kind_mask | bit_unix | bit_no_nowait | bit_no_read | bit_no_write,
    generation_one = 1 << 16,
};

struct fd_state {
    uint32_t bits;
    uint32_t limit_ms[2]; // by direction; 0: none
    uint32_t epoch;       // when the flags and limits of a duplicated one were learnt
};

extern sparse_array<fd_state> fd_states __attribute__((visibility("hidden")));

inline fd_kind kind_of(uint32_t bits) { return static_cast<fd_kind>(bits & kind_mask); }
inline bool is_socket(uint32_t bits) {
    return kind_of(bits) >= kind_tcp && kind_of(bits) <= kind_seqpacket;
}
inline bool is_stream(uint32_t bits) {
    return kind_of(bits) == kind_tcp || kind_of(bits) == kind_stream;
}
inline bool surely_nonblocking(uint32_t bits) {
    return (bits & (bit_nonblocking | bit_foreign | bit_duplicated)) == bit_nonblocking;
}

// What a call on a file may wait for. Asked of its file system once (calls/file_speed.h).
enum file_speed : uint32_t {
    speed_unknown,
    speed_memory, // nothing: tmpfs, proc and kin
    speed_disk,   // the disk, where the page cache does not serve
    speed_far,    // anything: FUSE, network; or each write (O_SYNC, O_DIRECT)
};
inline file_speed speed_of(uint32_t bits) {
    return static_cast<file_speed>((bits & speed_mask) >> speed_shift);
}

// What an anonymous one is read by at the least: for less the kernel says EINVAL at once.
enum least_read : uint32_t { least_unknown, least_is_one, least_is_8, least_is_128 };

// What /proc calls it: a path, or "anon_inode:[eventfd]"; nothing where that cannot be asked.
void name_of_descriptor(int fd, char *name, size_t room);

// 0: the kind cannot be learnt (no such descriptor): make the call, it will say why.
uint32_t learn_bits(int fd);
inline uint32_t known_bits(int fd) {
    const fd_state *s = fd < 0 ? nullptr : fd_states.find(static_cast<size_t>(fd));
    uint32_t bits = s ? __atomic_load_n(&s->bits, __ATOMIC_RELAXED) : 0;
    return CO_LIKELY(kind_of(bits) != kind_unknown) ? bits : learn_bits(fd);
}
void unlearn(int fd); // what was learnt is wrong
void add_bits(int fd, uint32_t bits);

// Before a wait. fd_nonblocking: the program made it so; 0: it blocks, *deadline_ns is when the call's
// time is up (SO_RCVTIMEO, SO_SNDTIMEO); -EBADF.
inline constexpr int fd_nonblocking = 1;
int blocking_deadline(int fd, fd_direction d, int64_t *deadline_ns);

// Bookkeeping, after the call succeeded (before it, for closing).
void note_socket(int fd, int domain, int type, int protocol);
void note_accepted(int fd, int listener, int flags);
void note_pipe(const int fds[2], int flags);
void note_anonymous(int fd, bool nonblocking);
void note_foreign(int fd);
void note_opened(int fd, int flags);                  // its kind is learnt when it is first needed
void note_duplicate(int from, int to, bool replaced); // replaced: `to` was open before
void note_status_flags(int fd, bool nonblocking);
void note_socket_option(int fd, int level, int option);
void note_closing(int fd);
void note_shared(int fd); // it is sent to somebody
void note_all_shared();   // before a child begins, which has them too

} // namespace corun::calls
