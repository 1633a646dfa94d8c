// SPDX-License-Identifier: Apache-2.0
/*
 * echo_epoll - the baseline: an echo server as one writes it by hand around epoll, one thread.
 *
 *     echo_epoll PORT [--edge]        PORT 0: the kernel chooses
 *
 * It is meant to be hard to beat: a connection is registered once, a request costs one recv, one send
 * and a share of an epoll_wait that brings up to 512 events, and there is one buffer for all
 * connections. Level-triggered is the default because it measures the same as --edge (a short read
 * proves the socket empty, so neither needs a second recv) and cannot lose an event.
 *
 * What a client does not take at once is kept for its connection, and nothing more is read from it
 * until that has gone out.
 */
#include "perf/net.h"
#include "perf/process.h"

#include <string>
#include <sys/epoll.h>
#include <vector>

namespace {

struct connection {
    std::string unsent;
};

class server {
  public:
    server(int listener, bool edge) : listener_(listener), edge_(edge) {}

    [[noreturn]] void run() {
        epoll_ = epoll_create1(EPOLL_CLOEXEC);
        epoll_event listen_event = {};
        listen_event.events = EPOLLIN;
        listen_event.data.fd = listener_;
        if (epoll_ < 0 || epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &listen_event) != 0)
            fail("epoll");
        static epoll_event events[512];
        for (;;) {
            int n = epoll_wait(epoll_, events, 512, -1);
            if (n < 0 && errno != EINTR)
                fail("epoll_wait");
            for (int i = 0; i < n; i++) {
                int fd = events[i].data.fd;
                if (fd == listener_)
                    accept_all();
                else if ((events[i].events & EPOLLOUT) && !table_[size_of(fd)].unsent.empty())
                    flush(fd);
                else
                    echo(fd);
            }
        }
    }

  private:
    static size_t size_of(int fd) { return static_cast<size_t>(fd); }

    [[noreturn]] static void fail(const char *what) {
        fprintf(stderr, "echo_epoll: %s: %s\n", what, strerror(errno));
        exit(1);
    }

    uint32_t events_for(bool unsent) const {
        if (edge_)
            return EPOLLIN | EPOLLOUT | EPOLLET;
        return unsent ? EPOLLOUT : EPOLLIN;
    }

    void accept_all() {
        for (;;) {
            int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd < 0) {
                if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
                    fail("accept");
                return;
            }
            if (table_.size() <= size_of(fd))
                table_.resize(size_of(fd) + 1);
            table_[size_of(fd)].unsent.clear();
            epoll_event event = {};
            event.events = events_for(false);
            event.data.fd = fd;
            if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0)
                fail("epoll_ctl");
        }
    }

    void watch(int fd, bool unsent) {
        if (edge_)
            return;
        epoll_event event = {};
        event.events = events_for(unsent);
        event.data.fd = fd;
        if (epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event) != 0)
            fail("epoll_ctl");
    }

    void echo(int fd) {
        static char buffer[perf::echo_buffer_bytes];
        for (;;) {
            ssize_t n = recv(fd, buffer, sizeof buffer, 0);
            if (n < 0 && errno == EAGAIN)
                return;
            if (n <= 0) {
                close(fd);
                return;
            }
            ssize_t sent = send(fd, buffer, static_cast<size_t>(n), MSG_NOSIGNAL);
            if (sent < 0 && errno != EAGAIN) {
                close(fd);
                return;
            }
            if (sent < n) {
                size_t from = sent < 0 ? 0 : static_cast<size_t>(sent);
                table_[size_of(fd)].unsent.assign(buffer + from, static_cast<size_t>(n) - from);
                watch(fd, true);
                return;
            }
            // Level-triggered: what is left is announced again. Edge-triggered: only a short read
            // proves that nothing is.
            if (!edge_ || static_cast<size_t>(n) < sizeof buffer)
                return;
        }
    }

    void flush(int fd) {
        std::string &unsent = table_[size_of(fd)].unsent;
        ssize_t sent = send(fd, unsent.data(), unsent.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            unsent.clear();
            close(fd);
            return;
        }
        if (sent > 0)
            unsent.erase(0, static_cast<size_t>(sent));
        if (!unsent.empty())
            return;
        watch(fd, false);
        if (edge_)
            echo(fd);
    }

    int listener_;
    bool edge_;
    int epoll_ = -1;
    std::vector<connection> table_;
};

} // namespace

int main(int argc, char **argv) {
    bool edge = argc == 3 && strcmp(argv[2], "--edge") == 0;
    if (argc < 2 || argc > 3 || (argc == 3 && !edge)) {
        fprintf(stderr, "usage: echo_epoll PORT [--edge]\n");
        return 2;
    }
    perf::require_native_calls("echo_epoll");
    perf::raise_fd_limit(RLIM_INFINITY);
    int port = static_cast<int>(perf::parse_number("PORT", argv[1], 0, 65535));
    int listener = perf::listen_on_loopback(port, &port);
    if (listener < 0 || fcntl(listener, F_SETFL, O_NONBLOCK) != 0) {
        fprintf(stderr, "echo_epoll: 127.0.0.1:%d: %s\n", port, strerror(errno));
        return 1;
    }
    perf::announce(port);
    server(listener, edge).run();
}
