// SPDX-License-Identifier: Apache-2.0
// The steps of one actor: calls with good and bad arguments on an object that nobody else uses now.
#pragma once

#include "tests/hooks/program_objects.h"

namespace random_program {

// What may be done without waiting for ever, by the kernel's own answer.
inline bool ready(int fd, short events) {
    pollfd p{fd, events, 0};
    return poll(&p, 1, 0) == 1 && (p.revents & (events | POLLHUP | POLLERR | POLLNVAL));
}
inline bool nonblocking(int fd) { return (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0; }
inline bool is_timed(int fd) {
    timeval t{};
    socklen_t n = sizeof t;
    return getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, &n) == 0 && t.tv_usec != 0;
}

// What is about to be done, with all that decides how.
inline void told_call(side &s, const char *call, const object &o, size_t n, int flags,
                      unsigned how) {
    char text[80];
    int length =
        snprintf(text, sizeof text, "%d of %zu, flags %#x, way %u, %s", o.what, n,
                 static_cast<unsigned>(flags), how, nonblocking(o.in) ? "non-blocking" : "");
    s.text(call, text, length);
}

inline void told_bytes(side &s, const char *what, ssize_t r, const char *buffer) {
    s.says(what, r);
    if (r > 0)
        s.says("  sum", sum_of(buffer, r));
}

inline void local_read(side &s, object &o, dice &d) {
    char buffer[3000] = {};
    size_t n = d.one_in(8) ? 0 : d.one_in(3) ? 1 + d.below(16) : 1 + d.below(sizeof buffer);
    if (o.what == k_event || o.what == k_timer)
        n = d.one_in(4) ? 1 + d.below(16) : 8;
    int flags = 0;
    bool may_wait = !ready(o.in, POLLIN) && !nonblocking(o.in);
    if (may_wait && o.is_socket() && !is_timed(o.in))
        flags = MSG_DONTWAIT;
    else if (may_wait && !o.is_socket() && o.what != k_file)
        return (void)s.says("nothing to read", 0);
    if (d.one_in(5) && o.is_socket())
        flags |= MSG_PEEK;
    if (d.one_in(5) && o.keeps_messages())
        flags |= MSG_TRUNC;
    iovec parts[3] = {
        {buffer, n / 3}, {buffer + n / 3, n / 2 - n / 3}, {buffer + n / 2, n - n / 2}};
    unsigned how = d.below(6);
    told_call(s, "reads", o, n, flags, how);
    if (o.what == k_file && how < 3) {
        off_t at = d.below(5000);
        return told_bytes(s, "pread", how ? pread(o.in, buffer, n, at) : preadv(o.in, parts, 3, at),
                          buffer);
    }
    if (o.is_socket() && (how < 3 || flags)) {
        sockaddr_un from{};
        socklen_t length = sizeof from;
        msghdr m{};
        m.msg_iov = parts;
        m.msg_iovlen = 3;
        ssize_t r = how == 0   ? recv(o.in, buffer, n, flags)
                    : how == 1 ? recvfrom(o.in, buffer, n, flags, (sockaddr *)&from, &length)
                               : recvmsg(o.in, &m, flags);
        told_bytes(s, "recv", std::min<ssize_t>(r, static_cast<ssize_t>(n)), buffer);
        if (how >= 2)
            s.says("  flags", m.msg_flags & (MSG_TRUNC | MSG_EOR));
        return;
    }
    told_bytes(s, "read", how == 3 ? readv(o.in, parts, 3) : read(o.in, buffer, n), buffer);
}

// What is written stays small against every buffer, so that a blocking write does not wait.
inline bool has_room(object &o, size_t n) {
    if (o.what == k_file || o.what == k_timer || nonblocking(o.out))
        return true;
    if (!ready(o.out, POLLOUT))
        return false;
    int queued = 0;
    if (o.what == k_pipe)
        return ioctl(o.in, FIONREAD, &queued) == 0 && static_cast<size_t>(queued) + n < 16000;
    if (o.is_socket())
        return ioctl(o.out, SIOCOUTQ, &queued) == 0 && static_cast<size_t>(queued) + n < 60000;
    return true;
}

inline void local_write(side &s, object &o, dice &d) {
    size_t n = d.one_in(8) ? 0 : d.one_in(3) ? 1 + d.below(16) : 1 + d.below(3000);
    std::vector<char> bytes = patterned(n, d.below(256));
    if (o.what == k_event) {
        uint64_t value = d.one_in(6) ? UINT64_MAX : d.below(5);
        if (d.one_in(3))
            return (void)s.says("eventfd_write", eventfd_write(o.out, value));
        return (void)s.says("write", write(o.out, &value, d.one_in(4) ? d.below(8) : 8));
    }
    int flags = o.is_socket() && !has_room(o, n) ? MSG_DONTWAIT : 0;
    if (!o.is_socket() && !has_room(o, n))
        return (void)s.says("no room", 0);
    iovec parts[2] = {{bytes.data(), n / 3}, {bytes.data() + n / 3, n - n / 3}};
    unsigned how = d.below(6);
    told_call(s, "writes", o, n, flags, how);
    if (o.what == k_file && how < 2) {
        off_t at = d.below(3000);
        return (void)s.says("pwrite", how ? pwrite(o.out, bytes.data(), n, at)
                                          : pwritev(o.out, parts, 2, at));
    }
    if (o.is_socket() && (how < 3 || flags)) {
        msghdr m{};
        m.msg_iov = parts;
        m.msg_iovlen = 2;
        return (void)s.says("send", how == 0   ? send(o.out, bytes.data(), n, flags)
                                    : how == 1 ? sendto(o.out, bytes.data(), n, flags, nullptr, 0)
                                               : sendmsg(o.out, &m, flags));
    }
    s.says("write", how == 3 ? writev(o.out, parts, 2) : write(o.out, bytes.data(), n));
}

inline void local_poll(side &s, object &o, dice &d) {
    constexpr short some[] = {POLLIN, POLLOUT, POLLIN | POLLOUT, POLLRDHUP | POLLIN, 0};
    pollfd p[3] = {{d.one_in(2) ? o.in : o.out, some[d.below(5)], 0},
                   {d.one_in(3) ? -1 : o.in, POLLIN, 0},
                   {d.one_in(6) ? 1 << 20 : o.out, some[d.below(5)], 0}};
    nfds_t n = 1 + d.below(3);
    s.says("poll", poll(p, n, 0));
    for (nfds_t i = 0; i < n; ++i)
        s.says("  revents", p[i].revents);
    fd_set in, out;
    FD_ZERO(&in);
    FD_ZERO(&out);
    if (o.in >= 0)
        FD_SET(o.in, &in);
    if (o.out >= 0)
        FD_SET(o.out, &out);
    timeval none{0, d.one_in(8) ? -1 : 0};
    s.says("select", select(std::max(o.in, o.out) + 1, &in, &out, nullptr, &none));
    s.says("  in", o.in >= 0 && FD_ISSET(o.in, &in) ? 1 : 0);
    s.says("  out", o.out >= 0 && FD_ISSET(o.out, &out) ? 1 : 0);
}

// A wait that ends by its time.
inline void local_timeout(side &s, object &o, dice &d) {
    int ms = 1 + static_cast<int>(d.below(3));
    if (o.what == k_timer) {
        itimerspec t{};
        // Not armed where a read does not wait for it: how long that read takes is not promised.
        t.it_value.tv_nsec = nonblocking(o.in) ? 0 : ms * 1000000;
        s.says("settime", timerfd_settime(o.in, 0, &t, nullptr));
        uint64_t count = 0;
        if (nonblocking(o.in))
            return (void)s.says("read", read(o.in, &count, 8));
        s.waited("timerfd", ms, [&] { s.says("read", read(o.in, &count, 8)); });
        s.says("  count", count);
    } else if (o.is_socket() && !nonblocking(o.in) && !ready(o.in, POLLIN)) {
        timeval t{0, ms * 1000};
        s.says("SO_RCVTIMEO", setsockopt(o.in, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
        char c;
        s.waited("recv", ms, [&] { s.says("recv", recv(o.in, &c, 1, MSG_WAITALL)); });
        t = {};
        s.says("SO_RCVTIMEO", setsockopt(o.in, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
    } else {
        pollfd p{-1, POLLIN, 0};
        s.waited("poll", ms, [&] { s.says("poll", poll(&p, 1, ms)); });
    }
}

inline void local_flags(side &s, object &o, dice &d) {
    int fd = d.one_in(2) ? o.in : o.out, on = d.one_in(2);
    switch (d.below(5)) {
    case 0:
        s.says("FIONBIO", ioctl(fd, FIONBIO, &on));
        break;
    case 1:
        s.says("F_SETFL", fcntl(fd, F_SETFL, on ? O_NONBLOCK : 0));
        break;
    case 2:
        s.says("F_GETFD", fcntl(fd, F_GETFD));
        break;
    case 3:
        s.says("lseek", lseek(fd, static_cast<off_t>(d.below(4000)), SEEK_SET));
        break;
    default:
        s.says("no command", fcntl(fd, 9999, 0));
    }
    s.says("F_GETFL", fcntl(fd, F_GETFL));
}

inline void local_bad(side &s, object &o, dice &d) {
    char c[16] = {};
    // Numbers that are never open here, or an argument that no call takes.
    volatile int bad = d.one_in(2) ? -1 : (1 << 20) + static_cast<int>(d.below(1000));
    switch (d.below(12)) {
    case 0:
        return (void)s.says("bad read", read(bad, c, 1));
    case 1:
        return (void)s.says("bad write", write(bad, c, 1));
    case 2:
        return (void)s.says("bad recv", recv(bad, c, 1, 0));
    case 3:
        return (void)s.says("recv of no socket", o.is_socket() ? 0 : recv(o.in, c, 1, 0));
    case 4:
        return (void)s.says("bad accept", accept(o.in, nullptr, nullptr));
    case 5:
        return (void)s.says("bad close", close(bad));
    case 6:
        return (void)s.says("bad dup", dup(bad));
    case 7:
        return (void)s.says("bad dup2", dup2(o.in, -1));
    case 8:
        return (void)s.says("bad pread", o.what == k_file ? 0 : pread(o.in, c, 1, 5));
    case 9:
        bad = -1;
        return (void)s.says("bad iov", readv(o.in, nullptr, bad));
    case 10:
        // (A stream takes it, and then is readable without having anything to read.)
        return (void)s.says("bad send", o.what == k_stream ? 0 : send(o.out, c, 1, MSG_OOB));
    default:
        return (void)s.says("bad connect", connect(o.in, (sockaddr *)c, 1));
    }
}

// Closed, and its number used for something else at once.
inline void local_reuse(side &s, object &o, dice &d) {
    int was = o.in;
    char c;
    if (d.one_in(3)) { // by another number for the same thing
        int other = dup(o.in);
        s.says("dup", other >= 0 ? 1 : 0);
        bool pair = o.in == o.out;
        s.says("close", close(o.in));
        s.says("closed", read(was, &c, 1));
        s.says("closed", recv(was, &c, 1, 0));
        s.says("dup2", dup2(other, was) == was ? 1 : 0);
        s.says("close", close(other));
        o.in = was;
        o.out = pair ? was : o.out;
        return;
    }
    o.shut();
    s.says("closed", write(was, "x", 1));
    o.open(static_cast<kind>(d.below(kinds)), d);
}

inline void local_shutdown(side &s, object &o, dice &d) {
    if (!d.one_in(4))
        return local_flags(s, o, d);
    s.says("shutdown", shutdown(d.one_in(2) ? o.in : o.out, static_cast<int>(d.below(4))));
}

inline void local_step(side &s, object &o, dice &d) {
    unsigned choice = d.below(40);
    void (*const table[])(side &, object &, dice &) = {local_read, local_write, local_poll,
                                                       local_flags, local_bad};
    if (choice < 25)
        return table[choice < 9    ? 0
                     : choice < 18 ? 1
                     : choice < 21 ? 2
                     : choice < 23 ? 3
                                   : 4](s, o, d);
    if (choice < 26)
        return local_timeout(s, o, d);
    if (choice < 29)
        return local_reuse(s, o, d);
    if (choice < 31)
        return local_shutdown(s, o, d);
    (choice % 2 ? local_write : local_read)(s, o, d);
}

} // namespace random_program
