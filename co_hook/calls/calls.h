// SPDX-License-Identifier: Apache-2.0
// The blocking system calls as a coroutine sees them: arguments and results of the kernel (the
// result, or -errno), no libc state touched. Both doors lead here.
//
//     sys::word r = calls::read(fd, buffer, n);    // in a coroutine: parks instead of blocking
//
// Rules
//  - Called in a coroutine whose hooks are on; a plain thread makes the native call instead.
//  - What returns -ECANCELED has left all its queues: the door runs leave_wait, which unwinds.
//  - The user's memory is read and written by the calling coroutine itself, while it runs. What a
//    helper or the kernel would touch while it is parked goes through memory of the pool.
//  - What we follow ourselves (a msghdr, an fd_set) is touched first, see base/user_memory.h: behind the
//    waist a bad pointer is EFAULT, behind the symbols a fault.
#pragma once

#include "co_routine/base/raw_sys.h"

#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace corun::calls {

using sys::word;

// recv.cpp
word recvfrom(int fd, void *buffer, size_t n, int flags, sockaddr *address, socklen_t *length);
word recvmsg(int fd, msghdr *message, int flags);
// *timeout_ns (null: none) receives what is left of it, as the kernel's timespec does.
word recvmmsg(int fd, mmsghdr *messages, unsigned count, int flags, int64_t *timeout_ns);

// send.cpp
word sendto(int fd, const void *buffer, size_t n, int flags, const sockaddr *address,
            socklen_t length);
word sendmsg(int fd, const msghdr *message, int flags);
word sendmmsg(int fd, mmsghdr *messages, unsigned count, int flags);

// read.cpp, write.cpp
word read(int fd, void *buffer, size_t n);
word readv(int fd, const iovec *parts, int count);
word pread(int fd, void *buffer, size_t n, int64_t offset);
word preadv2(int fd, const iovec *parts, int count, int64_t offset, int flags);
word write(int fd, const void *buffer, size_t n);
word writev(int fd, const iovec *parts, int count);
word pwrite(int fd, const void *buffer, size_t n, int64_t offset);
word pwritev2(int fd, const iovec *parts, int count, int64_t offset, int flags);

// accept.cpp, connect.cpp
word accept4(int fd, sockaddr *address, socklen_t *length, int flags);
word connect(int fd, const sockaddr *address, socklen_t length);

// poll.cpp, select.cpp. timeout_ns < 0: for ever. mask: the kernel's 8-byte signal set, or null.
word poll(struct pollfd *fds, unsigned long count, int64_t timeout_ns, const void *mask);
// Of each of its sets. The kernel looks no further than the largest descriptor there can be: *count is
// cut to that.
size_t bytes_of_select_set(int *count);
word select(int count, fd_set *readable, fd_set *writable, fd_set *exceptional, int64_t timeout_ns,
            const void *mask);

// sleep.cpp. 0, or -errno and what is left in *left_ns (relative sleeps; may be null).
word sleep_ns(int64_t seconds, int64_t nanoseconds, int64_t *left_ns);
word clock_sleep(int clock, bool absolute, int64_t seconds, int64_t nanoseconds, int64_t *left_ns);

// descriptor.cpp. close waits for a file read that is under way in a helper.
word close(int fd);

// The bookkeeping around calls that the door makes itself. Before: 0, or the -errno that is the
// call's result.
int before_close(int fd);
void after_close(int fd); // whether or not it succeeded
// In a coroutine, before a close that is not calls::close: a helper may be reading by this number.
int outwait_turns(int fd);             // file_turn.cpp
int before_dup_onto(int from, int to); // dup2, dup3 with from != to
// For close_range with CLOSE_RANGE_UNSHARE, which is two steps in the kernel too. 0 or -errno.
word unshare_descriptors();
void before_close_range(unsigned first, unsigned last);
void after_close_range(unsigned first, unsigned last);
// Closes first..last but for what is the runtime's own, by close_part(first, last).
word close_around_reserved(unsigned first, unsigned last, word (*close_part)(unsigned, unsigned));
void after_fcntl(int fd, int command, word argument, word result);
void after_ioctl(int fd, unsigned long request, word argument, word result);

} // namespace corun::calls
