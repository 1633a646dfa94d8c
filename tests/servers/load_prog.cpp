// SPDX-License-Identifier: Apache-2.0
/*
 * load_prog - holds many connections to a server on 127.0.0.1, keeps some of them busy, and checks
 * every byte. For the tests of servers under corun, and for perf/servers.
 *
 *     load_prog --protocol P --port N      echo socks connect http http-kept nbd dns mysql table
 *         --connections N   held (1000)           --active A    requests under way at a time (100)
 *         --seconds T       measured (5)          --warmup T    before that (0)
 *         --size BYTES      of a payload (512)    --path URL --body FILE    http: what comes back
 *         --openings N      connects under way at a time (200): below the server's backlog
 *         --backend         what a proxy leads to runs here: echo, or the body over HTTP; it prints
 *                           "backend PORT" and waits for a line (then --port may be that line)
 *         --backend-port N  on this port (any)
 *         --pause           prints "connected" and waits for a line; after the load prints its
 *                           result, and holds the connections until the next line
 *         --cpu C           on core C
 *
 * The result is one line of key=value. starved: connections without an answer in the measured time,
 * of those that had a request under way. 0: no error; 1: an error; 2: wrong usage.
 */
#include "tests/servers/load_backend.h"
#include "tests/servers/load_protocols.h"

#include "perf/latency.h"
#include "perf/net.h"
#include "perf/process.h"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <netinet/tcp.h>
#include <sstream>

namespace {

using load::verdict;

struct options {
    int port = 0;
    size_t connections = 1000, active = 100, openings = 200;
    double seconds = 5, warmup = 0;
    bool pause = false;
};

class engine {
  public:
    engine(const options &o, load::protocol &p) : options_(o), protocol_(p), all_(o.connections) {
        epoll_ = epoll_create1(EPOLL_CLOEXEC);
    }

    bool connect_all() {
        uint64_t deadline = perf::now_ns() + 60'000'000'000u;
        for (size_t next = 0; next < all_.size() || opening_ > 0;) {
            while (next < all_.size() && opening_ < options_.openings)
                open(next++);
            turn(50);
            if (perf::now_ns() > deadline || errors_ > 100) {
                complain(0, "not all connected in time", 0);
                return false;
            }
        }
        return errors_ == 0;
    }

    // Looks that nobody says anything unasked; then goes on with the line.
    void hold_until_line() {
        epoll_event event = {};
        event.events = EPOLLIN;
        event.data.u64 = from_stdin;
        epoll_ctl(epoll_, EPOLL_CTL_ADD, 0, &event);
        line_came_ = false;
        while (!line_came_)
            turn(1000);
        epoll_ctl(epoll_, EPOLL_CTL_DEL, 0, nullptr);
        std::string line;
        std::getline(std::cin, line);
    }

    void run() {
        running_ = true;
        uint64_t start = perf::now_ns(), from = start + ns(options_.warmup);
        uint64_t until = from + ns(options_.seconds), now = start;
        while (under_way_ < options_.active && !idle_.empty())
            begin_one();
        bool warm = true;
        while ((now = perf::now_ns()) < until) {
            if (warm && now >= from) {
                warm = false;
                from = now;
                latency_.clear();
                std::fill(answered_.begin(), answered_.end(), false);
            }
            turn(20);
        }
        measured_ = static_cast<double>(now - from) / 1e9;
        requests_ = latency_.count();
        for (size_t i = 0; i < all_.size(); i++)
            starved_ += all_[i].is == state::busy && !answered_[i];
        running_ = false;
        uint64_t give_up = now + 15'000'000'000u;
        while ((under_way_ > 0 || opening_ > 0) && perf::now_ns() < give_up)
            turn(20);
        for (size_t i = 0; i < all_.size(); i++)
            if (all_[i].is == state::busy)
                complain(i, "no answer in 15 s", 0);
    }

    int report() const {
        printf("result connections=%zu active=%zu requests=%llu requests_per_s=%.0f p50_us=%.0f "
               "p99_us=%.0f "
               "max_us=%.0f starved=%zu errors=%llu\n",
               all_.size(), options_.active, static_cast<unsigned long long>(requests_),
               measured_ > 0 ? static_cast<double>(requests_) / measured_ : 0.0,
               static_cast<double>(latency_.quantile(0.5)) / 1e3,
               static_cast<double>(latency_.quantile(0.99)) / 1e3,
               static_cast<double>(latency_.max()) / 1e3, starved_,
               static_cast<unsigned long long>(errors_));
        fflush(stdout);
        return errors_ != 0 || requests_ == 0;
    }

  private:
    enum class state : uint8_t { closed, opening, greeting, idle, busy };
    static constexpr uint64_t from_stdin = ~uint64_t{0};

