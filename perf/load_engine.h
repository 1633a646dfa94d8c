// SPDX-License-Identifier: Apache-2.0
/*
 * load_engine.h - the engine of echo_load: many TCP connections to a server on 127.0.0.1, each sending
 * random payloads and checking every byte that comes back.
 *
 *     perf::load_options options;
 *     options.port = 7000;
 *     perf::echo_load load(options);
 *     if (load.connect_all())
 *         load.run();
 *     perf::load_result r = load.result();
 *
 * Rules
 *  - One thread, no corun. A connection has at most one request under way (load_requests.h).
 *  - A connection counts as made when its first payload has come back: the server has then accepted
 *    it and serves it, and the measured time starts with everything in place.
 *  - Whatever is wrong (a byte, a surplus byte, an end of stream, a reset, no answer) is an error;
 *    the first ten are described on stderr.
 *  - Latency is from the first send to the last byte, so it holds the waiting that comes from having
 *    all connections active at once.
 */
#ifndef CORUN_PERF_LOAD_ENGINE_H
#define CORUN_PERF_LOAD_ENGINE_H

#include "perf/latency.h"
#include "perf/load_requests.h"
#include "perf/load_types.h"
#include "perf/net.h"
#include "perf/process.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <vector>

namespace perf {

class echo_load {
  public:
    explicit echo_load(const load_options &options);
    ~echo_load();
    echo_load(const echo_load &) = delete;
    echo_load &operator=(const echo_load &) = delete;

    // Called about every `seconds` seconds.
    void on_progress(double seconds, std::function<void(const load_progress &)> report);

    // False when nothing useful can follow: no connection at all, or not all in time.
    bool connect_all();
    void run();
    // Asks run or connect_all to end early; safe in a signal handler.
    void interrupt() { interrupted_ = 1; }
    bool was_interrupted() const { return interrupted_ != 0; }
    load_result result() const;

  private:
    static constexpr size_t openings_at_once = 256; // well below any listen backlog
    static constexpr size_t connections_per_source = 20000;
    static constexpr uint64_t errors_described = 10;

    enum class phase { connecting, running, draining };
    enum class state : uint8_t { closed, opening, greeting, idle, busy };

    struct connection : load_request {
        int fd = -1;
        state is = state::closed;
        bool waits_to_send = false;
        uint64_t begun_ns = 0;
    };

    bool open_connection(size_t index);
    void begin_request(connection &c, uint64_t now);
    void send_more(connection &c);
    void receive(connection &c);
    void complete(connection &c, uint64_t now);
    void handle(const epoll_event &event);
    void wait_and_handle(int timeout_ms);
    void watch(connection &c, uint32_t events);
    void lose(connection &c, const char *what, int error);
    void compare(connection &c, const char *got, size_t n);
    void report_progress(uint64_t now);
    bool describe_error();
    size_t index_of(const connection &c) const;

    load_options options_;
    request_source source_;
    std::unique_ptr<connection[]> connections_;
    std::vector<uint32_t> idle_; // connected, without a request under way
    latency_histogram latency_;
    std::function<void(const load_progress &)> report_;
    double report_every_ = 0;
    uint64_t next_report_ns_ = 0, last_report_ns_ = 0, last_report_requests_ = 0;
    int epoll_ = -1;
    volatile sig_atomic_t interrupted_ = 0;

