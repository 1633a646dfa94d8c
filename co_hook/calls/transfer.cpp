// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/transfer.h"

#include "co_routine/loop/offload.h"

#include <cerrno>
#include <cstring>
#include <poll.h>

namespace corun::calls {
namespace {

constexpr size_t own_chunk = 64 * 1024; // of a pipe or a terminal, by one call

// ---- Pipes, terminals, eventfd and the like ------------------------------------------------------

// On a helper of its own, because another process may drain or fill the object after poll has said
// that it is ready. A piece at a time: a pipe promises no more than PIPE_BUF in one.
word by_own_helper(const transfer &t, const iovec *parts, int count) {
    size_t all = bytes_in(parts, static_cast<size_t>(count));
    size_t n = all < own_chunk ? all : own_chunk;
    pool_block gathered(n);
    if (!gathered.data())
        return -ENOMEM;
    if (t.d == fd_write)
        for (size_t at = 0; at < n; ++parts) {
            size_t piece = parts->iov_len < n - at ? parts->iov_len : n - at;
            if (!copy_from_user(gathered.data() + at, parts->iov_base, piece)) {
                n = at;
                break;
            }
            at += piece;
        }
    else if (parts->iov_len < n)
        n = parts->iov_len;
    if (n == 0)
        return -EFAULT;
    offload_buffer buffer{};
    buffer.user = t.d == fd_write ? gathered.data() : parts->iov_base;
    buffer.bytes = n;
    buffer.in = t.d == fd_write;
    buffer.out = buffer.counted = t.d == fd_read;
    const long args[6] = {t.fd, reinterpret_cast<long>(buffer.user), static_cast<long>(n), 0, 0, 0};
    long nr = t.d == fd_write ? SYS_write : SYS_read;
    bool given_up = false;
    word r = static_cast<word>(offload_syscall(t.kind, offload_own, nr, args, &buffer, 1,
                                               no_deadline, nullptr, &given_up));
    if (r == -EPIPE && !given_up) // once more, for the signal that belongs to it
        return sys::call(SYS_writev, t.fd, parts, count);
    return r;
}

// An eventfd takes any value but the largest without asking how much room there is: only adding 1 is
// certain to fit once poll has said "writable".
bool may_block_after_poll(const transfer &t, const iovec *parts, uint32_t bits) {
    if (kind_of(bits) != kind_anonymous)
        return true;
    uint64_t value = 1;
    if (t.d == fd_write && parts->iov_len == sizeof value &&
        !copy_from_user(&value, parts->iov_base, sizeof value))
        return false; // EFAULT
    return value != 1;
}

word polled_try(const transfer &t, const iovec *parts, int count, uint32_t bits) {
    pollfd ready{t.fd, static_cast<short>(t.d == fd_read ? POLLIN : POLLOUT), 0};
    word r = sys::ppoll(&ready, 1, &sys::at_once, nullptr);
    if (r <= 0)
        return r == 0 || r == -EINTR ? -EAGAIN : r;
    if (may_block_after_poll(t, parts, bits))
        return by_own_helper(t, parts, count);
    return sys::call(t.d == fd_read ? SYS_readv : SYS_writev, t.fd, parts, count);
}

word try_now(const transfer &t, const iovec *parts, int count, uint32_t *bits) {
    if (!(*bits & bit_no_nowait)) {
        word r = vector_call(t, parts, count, current_position, t.flags | RWF_NOWAIT);
        if (!refuses_nowait(r))
            return r;
        if (t.flags != 0) {
            r = vector_call(t, parts, count, current_position, t.flags);
            return r;
        }
        *bits |= bit_no_nowait;
        add_bits(t.fd, bit_no_nowait);
    }
    return polled_try(t, parts, count, *bits);
}

least_read learn_least(int fd) {
    char name[32];
    name_of_descriptor(fd, name, sizeof name);
    least_read least = least_is_one;
    if (strcmp(name, "anon_inode:[eventfd]") == 0 || strcmp(name, "anon_inode:[timerfd]") == 0)
        least = least_is_8;
    else if (strcmp(name, "anon_inode:[signalfd]") == 0)
        least = least_is_128;
    add_bits(fd, least << speed_shift);
    return least;
}

// An eventfd and its kin are asked for less than one of what they give: the kernel says so at once.
bool has_no_room(const transfer &t, size_t wanted, uint32_t bits) {
    constexpr size_t bytes[] = {0, 1, 8, 128};
    if (wanted >= bytes[least_is_128])
        return false;
    uint32_t least = (bits & speed_mask) >> speed_shift;
    return wanted < bytes[least != least_unknown ? least : learn_least(t.fd)];
}

word transfer_pollable(const transfer &t, uint32_t bits) {
    size_t wanted = bytes_in(t.parts, static_cast<size_t>(t.count)), done = 0;
    if (t.d == fd_read && kind_of(bits) == kind_anonymous && has_no_room(t, wanted, bits))
        return make_call(t, 0);
    bool in_pieces = t.d == fd_write && kind_of(bits) != kind_anonymous;
    fd_waiter waiter{t.kind, t.fd, t.d};
    // A timerfd, for one, cannot be written: no edge would ever come, so the kernel is asked first.
    bool ask_first = t.d == fd_write && kind_of(bits) == kind_anonymous;
    for (;;) {
        if (ask_first || fd_may(t.fd, t.d)) {
            ask_first = false;
            word r;
            if (CO_LIKELY(done == 0)) {
                r = try_now(t, t.parts, t.count, &bits);
            } else {
                iovec window[window_parts];
                int n = rest_of(t.parts, t.count, done, window);
                r = try_now(t, window, n, &bits);
            }
            if (r != -EAGAIN) {
                if (r > 0)
                    done += static_cast<size_t>(r);
                if (r > 0 && in_pieces && done < wanted)
                    continue;
                fd_done(t.fd, t.d);
                return partial(done, r);
            }
            fd_saw_eagain(t.fd, t.d);
        }
        int e = waiter.wait();
        if (e == -EPERM) { // epoll refuses it: it is not what we took it for
            unlearn(t.fd);
            return done ? static_cast<word>(done) : make_call(t, 0);
        }
        if (e != 0)
            return e > 0 && done == 0 ? make_call(t, 0) : partial(done, e < 0 ? e : -EAGAIN);
    }
}

} // namespace

word vector_call(const transfer &t, const iovec *parts, int count, int64_t offset, int flags) {
    long low = static_cast<long>(offset), high = static_cast<long>(offset >> 32);
    return sys::call(t.d == fd_read ? SYS_preadv2 : SYS_pwritev2, t.fd, parts, count, low, high,
                     flags);
}

word make_call(const transfer &t, int extra_flags) {
    bool reading = t.d == fd_read;
    int flags = t.flags | extra_flags;
    long low = static_cast<long>(t.offset), high = static_cast<long>(t.offset >> 32);
    if (flags != 0)
        return vector_call(t, t.parts, t.count, t.offset, flags);
    if (t.offset == current_position)
        return sys::call(reading ? SYS_readv : SYS_writev, t.fd, t.parts, t.count);
    return sys::call(reading ? SYS_preadv : SYS_pwritev, t.fd, t.parts, t.count, low, high);
}

// Does the kernel answer without a look at what there is to be read, or how much room? With no bytes it
// does nothing (where recvmsg would wait, and sendmsg send an empty message); the rest is refused.
static bool is_settled(const transfer &t) {
    if (t.count <= 0 || static_cast<size_t>(t.count) > most_parts ||
        !can_read(t.parts, static_cast<size_t>(t.count) * sizeof(iovec)))
        return true;
    for (int i = 0; i < t.count; ++i) {
        size_t n = t.parts[i].iov_len;
        if (n > SIZE_MAX / 2 || is_beyond(t.parts[i].iov_base, t.count == 1 ? as_taken(n) : n))
            return true;
    }
    return bytes_in(t.parts, static_cast<size_t>(t.count)) == 0;
}

word run_transfer(const transfer &t, uint32_t bits) {
    if (bits == 0 || surely_nonblocking(bits) || (t.flags & RWF_NOWAIT) || is_settled(t))
        return make_call(t, 0);
    if (kind_of(bits) == kind_file)
        return transfer_file(t, bits);
    if (bits & (t.d == fd_read ? bit_no_read : bit_no_write))
        return make_call(t, 0); // EBADF
    if (t.offset != current_position)
        return make_call(t, 0); // ESPIPE, or a device with positions: no queue to wait in
    return transfer_pollable(t, bits);
}

word vectored(const transfer &t) {
    uint32_t bits = known_bits(t.fd);
    if (is_socket(bits)) {
        if (t.offset != current_position || t.flags != 0 || is_settled(t))
            return make_call(t, t.flags != 0 ? RWF_NOWAIT : 0);
        msghdr message{};
        message.msg_iov = const_cast<iovec *>(t.parts);
        message.msg_iovlen = static_cast<size_t>(t.count);
        word r = t.d == fd_read ? calls::recvmsg(t.fd, &message, 0)
                                : calls::sendmsg(t.fd, &message, record_flag(bits));
        if (r != -ENOTSOCK)
            return r;
        unlearn(t.fd);
        bits = known_bits(t.fd);
    }
    return run_transfer(t, bits);
}

} // namespace corun::calls
