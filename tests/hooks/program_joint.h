// SPDX-License-Identifier: Apache-2.0
// The steps of several actors: one waits, another one ends its wait; or both move bytes through what
// holds fewer than they have.
#pragma once

#include "tests/hooks/program_local.h"

namespace random_program {

// What the first, second (and third) of those who take part do, after the body has prepared it.
struct joint_step {
    const char *name;
    int roles;
    void (*prepare)(std::vector<object> &objects, int at[2], dice &d);
    void (*play)(side &s, int role, std::vector<object> &objects, const int at[2], dice &d);
};

inline object &fresh(std::vector<object> &objects, int at, kind k, dice &d) {
    object &o = objects[static_cast<size_t>(at)];
    o.shut();
    o.open(k, d);
    return o;
}

// ---- A transfer: more than the buffers hold, in pieces of any size

inline void prepare_transfer(std::vector<object> &objects, int at[2], dice &d) {
    fresh(objects, at[0], d.one_in(2) ? k_pipe : k_stream, d);
}
inline void play_transfer(side &s, int role, std::vector<object> &objects, const int at[2],
                          dice &d) {
    object &o = objects[static_cast<size_t>(at[0])];
    size_t total = d.one_in(3) ? 300000 + d.below(100000) : 1 + d.below(20000);
    d = dice(total + static_cast<unsigned>(role)); // each side has its own pieces
    size_t moved = 0;
    uint64_t sum = 0;
    std::vector<char> piece = role == 0 ? std::vector<char>(total) : patterned(total);
    while (moved < total) {
        size_t n = std::min<size_t>(total - moved, 1 + d.below(d.one_in(2) ? 100000 : 500));
        n = std::max<size_t>(n, std::min<size_t>(total - moved, total / 200));
        iovec parts[2] = {{&piece[moved], n / 2}, {&piece[moved] + n / 2, n - n / 2}};
        unsigned how = d.below(3);
        ssize_t r;
        if (role == 0)
            r = how == 0                    ? read(o.in, &piece[moved], n)
                : how == 1 && o.is_socket() ? recv(o.in, &piece[moved], n, MSG_WAITALL)
                                            : readv(o.in, parts, 2);
        else
            r = how == 0                    ? write(o.out, &piece[moved], n)
                : how == 1 && o.is_socket() ? send(o.out, &piece[moved], n, 0)
                                            : writev(o.out, parts, 2);
        if (r <= 0) {
            s.says("transfer", r);
            return;
        }
        moved += static_cast<size_t>(r);
        // A blocking write writes all of it.
        if (role == 1 && static_cast<size_t>(r) != n)
            s.says("short write", r);
    }
    sum = sum_of(piece.data(), static_cast<long>(total));
    s.says(role == 0 ? "got all of" : "sent all of", total);
    s.says("  sum", sum);
}

// ---- Messages, told one by one

inline void prepare_messages(std::vector<object> &objects, int at[2], dice &d) {
    fresh(objects, at[0], d.one_in(2) ? k_message : k_packet, d);
}
inline void play_messages(side &s, int role, std::vector<object> &objects, const int at[2],
                          dice &d) {
    object &o = objects[static_cast<size_t>(at[0])];
    unsigned count = 1 + d.below(30);
    d = dice(count + 100 * static_cast<unsigned>(role));
    for (unsigned i = 0; i < count; ++i) {
        char buffer[700];
        size_t n = 1 + d.below(sizeof buffer);
        if (role == 1) {
            std::vector<char> bytes = patterned(n, i);
            s.says("send",
                   d.one_in(2) ? send(o.out, bytes.data(), n, 0) : write(o.out, bytes.data(), n));
            continue;
        }
        iovec part{buffer, n};
        msghdr m{};
        m.msg_iov = &part;
        m.msg_iovlen = 1;
        bool plain = d.one_in(2);
        ssize_t r = plain ? read(o.in, buffer, n) : recvmsg(o.in, &m, 0);
        s.says("message", r);
        s.says("  sum", r > 0 ? sum_of(buffer, r) : 0);
        s.says("  cut", plain ? 0 : m.msg_flags & MSG_TRUNC);
    }
}

// ---- An eventfd: posts and waits

inline void prepare_event(std::vector<object> &objects, int at[2], dice &d) {
    object &o = fresh(objects, at[0], k_event, d);
    o.shut();
    o.in = o.out = object::check(eventfd(0, EFD_SEMAPHORE));
}
inline void play_event(side &s, int role, std::vector<object> &objects, const int at[2], dice &d) {
    object &o = objects[static_cast<size_t>(at[0])];
    unsigned count = 1 + d.below(12);
    for (unsigned i = 0; i < count; ++i) {
        uint64_t value = 1;
        ssize_t r = role == 0 ? read(o.in, &value, 8) : write(o.out, &value, 8);
        s.says(role == 0 ? "wait" : "post", r);
        s.says("  value", value);
    }
}

// ---- One waits for readiness, one makes it

inline void prepare_ready(std::vector<object> &objects, int at[2], dice &d) {
    constexpr kind some[] = {k_pipe, k_stream, k_message, k_event};
    fresh(objects, at[0], some[d.below(4)], d);
    fresh(objects, at[1], some[d.below(4)], d);
}
inline void play_ready(side &s, int role, std::vector<object> &objects, const int at[2], dice &d) {
    object *o[2] = {&objects[static_cast<size_t>(at[0])], &objects[static_cast<size_t>(at[1])]};
    d.below(4);
    d.below(4); // as prepare did
    object &chosen = *o[d.below(2)];
    bool by_select = d.one_in(2);
    uint64_t value = 3;
    if (role == 1)
        return (void)s.says("make ready", write(chosen.out, &value, 8));
    if (by_select) {
        fd_set in;
        FD_ZERO(&in);
        FD_SET(o[0]->in, &in);
        FD_SET(o[1]->in, &in);
        s.says("select", select(std::max(o[0]->in, o[1]->in) + 1, &in, nullptr, nullptr, nullptr));
        s.says("  it", FD_ISSET(chosen.in, &in) ? 1 : 0);
    } else {
        pollfd p[2] = {{o[0]->in, POLLIN, 0}, {o[1]->in, POLLIN, 0}};
        s.says("poll", poll(p, 2, 60000));
        s.says("  revents", p[0].revents);
        s.says("  revents", p[1].revents);
    }
    s.says("read", read(chosen.in, &value, 8));
}

// ---- The end of a stream, after what was sent or in the middle of MSG_WAITALL

inline void play_end(side &s, int role, std::vector<object> &objects, const int at[2], dice &d) {
    object &o = objects[static_cast<size_t>(at[0])];
    size_t n = d.below(3) * d.below(2000);
    bool by_close = o.what == k_pipe || d.one_in(2);
    if (role == 1) {
        std::vector<char> bytes = patterned(n);
        s.says("send", write(o.out, bytes.data(), n));
        s.says("end", by_close ? close(o.out) : shutdown(o.out, SHUT_WR));
        if (by_close)
            o.out = -1;
        return;
    }
    std::vector<char> got(10000);
    size_t have = 0;
    ssize_t r;
    if (o.is_socket())
        r = recv(o.in, got.data(), got.size(), MSG_WAITALL), have = static_cast<size_t>(r);
    else
        while ((r = read(o.in, got.data() + have, got.size() - have)) > 0)
            have += static_cast<size_t>(r);
    s.says("until the end", have);
    s.says("  sum", sum_of(got.data(), static_cast<long>(have)));
    s.says("again", read(o.in, got.data(), 1));
}

// ---- A full pipe, and its reader goes. (A socket says ECONNRESET or EPIPE, as it was waited or not.)

inline void prepare_full(std::vector<object> &objects, int at[2], dice &d) {
    object &o = fresh(objects, at[0], k_pipe, d);
    std::vector<char> much(70000);
    int flags = fcntl(o.out, F_GETFL);
    fcntl(o.out, F_SETFL, flags | O_NONBLOCK);
    for (size_t n : {much.size(), size_t{4096}, size_t{1}}) // the last page, the last byte
        while (write(o.out, much.data(), n) > 0) {
        }
    fcntl(o.out, F_SETFL, flags);
}
inline void play_full(side &s, int role, std::vector<object> &objects, const int at[2], dice &) {
    object &o = objects[static_cast<size_t>(at[0])];
    if (role == 0) {
        int in = o.in;
        o.in = -1;
        return (void)s.says("the reader goes", close(in));
    }
    s.says("write", write(o.out, "x", 1));
    s.says("write", write(o.out, "x", 1));
}

// ---- connect and accept: over TCP

inline void prepare_connect(std::vector<object> &objects, int at[2], dice &d) {
    object &o = fresh(objects, at[0], k_event, d);
    o.shut();
    o.in = o.out = listener();
}
inline void play_connect(side &s, int role, std::vector<object> &objects, const int at[2],
                         dice &d) {
    object &o = objects[static_cast<size_t>(at[0])];
    bool accept_4 = d.one_in(2);
    size_t n = 1 + d.below(50000);
    std::vector<char> bytes = role == 0 ? std::vector<char>(n) : patterned(n);
    int fd;
    if (role == 0) {
        fd = accept_4 ? accept4(o.in, nullptr, nullptr, SOCK_CLOEXEC)
                      : accept(o.in, nullptr, nullptr);
        s.says("accept", fd >= 0 ? 1 : 0);
        s.says("recv", recv(fd, bytes.data(), n, MSG_WAITALL));
        s.says("  sum", sum_of(bytes.data(), static_cast<long>(n)));
        s.says("send", send(fd, "done", 4, 0));
        s.says("end", recv(fd, bytes.data(), n, 0));
        o.shut(); // the other has left it
        o.open(k_event, d);
    } else {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in to = loopback(port_of(o.in));
        s.says("connect", connect(fd, any(&to), sizeof to));
        s.says("send", send(fd, bytes.data(), n, 0));
        s.says("recv", recv(fd, bytes.data(), 4, MSG_WAITALL));
    }
    s.says("close", close(fd));
}

// ---- Two readers of one thing, each served once; the third writes twice the same

inline void prepare_two(std::vector<object> &objects, int at[2], dice &d) {
    fresh(objects, at[0], d.one_in(2) ? k_message : k_packet, d);
}
inline void play_two(side &s, int role, std::vector<object> &objects, const int at[2], dice &d) {
    object &o = objects[static_cast<size_t>(at[0])];
    char buffer[16] = {};
    if (role < 2)
        return told_bytes(s, "one of two", read(o.in, buffer, sizeof buffer), buffer);
    size_t n = 1 + d.below(16);
    std::vector<char> bytes = patterned(n);
    s.says("first", write(o.out, bytes.data(), n));
    s.says("second", write(o.out, bytes.data(), n));
}

// ---- Each sleeps a little, at the same time

inline void prepare_nothing(std::vector<object> &, int *, dice &) {}
inline void play_sleep(side &s, int role, std::vector<object> &, const int *, dice &d) {
    long ms = role == 0 ? 1 : 1 + static_cast<long>(d.below(2));
    timespec t{0, ms * 1000000};
    s.waited("nanosleep", ms, [&] { s.says("nanosleep", nanosleep(&t, nullptr)); });
    t.tv_nsec = -1;
    s.says("nanosleep", nanosleep(&t, nullptr));
}

inline const joint_step joint_steps[] = {
    {"transfer", 2, prepare_transfer, play_transfer},
    {"messages", 2, prepare_messages, play_messages},
    {"event", 2, prepare_event, play_event},
    {"readiness", 2, prepare_ready, play_ready},
    {"the end", 2, prepare_transfer, play_end},
    {"full", 2, prepare_full, play_full},
    {"connect", 2, prepare_connect, play_connect},
    {"two readers", 3, prepare_two, play_two},
    {"sleep", 2, prepare_nothing, play_sleep},
};
inline const unsigned joint_step_count = sizeof joint_steps / sizeof joint_steps[0];

} // namespace random_program