    struct connection : load::conversation {
        int fd = -1;
        state is = state::closed;
        bool wants_request = false; // busy as soon as it is open
        size_t sent = 0;
        uint64_t begun = 0;
    };

    static uint64_t ns(double seconds) { return static_cast<uint64_t>(seconds * 1e9); }

    void complain(size_t i, const char *what, int error) {
        if (errors_++ < 10)
            fprintf(stderr, "load: connection %zu: %s%s%s\n", i, what, error ? ": " : "",
                    error ? strerror(error) : "");
    }

    void set_state(connection &c, state to) {
        opening_ -= c.is == state::opening || c.is == state::greeting;
        under_way_ -= c.is == state::busy;
        c.is = to;
        opening_ += c.is == state::opening || c.is == state::greeting;
        under_way_ += c.is == state::busy;
    }

    void lose(size_t i, const char *what, int error) {
        complain(i, what, error);
        connection &c = all_[i];
        if (c.is == state::idle)
            idle_.erase(std::find(idle_.begin(), idle_.end(), i));
        set_state(c, state::closed);
        if (c.fd >= 0)
            close(c.fd);
        c.fd = -1;
    }

    void watch(size_t i, int operation, uint32_t what) {
        epoll_event event = {};
        event.events = what;
        event.data.u64 = i;
        epoll_ctl(epoll_, operation, all_[i].fd, &event);
    }

