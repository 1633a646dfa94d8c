// SPDX-License-Identifier: Apache-2.0
// The waiting half of a call on a descriptor:
//
//     fd_waiter waiter{recv_kind, fd, fd_read};
//     for (;;) {
//         if (fd_may(fd, fd_read)) {
//             word r = ...the call, non-blocking...;
//             if (r != -EAGAIN)
//                 return r;
//             fd_saw_eagain(fd, fd_read);
//         }
//         if (int e = waiter.wait())
//             return e > 0 ? ...the call once more... : e;
//     }
//
// wait returns
//   0          try again
//   try_once   the program made the descriptor non-blocking: one try of the call is the result,
//              whatever the cache said
//   ended      a datagram socket was shut down for reading. A blocking call returns at once there, a
//              non-blocking one says EAGAIN: so the call is made as it is
//   -EAGAIN    the time limit of the socket is over
//   -ECANCELED, -EBADF
#pragma once

#include "co_hook/calls/calls.h"
#include "co_hook/calls/fd_state.h"

#include "co_routine/base/user_memory.h"

namespace corun::calls {

class fd_waiter {
  public:
    fd_waiter(const wait_kind &kind, int fd, fd_direction d) : kind_(kind), fd_(fd), d_(d) {}
    static constexpr int try_once = fd_nonblocking, ended = 2;
    static int dont_wait(int waited) { return waited == ended ? 0 : MSG_DONTWAIT; }
    int wait();
    void begin_anew() { began_ = false; } // the time limit counts from here again

  private:
    const wait_kind &kind_;
    int fd_;
    fd_direction d_;
    bool began_ = false;
    int64_t deadline_ns_ = no_deadline;
};

// What a call returns that had moved some bytes when it met an error: the bytes. A cancel that
// unwinds comes first, because nobody will look at them.
word partial(size_t bytes, word error);

// A block of the thread's pool for the length of a call. Also when the coroutine is released while it
// waits: see co_extra::blocks.
class pool_block {
  public:
    explicit pool_block(size_t bytes);
    ~pool_block();
    pool_block(const pool_block &) = delete;
    pool_block &operator=(const pool_block &) = delete;
    // nullptr: no memory
    char *data() const { return block_ ? reinterpret_cast<char *>(block_ + 1) : nullptr; }

  private:
    kept_block *block_ = nullptr;
};

// The rest of an iovec array from a byte offset on, a few parts at a time, so that nothing need be
// allocated. Returns how many parts.
inline constexpr int window_parts = 16;
inline constexpr size_t most_parts = 1024; // the kernel takes no more
int rest_of(const iovec *parts, int count, size_t from, iovec (&window)[window_parts]);
// Bytes in all of them, as far as one call moves them.
size_t bytes_in(const iovec *parts, size_t count);

// Can the message be read, and its parts? Else the kernel says what is wrong, before it looks for bytes.
inline bool is_message(const msghdr *message) {
    return can_read(message, sizeof *message) &&
           (message->msg_iovlen > most_parts ||
            can_read(message->msg_iov, message->msg_iovlen * sizeof(iovec)));
}

// No call moves more: of what is asked for the kernel takes this much (its MAX_RW_COUNT).
inline constexpr size_t most_bytes = 0x7ffff000;
inline size_t as_taken(size_t n) { return n < most_bytes ? n : most_bytes; }

// Does it reach into the kernel's half? There read and write say EFAULT before they look for bytes, so
// nobody may wait. (With four levels of page tables. A 64-bit kernel refuses a 32-bit program nothing.)
inline bool is_beyond([[maybe_unused]] const void *at, [[maybe_unused]] size_t n) {
#if defined(__i386__)
    return false;
#else
    constexpr uintptr_t end = (uintptr_t{1} << 47) - page_size;
    return n > end || reinterpret_cast<uintptr_t>(at) > end - n;
#endif
}

} // namespace corun::calls