    phase phase_ = phase::connecting;
    size_t opening_ = 0, connected_ = 0, refused_ = 0, under_way_ = 0;
    uint64_t start_ns_ = 0, end_ns_ = 0, begun_ = 0, completed_ = 0, total_completed_ = 0;
    uint64_t setup_ns_ = 0, measured_ns_ = 0, measured_requests_ = 0;
    uint64_t bytes_verified_ = 0, wrong_bytes_ = 0, errors_ = 0, described_ = 0;
};

inline echo_load::echo_load(const load_options &options) : options_(options), source_(options) {
    connections_ = std::make_unique<connection[]>(options_.connections);
    if (options_.active == 0 || options_.active > options_.connections)
        options_.active = options_.connections;
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
}

inline echo_load::~echo_load() {
    for (size_t i = 0; i < options_.connections; i++)
        if (connections_[i].fd >= 0)
            close(connections_[i].fd);
    if (epoll_ >= 0)
        close(epoll_);
}

inline void echo_load::on_progress(double seconds,
                                   std::function<void(const load_progress &)> report) {
    report_every_ = seconds;
    report_ = std::move(report);
}

inline size_t echo_load::index_of(const connection &c) const {
    return static_cast<size_t>(&c - connections_.get());
}

inline bool echo_load::describe_error() {
    errors_++;
    if (described_ == errors_described)
        fprintf(stderr, "echo_load: further errors are counted only\n");
    return described_++ < errors_described;
}

inline void echo_load::lose(connection &c, const char *what, int error) {
    bool new_one = c.is == state::opening || c.is == state::greeting;
    if (new_one) {
        refused_++;
        opening_--;
    } else {
        connected_--;
        if (c.is == state::busy)
            under_way_--;
    }
    if (!(new_one && options_.allow_fewer) && describe_error())
        fprintf(stderr, "echo_load: connection %zu: %s%s%s\n", index_of(c), what,
                error != 0 ? ": " : "", error != 0 ? strerror(error) : "");
    if (c.is == state::idle)
        idle_.erase(std::find(idle_.begin(), idle_.end(), static_cast<uint32_t>(index_of(c))));
    if (c.fd >= 0)
        close(c.fd);
    c.fd = -1;
    c.is = state::closed;
}

// One source address has about 28,000 ports; each 20,000 connections get an address of their own.
inline bool echo_load::open_connection(size_t index) {
    connection &c = connections_[index];
    c.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    c.is = state::opening;
    opening_++;
    if (c.fd < 0) {
        lose(c, "socket", errno);
        return false;
    }
    int on = 1;
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    if (index >= connections_per_source) {
        setsockopt(c.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        address.sin_addr.s_addr =
            htonl(INADDR_LOOPBACK + static_cast<uint32_t>(index / connections_per_source));
        if (bind(c.fd, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0) {
            lose(c, "bind", errno);
            return false;
        }
    }
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(options_.port));
    if (connect(c.fd, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0 &&
        errno != EINPROGRESS) {
        lose(c, "connect", errno);
        return false;
    }
    epoll_event event = {};
    event.events = EPOLLOUT;
    event.data.u64 = index;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event) != 0) {
        lose(c, "epoll_ctl", errno);
        return false;
    }
    return true;
}

inline void echo_load::watch(connection &c, uint32_t events) {
    epoll_event event = {};
    event.events = events;
    event.data.u64 = index_of(c);
    if (epoll_ctl(epoll_, EPOLL_CTL_MOD, c.fd, &event) != 0)
        lose(c, "epoll_ctl", errno);
}

inline void echo_load::begin_request(connection &c, uint64_t now) {
    source_.compose(&c, index_of(c));
    c.begun_ns = now;
    send_more(c);
}

inline void echo_load::send_more(connection &c) {
    ssize_t n = send(c.fd, c.question + c.sent, c.question_size - c.sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        lose(c, "send", errno);
        return;
    }
    if (n > 0)
        c.sent += static_cast<uint32_t>(n);
    bool waits = c.sent < c.question_size;
    if (waits != c.waits_to_send) {
        c.waits_to_send = waits;
        watch(c, waits ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

inline void echo_load::compare(connection &c, const char *got, size_t n) {
    bytes_verified_ += n;
    difference d = source_.compare(c, got, n);
    if (d.wrong == 0)
        return;
    wrong_bytes_ += d.wrong;
    if (!describe_error())
        return;
    if (d.first == d.due)
        fprintf(stderr, "echo_load: connection %zu: %zu bytes more than are due\n", index_of(c),
                n - d.due);
    else
        fprintf(stderr, "echo_load: connection %zu: byte %zu of %u is 0x%02x, 0x%02x is right\n",
                index_of(c), c.received + d.first, c.answer_size,
                static_cast<unsigned char>(got[d.first]),
                static_cast<unsigned char>(c.answer[c.received + d.first]));
}

inline void echo_load::receive(connection &c) {
    static char buffer[64 * 1024];
    // One byte more than is due, so that a surplus shows; on an idle connection anything does.
    size_t due = c.is == state::idle ? 0 : c.answer_size - c.received;
    ssize_t n = recv(c.fd, buffer, std::min(sizeof buffer, due + 1), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lose(c, n == 0 ? "closed by the server" : "recv", n == 0 ? 0 : errno);
        return;
    }
    if (c.is == state::idle) {
        wrong_bytes_ += static_cast<uint64_t>(n);
        lose(c, "bytes that nobody asked for", 0);
        return;
    }
    compare(c, buffer, static_cast<size_t>(n));
    c.received += static_cast<uint32_t>(n);
    if (c.received >= c.answer_size)
        complete(c, now_ns());
}

inline void echo_load::complete(connection &c, uint64_t now) {
    if (c.is == state::greeting) {
        opening_--;
        connected_++;
        c.is = state::idle;
        idle_.push_back(static_cast<uint32_t>(index_of(c)));
        return;
    }
    latency_.add(now - c.begun_ns);
    completed_++;
    total_completed_++;
    bool more = phase_ == phase::running && (options_.requests == 0 || begun_ < options_.requests);
    if (more && idle_.empty()) {
        begun_++;
        begin_request(c, now);
        return;
    }
    under_way_--;
    c.is = state::idle;
    if (!more) {
        idle_.push_back(static_cast<uint32_t>(index_of(c)));
        return;
    }
    // Fewer active than connected: the turn goes to a random one of those that have none.
    size_t place = source_.random() % idle_.size();
    connection &next = connections_[idle_[place]];
    idle_[place] = static_cast<uint32_t>(index_of(c));
    next.is = state::busy;
    under_way_++;
    begun_++;
    begin_request(next, now);
}

inline void echo_load::handle(const epoll_event &event) {
    connection &c = connections_[event.data.u64];
    if (c.is == state::closed)
        return;
    if (c.is == state::opening) {
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(c.fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error != 0) {
            lose(c, "connect", error);
            return;
        }
        c.is = state::greeting;
        watch(c, EPOLLIN);
        if (c.is == state::greeting)
            begin_request(c, now_ns());
        return;
    }
    if (c.waits_to_send && (event.events & EPOLLOUT))
        send_more(c);
    if (c.is != state::closed && (event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        receive(c);
}

inline void echo_load::wait_and_handle(int timeout_ms) {
    static epoll_event events[512];
    int n = epoll_wait(epoll_, events, 512, timeout_ms);
    for (int i = 0; i < n; i++)
        handle(events[i]);
}

inline void echo_load::report_progress(uint64_t now) {
    if (!report_ || now < next_report_ns_)
        return;
    next_report_ns_ = now + static_cast<uint64_t>(report_every_ * 1e9);
    load_progress p = {};
    p.connecting = phase_ == phase::connecting;
    p.elapsed = p.connecting ? 0 : static_cast<double>(now - start_ns_) / 1e9;
    p.seconds = options_.warmup + options_.seconds;
    p.connected = connected_;
    p.requests = total_completed_;
    if (last_report_ns_ != 0 && now > last_report_ns_)
        p.requests_per_s =
            static_cast<uint64_t>(static_cast<double>(total_completed_ - last_report_requests_) *
                                  1e9 / static_cast<double>(now - last_report_ns_));
    p.bytes = bytes_verified_;
    p.errors = errors_;
    last_report_ns_ = now;
    last_report_requests_ = total_completed_;
    report_(p);
}

inline bool echo_load::connect_all() {
    uint64_t start = now_ns();
    uint64_t deadline = start + static_cast<uint64_t>(options_.setup_timeout * 1e9);
    size_t next = 0;
    idle_.reserve(options_.connections);
    while ((next < options_.connections || opening_ > 0) && !interrupted_) {
        while (next < options_.connections && opening_ < openings_at_once)
            open_connection(next++);
        if (opening_ > 0)
            wait_and_handle(100);
        uint64_t now = now_ns();
        report_progress(now);
        // A server that is not there refuses all: no reason to try ten thousand times.
        bool hopeless = connected_ == 0 && refused_ >= openings_at_once;
        if (now < deadline && !hopeless)
            continue;
        fprintf(stderr, "echo_load: %zu of %zu connections after %.1f s, %zu refused\n", connected_,
                options_.connections, static_cast<double>(now - start) / 1e9, refused_);
        if (!options_.allow_fewer || connected_ == 0) {
            errors_++;
            return false;
        }
        for (size_t i = 0; i < next; i++)
            if (connections_[i].is == state::opening || connections_[i].is == state::greeting)
                lose(connections_[i], "too slow", 0);
        refused_ += options_.connections - next;
        break;
    }
    setup_ns_ = now_ns() - start;
    return connected_ > 0;
}

inline void echo_load::run() {
    phase_ = phase::running;
    start_ns_ = now_ns();
    uint64_t measure_from = start_ns_ + static_cast<uint64_t>(options_.warmup * 1e9);
    end_ns_ = measure_from + static_cast<uint64_t>(options_.seconds * 1e9);
    bool warm = measure_from > start_ns_;
    while (under_way_ < options_.active && !idle_.empty() &&
           (options_.requests == 0 || begun_ < options_.requests)) {
        size_t place = source_.random() % idle_.size();
        connection &c = connections_[idle_[place]];
        idle_[place] = idle_.back();
        idle_.pop_back();
        c.is = state::busy;
        under_way_++;
        begun_++;
        begin_request(c, now_ns());
    }
    uint64_t now = now_ns();
    while (now < end_ns_ && under_way_ > 0 && !interrupted_) {
        if (warm && now >= measure_from) {
            warm = false;
            measure_from = now;
            latency_.clear();
            completed_ = 0;
        }
        wait_and_handle(20);
        now = now_ns();
        report_progress(now);
    }
    measured_ns_ = now - (warm ? start_ns_ : measure_from);
    measured_requests_ = completed_;
    phase_ = phase::draining;
    uint64_t give_up = now + static_cast<uint64_t>(options_.answer_timeout * 1e9);
    while (under_way_ > 0 && now < give_up && !interrupted_) {
        wait_and_handle(20);
        now = now_ns();
    }
    if (under_way_ > 0 && !interrupted_) {
        errors_ += under_way_;
        fprintf(stderr, "echo_load: %zu requests without an answer after %.1f s\n", under_way_,
                options_.answer_timeout);
    }
}

inline load_result echo_load::result() const {
    load_result r = {};
    r.connections = connected_;
    r.refused = refused_;
    r.setup_seconds = static_cast<double>(setup_ns_) / 1e9;
    r.seconds = static_cast<double>(measured_ns_) / 1e9;
    r.requests = measured_requests_;
    r.requests_in_all = total_completed_;
    r.requests_per_s = measured_ns_ == 0 ? 0 : static_cast<double>(r.requests) / r.seconds;
    r.p50_ns = latency_.quantile(0.50);
    r.p99_ns = latency_.quantile(0.99);
    r.p999_ns = latency_.quantile(0.999);
    r.max_ns = latency_.max();
    r.bytes_verified = bytes_verified_;
    r.wrong_bytes = wrong_bytes_;
    r.errors = errors_;
    return r;
}

} // namespace perf

#endif