    // One source address has 28,000 ports, and a port rests for a while after its connection.
    void open(size_t i) {
        connection &c = all_[i];
        c.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        c.in.clear();
        c.out.clear();
        c.sent = 0;
        c.number = i;
        set_state(c, state::opening);
        int on = 1;
        setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(c.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr =
            htonl(INADDR_LOOPBACK + static_cast<uint32_t>(opened_++ / 10000 % 16));
        bool bound = bind(c.fd, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(static_cast<uint16_t>(options_.port));
        if (!bound || (connect(c.fd, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0 &&
                       errno != EINPROGRESS)) {
            lose(i, "connect", errno);
            return;
        }
        watch(i, EPOLL_CTL_ADD, EPOLLOUT);
    }

    void opened(size_t i) {
        connection &c = all_[i];
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(c.fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error != 0) {
            lose(i, "connect", error);
            return;
        }
        if (protocol_.connection_per_request()) {
            ready(i);
            return;
        }
        set_state(c, state::greeting);
        protocol_.hello(c);
        send_more(i);
    }

    void ready(size_t i) { // connected and greeted
        connection &c = all_[i];
        watch(i, EPOLL_CTL_MOD, EPOLLIN);
        if (c.wants_request) {
            c.wants_request = false;
            begin(i, c.begun);
            return;
        }
        set_state(c, state::idle);
        idle_.push_back(i);
        if (running_ && under_way_ < options_.active)
            begin_one();
    }

    void begin(size_t i, uint64_t now) {
        set_state(all_[i], state::busy);
        all_[i].begun = now;
        all_[i].sent = 0;
        protocol_.request(all_[i]);
        send_more(i);
    }

    void begin_one() { // a random one of those that rest
        std::swap(idle_[static_cast<size_t>(rand()) % idle_.size()], idle_.back());
        size_t i = idle_.back();
        idle_.pop_back();
        begin(i, perf::now_ns());
    }

    void send_more(size_t i) {
        connection &c = all_[i];
        if (c.sent < c.out.size()) {
            ssize_t n = send(c.fd, c.out.data() + c.sent, c.out.size() - c.sent, MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN) {
                lose(i, "send", errno);
                return;
            }
            c.sent += n > 0 ? static_cast<size_t>(n) : 0;
        }
        uint32_t wanted = c.sent < c.out.size() ? EPOLLIN | EPOLLOUT : EPOLLIN;
        if (wanted != EPOLLIN || c.is == state::greeting)
            watch(i, EPOLL_CTL_MOD, wanted);
    }

    void receive(size_t i) {
        connection &c = all_[i];
        static char buffer[1 << 18];
        ssize_t n = recv(c.fd, buffer, sizeof buffer, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0 || c.is == state::idle || (n == 0 && c.is == state::greeting)) {
            lose(i,
                 n < 0    ? "recv"
                 : n == 0 ? "closed by the server"
                          : "bytes that nobody asked for",
                 n < 0 ? errno : 0);
            return;
        }
        c.in.append(buffer, static_cast<size_t>(n));
        verdict v = c.is == state::greeting ? protocol_.greet(c) : protocol_.answer(c, n == 0);
        if (v == verdict::wrong)
            lose(i,
                 c.is == state::greeting ? "a wrong greeting"
                 : n == 0                ? "a wrong answer, or cut off"
                                         : "a wrong answer",
                 0);
        else if (v == verdict::next)
            c.sent = 0, send_more(i);
        else if (v == verdict::done && c.is == state::greeting)
            ready(i);
        else if (v == verdict::done)
            complete(i);
    }

    void complete(size_t i) {
        connection &c = all_[i];
        uint64_t now = perf::now_ns();
        latency_.add(now - c.begun);
        answered_[i] = true;
        bool everybody = options_.active >= options_.connections;
        if (protocol_.connection_per_request()) {
            close(c.fd);
            set_state(c, state::closed);
            c.wants_request = running_ && everybody;
            c.begun = now;
            open(i);
        } else if (running_ && everybody) {
            begin(i, now);
            return;
        } else {
            set_state(c, state::idle);
            idle_.push_back(i);
        }
        if (running_ && !everybody && !idle_.empty())
            begin_one();
    }

    void turn(int timeout_ms) {
        epoll_event events[256];
        int n = epoll_wait(epoll_, events, 256, timeout_ms);
        for (int k = 0; k < n; k++) {
            size_t i = events[k].data.u64;
            if (events[k].data.u64 == from_stdin) {
                line_came_ = true;
                continue;
            }
            if (all_[i].is == state::opening) {
                opened(i);
                continue;
            }
            if ((events[k].events & EPOLLOUT) && all_[i].is != state::closed)
                send_more(i);
            if ((events[k].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && all_[i].is != state::closed)
                receive(i);
        }
    }

    const options options_;
    load::protocol &protocol_;
    std::vector<connection> all_;
    std::vector<bool> answered_ = std::vector<bool>(all_.size());
    std::vector<size_t> idle_;
    perf::latency_histogram latency_;
    int epoll_ = -1;
    bool running_ = false, line_came_ = false;
    size_t opening_ = 0, under_way_ = 0, starved_ = 0;
    uint64_t opened_ = 0, errors_ = 0, requests_ = 0;
    double measured_ = 0;
};

[[noreturn]] void usage(const char *why) {
    fprintf(stderr, "load_prog: %s\n", why);
    exit(2);
}

std::string wait_for_line() {
    std::string line;
    std::getline(std::cin, line);
    return line;
}

} // namespace

int main(int argc, char **argv) {
    options o;
    std::unique_ptr<load::protocol> protocol;
    std::string path = "/", body, name;
    bool backend = false;
    int backend_port = 0;
    size_t size = 512;
    for (int i = 1; i < argc; i++) {
        std::string option = argv[i];
        if (option == "--backend" || option == "--pause") {
            (option == "--pause" ? o.pause : backend) = true;
            continue;
        }
        if (++i == argc)
            usage("an option without its value");
        std::string value = argv[i];
        auto count = [&](long high) {
            return perf::parse_number(option.c_str(), argv[i], 0, high);
        };
        if (option == "--protocol") {
            protocol = load::protocol_by_name(name = value);
        } else if (option == "--port") {
            o.port = static_cast<int>(count(65535));
        } else if (option == "--backend-port") {
            backend_port = static_cast<int>(count(65535));
        } else if (option == "--connections") {
            o.connections = static_cast<size_t>(count(100000));
        } else if (option == "--active") {
            o.active = static_cast<size_t>(count(100000));
        } else if (option == "--openings") {
            o.openings = static_cast<size_t>(count(100000));
        } else if (option == "--seconds") {
            o.seconds = atof(argv[i]);
        } else if (option == "--warmup") {
            o.warmup = atof(argv[i]);
        } else if (option == "--size") {
            size = static_cast<size_t>(count(1 << 16));
        } else if (option == "--path") {
            path = value;
        } else if (option == "--body") {
            std::ostringstream all;
            all << std::ifstream(value, std::ios::binary).rdbuf();
            body = all.str();
        } else if (option == "--cpu") {
            perf::pin_to_cpu(static_cast<int>(count(1023)));
        } else {
            usage(("unknown option " + option).c_str());
        }
    }
    if (!protocol)
        usage("--protocol is missing or unknown");
    if (perf::raise_fd_limit(2 * o.connections + 1000) < 2 * o.connections + 100)
        usage("too few descriptors are allowed (ulimit -n)");
    protocol->size = size;
    protocol->path = path;
    protocol->body = body;
    if (backend) {
        int port = load::start_backend(name == "http" ? &body : nullptr, backend_port);
        printf("backend %d\n", port);
        fflush(stdout);
        protocol->target = port;
        std::string line = wait_for_line();
        if (!line.empty())
            o.port = atoi(line.c_str());
    }
    engine e(o, *protocol);
    if (!e.connect_all())
        return e.report(), 1;
    if (o.pause) {
        puts("connected");
        fflush(stdout);
        e.hold_until_line();
    }
    e.run();
    int status = e.report();
    if (o.pause)
        e.hold_until_line();
    fflush(nullptr);
    _exit(status); // the backend's thread goes with us
}
