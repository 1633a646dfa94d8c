// SPDX-License-Identifier: Apache-2.0
// Sending to sockets. A blocking send on a byte stream goes on until all is taken, as the kernel's
// does; an error or a time limit after the first bytes gives their count.
#include "co_hook/calls/passed.h"
#include "co_hook/calls/wait.h"

#include <cerrno>

namespace corun::calls {
namespace {

constexpr wait_kind send_kind{"send", true, abandon_fd_wait};
constexpr wait_kind sendmsg_kind{"sendmsg", true, abandon_fd_wait};
constexpr wait_kind pause_kind{"send", true, nullptr};

// An unconnected AF_UNIX datagram socket is always writable to epoll, however full the receiver's
// queue is: no edge will come. Looks again after growing pauses.
template <class Try> word send_with_pauses(int fd, Try attempt) {
    int64_t deadline_ns;
    int nonblocking = blocking_deadline(fd, fd_write, &deadline_ns);
    for (int64_t pause_ns = ns_per_ms / 8;; pause_ns += pause_ns < 8 * ns_per_ms ? pause_ns : 0) {
        word r = attempt();
        if (r != -EAGAIN || nonblocking != 0)
            return r;
        int64_t now = now_ns();
        if (now >= deadline_ns)
            return r;
        int64_t until = deadline_ns - now > pause_ns ? now + pause_ns : deadline_ns;
        int e = park(pause_kind, {.fd = fd}, until);
        if (e == -ECANCELED || e == -ENOMEM)
            return e;
    }
}

inline bool goes_to_a_full_queue(uint32_t bits, const void *address) {
    return (bits & bit_unix) && kind_of(bits) == kind_message && address;
}

// A send with MSG_FASTOPEN that starts a handshake takes nothing yet: the rest is an ordinary send
// on a socket that connects.
inline word after_fast_open(word r, int *flags) {
    if (CO_LIKELY(!(*flags & MSG_FASTOPEN)))
        return r;
    if (r != -EINPROGRESS)
        return r;
    *flags &= ~MSG_FASTOPEN;
    return -EAGAIN;
}

word send_message(int fd, const msghdr *message, int flags) {
    return sys::call(SYS_sendmsg, fd, message, flags | MSG_DONTWAIT);
}

// What goes along is the receiver's, too, who may change its flags.
inline void note_sent(const msghdr *message) {
    if (CO_UNLIKELY(message->msg_controllen != 0))
        each_passed(message, note_shared);
}

word send_parts(int fd, const msghdr *message, int flags) {
    uint32_t bits = known_bits(fd);
    if ((flags & MSG_DONTWAIT) || !is_socket(bits) || surely_nonblocking(bits) ||
        !is_message(message))
        return send_message(fd, message, flags);
    if (goes_to_a_full_queue(bits, message->msg_name))
        return send_with_pauses(fd, [=] { return send_message(fd, message, flags); });
    bool stream = is_stream(bits);
    size_t sent = 0, wanted = 0;
    fd_waiter waiter{sendmsg_kind, fd, fd_write};
    for (;;) {
        if (fd_may(fd, fd_write)) {
            word r;
            if (CO_LIKELY(sent == 0)) {
                r = after_fast_open(send_message(fd, message, flags), &flags);
                if (r > 0)
                    wanted = stream ? bytes_in(message->msg_iov, message->msg_iovlen) : 0;
            } else { // control data went with the first part
                iovec window[window_parts];
                msghdr rest{};
                rest.msg_iov = window;
                rest.msg_iovlen = static_cast<size_t>(
                    rest_of(message->msg_iov, static_cast<int>(message->msg_iovlen), sent, window));
                r = send_message(fd, &rest, flags);
            }
            if (r != -EAGAIN) {
                if (r > 0)
                    sent += static_cast<size_t>(r);
                if (r <= 0 || sent >= wanted) {
                    fd_done(fd, fd_write);
                    return partial(sent, r);
                }
                if (bits & bit_unix)
                    waiter.begin_anew();
                continue;
            }
            fd_saw_eagain(fd, fd_write);
        }
        if (int e = waiter.wait())
            return e > 0 && sent == 0 ? send_message(fd, message, flags)
                                      : partial(sent, e < 0 ? e : -EAGAIN);
    }
}

} // namespace

word sendto(int fd, const void *buffer, size_t n, int flags, const sockaddr *address,
            socklen_t length) {
    uint32_t bits = known_bits(fd);
    if (CO_UNLIKELY((flags & MSG_DONTWAIT) || !is_socket(bits) || surely_nonblocking(bits)))
        return sys::sendto(fd, buffer, n, flags | MSG_DONTWAIT, address, length);
    if (CO_UNLIKELY(goes_to_a_full_queue(bits, address)))
        return send_with_pauses(
            fd, [=] { return sys::sendto(fd, buffer, n, flags | MSG_DONTWAIT, address, length); });
    const char *from = static_cast<const char *>(buffer);
    n = as_taken(n);
    bool stream = is_stream(bits);
    size_t sent = 0;
    fd_waiter waiter{send_kind, fd, fd_write};
    for (;;) {
        if (CO_LIKELY(fd_may(fd, fd_write))) {
            word r = sys::sendto(fd, from + sent, n - sent, flags | MSG_DONTWAIT, address, length);
            r = after_fast_open(r, &flags);
            if (CO_LIKELY(r != -EAGAIN)) {
                if (r > 0)
                    sent += static_cast<size_t>(r);
                if (CO_LIKELY(r <= 0 || sent >= n || !stream)) {
                    fd_done(fd, fd_write);
                    return partial(sent, r);
                }
                if (bits & bit_unix)
                    waiter.begin_anew(); // there the limit counts for each piece
                continue;
            }
            fd_saw_eagain(fd, fd_write);
        }
        if (int e = waiter.wait())
            return e > 0 && sent == 0
                       ? sys::sendto(fd, buffer, n, flags | MSG_DONTWAIT, address, length)
                       : partial(sent, e < 0 ? e : -EAGAIN);
    }
}

word sendmsg(int fd, const msghdr *message, int flags) {
    word r = send_parts(fd, message, flags);
    if (!sys::failed(r)) // 0 bytes may carry descriptors, too
        note_sent(message);
    return r;
}

namespace {
word send_each(int fd, mmsghdr *messages, unsigned count, int flags) {
    uint32_t bits = known_bits(fd);
    if ((flags & MSG_DONTWAIT) || !is_socket(bits) || surely_nonblocking(bits))
        return sys::call(SYS_sendmmsg, fd, messages, count, flags | MSG_DONTWAIT);
    constexpr unsigned most = 1024; // the kernel's limit
    unsigned wanted = count < most ? count : most, sent = 0;
    while (sent < wanted) {
        if (!is_stream(bits)) { // all that fits at once
            word r =
                sys::call(SYS_sendmmsg, fd, messages + sent, wanted - sent, flags | MSG_DONTWAIT);
            if (r > 0) {
                sent += static_cast<unsigned>(r);
                continue;
            }
        }
        word r = send_parts(fd, &messages[sent].msg_hdr, flags);
        if (sys::failed(r))
            return partial(sent, r);
        if (!user_write(&messages[sent].msg_len, static_cast<unsigned>(r)))
            return partial(sent, -EFAULT);
        bool whole = static_cast<size_t>(r) >=
                     bytes_in(messages[sent].msg_hdr.msg_iov, messages[sent].msg_hdr.msg_iovlen);
        ++sent;
        if (!whole)
            break;
    }
    return static_cast<word>(sent);
}
} // namespace

word sendmmsg(int fd, mmsghdr *messages, unsigned count, int flags) {
    word sent = send_each(fd, messages, count, flags);
    for (word i = 0; i < sent; ++i)
        note_sent(&messages[i].msg_hdr);
    return sent;
}

} // namespace corun::calls
