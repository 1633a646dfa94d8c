// SPDX-License-Identifier: Apache-2.0
// Receiving from sockets. Each try carries MSG_DONTWAIT, which leaves the descriptor as it is.
#include "co_hook/calls/passed.h"
#include "co_hook/calls/wait.h"

#include <cerrno>
#include <poll.h>

namespace corun::calls {
namespace {

constexpr wait_kind recv_kind{"recv", true, abandon_fd_wait};
constexpr wait_kind recvmsg_kind{"recvmsg", true, abandon_fd_wait};
constexpr wait_kind recvmmsg_kind{"recvmmsg", true, abandon_fd_wait};
constexpr wait_kind peek_kind{"recv", true, nullptr};

// These never wait in the kernel.
constexpr int never_waits = MSG_DONTWAIT | MSG_OOB | MSG_ERRQUEUE;

// A call that took bytes or failed for good is over: what the next one may expect.
inline void received(int fd, uint32_t bits, int flags, word result, size_t asked) {
    if (kind_of(bits) == kind_tcp && result > 0 && static_cast<size_t>(result) < asked &&
        !(flags & MSG_PEEK))
        fd_saw_short_read(fd);
    fd_done(fd, fd_read);
}

// MSG_WAITALL on a byte stream, of which `got` bytes are there: until all has come, the stream ends,
// or an error cuts it short. receive(got) asks for the rest.
template <class Receive>
word receive_all(const wait_kind &kind, int fd, size_t got, size_t wanted, Receive receive) {
    fd_waiter waiter{kind, fd, fd_read};
    for (;;) {
        if (fd_may(fd, fd_read)) {
            word r = receive(got);
            if (r > 0)
                got += static_cast<size_t>(r);
            if (r == 0 || got == wanted || (sys::failed(r) && r != -EAGAIN)) {
                fd_done(fd, fd_read);
                return partial(got, r);
            }
            if (r > 0)
                continue;
            fd_saw_eagain(fd, fd_read);
        }
        if (int e = waiter.wait())
            return e > 0 && got == 0 ? receive(0) : partial(got, e < 0 ? e : -EAGAIN);
    }
}

// MSG_WAITALL with MSG_PEEK: nothing is consumed, so no edge tells of more than the first byte, and
// other readers must not be told that the socket is empty. It looks again after growing pauses.
template <class Look> word peek_all(int fd, size_t n, Look look) {
    int64_t deadline_ns;
    int r = blocking_deadline(fd, fd_read, &deadline_ns);
    for (int64_t pause_ns = ns_per_ms / 4;; pause_ns += pause_ns < 8 * ns_per_ms ? pause_ns : 0) {
        word got = look();
        if (r != 0 || (sys::failed(got) && got != -EAGAIN) || got == 0 ||
            got == static_cast<word>(n))
            return got;
        pollfd end{fd, POLLRDHUP, 0};
        if (sys::ppoll(&end, 1, &sys::at_once, nullptr) != 0)
            return look(); // no more will come
        int64_t now = now_ns();
        if (now >= deadline_ns)
            return got;
        int64_t until = now + pause_ns < deadline_ns ? now + pause_ns : deadline_ns;
        int e = park(peek_kind, {.fd = fd}, until);
        if (e == -ECANCELED || e == -ENOMEM)
            return e;
    }
}

// Descriptors that came along are new numbers: what was known of them is not theirs.
void note_passed(const msghdr *message) { each_passed(message, note_foreign); }

word receive_message(int fd, msghdr *message, int flags) {
    return sys::call(SYS_recvmsg, fd, message, flags);
}

// What is still missing after the first part of a MSG_WAITALL message.
word receive_rest(int fd, const msghdr *message, int flags, size_t got) {
    iovec window[window_parts];
    msghdr rest{};
    rest.msg_iov = window;
    rest.msg_iovlen = static_cast<size_t>(
        rest_of(message->msg_iov, static_cast<int>(message->msg_iovlen), got, window));
    return receive_message(fd, &rest, flags | MSG_DONTWAIT);
}

} // namespace

word recvfrom(int fd, void *buffer, size_t n, int flags, sockaddr *address, socklen_t *length) {
    uint32_t bits = known_bits(fd);
    if (CO_UNLIKELY((flags & never_waits) || !is_socket(bits) || surely_nonblocking(bits)))
        return sys::recvfrom(fd, buffer, n, flags | MSG_DONTWAIT, address, length);
    if (CO_UNLIKELY((flags & MSG_WAITALL) && is_stream(bits) && n > 0)) {
        if (flags & MSG_PEEK)
            return peek_all(fd, n, [=] {
                return sys::recvfrom(fd, buffer, n, flags | MSG_DONTWAIT, address, length);
            });
        return receive_all(recv_kind, fd, 0, n, [=](size_t got) {
            return sys::recvfrom(fd, static_cast<char *>(buffer) + got, n - got,
                                 flags | MSG_DONTWAIT, address, length);
        });
    }
    fd_waiter waiter{recv_kind, fd, fd_read};
    for (;;) {
        if (CO_LIKELY(fd_may(fd, fd_read))) {
            word r = sys::recvfrom(fd, buffer, n, flags | MSG_DONTWAIT, address, length);
            if (CO_LIKELY(r != -EAGAIN)) {
                received(fd, bits, flags, r, n);
                return r;
            }
            fd_saw_eagain(fd, fd_read);
        }
        if (int e = waiter.wait())
            return e > 0
                       ? sys::recvfrom(fd, buffer, n, flags | waiter.dont_wait(e), address, length)
                       : e;
    }
}

word recvmsg(int fd, msghdr *message, int flags) {
    uint32_t bits = known_bits(fd);
    bool direct = (flags & never_waits) || !is_socket(bits) || surely_nonblocking(bits) ||
                  !is_message(message);
    bool all = !direct && (flags & MSG_WAITALL) && is_stream(bits);
    if (all && (flags & MSG_PEEK))
        return peek_all(fd, bytes_in(message->msg_iov, message->msg_iovlen),
                        [=] { return receive_message(fd, message, flags | MSG_DONTWAIT); });
    size_t room = direct ? 0 : message->msg_controllen; // it becomes what was received
    fd_waiter waiter{recvmsg_kind, fd, fd_read};
    int dont_wait = MSG_DONTWAIT;
    word r;
    for (;;) {
        if (direct || fd_may(fd, fd_read)) {
            r = receive_message(fd, message, flags | dont_wait);
            if (r != -EAGAIN || direct)
                break;
            fd_saw_eagain(fd, fd_read);
        }
        if (int e = waiter.wait()) {
            if (e < 0)
                return e;
            direct = true;
            dont_wait = waiter.dont_wait(e);
        }
    }
    if (sys::failed(r)) {
        if (!direct)
            fd_done(fd, fd_read);
        return r;
    }
    if (message->msg_controllen != 0 && (bits & bit_unix))
        note_passed(message);
    if (direct)
        return r;
    size_t wanted = bytes_in(message->msg_iov, message->msg_iovlen);
    if (all && r > 0 && static_cast<size_t>(r) < wanted &&
        !(room != 0 && message->msg_controllen != 0)) // the kernel stops behind what carries rights
        return receive_all(recvmsg_kind, fd, static_cast<size_t>(r), wanted,
                           [=](size_t got) { return receive_rest(fd, message, flags, got); });
    received(fd, bits, flags, r, wanted);
    return r;
}

// The kernel looks at the time after each message only: a wait for the next one has no limit but the
// socket's.
word recvmmsg(int fd, mmsghdr *messages, unsigned count, int flags, int64_t *timeout_ns) {
    uint32_t bits = known_bits(fd);
    bool direct = (flags & never_waits) || !is_socket(bits) || surely_nonblocking(bits) ||
                  (count != 0 && !is_message(&messages->msg_hdr));
    int64_t end_ns = timeout_ns ? deadline_in(*timeout_ns) : no_deadline;
    fd_waiter waiter{recvmmsg_kind, fd, fd_read};
    int dont_wait = MSG_DONTWAIT;
    unsigned got = 0;
    word r = 0;
    while (got < count || count == 0) {
        if (direct || fd_may(fd, fd_read)) {
            r = sys::call(SYS_recvmmsg, fd, messages + got, count - got,
                          (flags & ~MSG_WAITFORONE) | dont_wait, nullptr);
            if (direct || (sys::failed(r) && r != -EAGAIN) || r == 0)
                break;
            if (r > 0) {
                for (unsigned i = got; (bits & bit_unix) && i < got + static_cast<unsigned>(r); ++i)
                    note_passed(&messages[i].msg_hdr);
                got += static_cast<unsigned>(r);
                if ((flags & MSG_WAITFORONE) || now_ns() >= end_ns)
                    break;
                waiter.begin_anew();
                continue;
            }
            fd_saw_eagain(fd, fd_read);
        }
        if (int e = waiter.wait()) {
            r = e;
            if (e < 0)
                break;
            direct = true;
            dont_wait = waiter.dont_wait(e);
        }
    }
    if (direct && !sys::failed(r)) {
        got += static_cast<unsigned>(r);
    } else if (!direct && r != -ECANCELED) {
        fd_done(fd, fd_read);
    }
    if (timeout_ns && got > 0) {
        int64_t left = end_ns == no_deadline ? *timeout_ns : end_ns - now_ns();
        *timeout_ns = left > 0 ? left : 0;
    }
    if (r == -ECANCELED)
        return partial(got, r);
    return got > 0 ? static_cast<word>(got) : r;
}

} // namespace corun::calls
