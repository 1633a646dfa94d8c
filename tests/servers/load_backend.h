// SPDX-License-Identifier: Apache-2.0
/*
 * load_backend.h - what stands behind a proxy under test: a server on 127.0.0.1 that sends back what
 * it gets, or one that answers any HTTP request with one body and closes. A thread of its own, epoll.
 *
 *     int port = load::start_backend(nullptr);       // echo
 *     int port = load::start_backend(&body);         // HTTP
 */
#ifndef CORUN_TESTS_SERVERS_LOAD_BACKEND_H
#define CORUN_TESTS_SERVERS_LOAD_BACKEND_H

#include "perf/net.h"

#include <cerrno>
#include <fcntl.h>
#include <string>
#include <sys/epoll.h>
#include <thread>
#include <vector>

namespace load {

class backend {
  public:
    backend(int listener, const std::string *body) : listener_(listener), body_(body) {}

    void run() {
        epoll_ = epoll_create1(EPOLL_CLOEXEC);
        watch(listener_, EPOLL_CTL_ADD, EPOLLIN);
        for (;;) {
            epoll_event events[256];
            int n = epoll_wait(epoll_, events, 256, -1);
            for (int i = 0; i < n; i++)
                if (events[i].data.fd == listener_)
                    accept_all();
                else
                    serve(events[i].data.fd);
        }
    }

  private:
    void watch(int fd, int operation, uint32_t what) {
        epoll_event event = {};
        event.events = what;
        event.data.fd = fd;
        epoll_ctl(epoll_, operation, fd, &event);
    }
    void accept_all() {
        int fd;
        while ((fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
            if (pending_.size() <= static_cast<size_t>(fd))
                pending_.resize(static_cast<size_t>(fd) + 1);
            pending_[static_cast<size_t>(fd)].clear();
            watch(fd, EPOLL_CTL_ADD, EPOLLIN);
        }
    }
    // pending: of echo what is still to be sent, of HTTP what has come of the request.
    void serve(int fd) {
        std::string &pending = pending_[static_cast<size_t>(fd)];
        char buffer[65536];
        if (body_ == nullptr && !pending.empty()) {
            send_back(fd, pending);
            return;
        }
        ssize_t n = recv(fd, buffer, sizeof buffer, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            close(fd);
            return;
        }
        pending.append(buffer, static_cast<size_t>(n));
        if (body_ == nullptr)
            send_back(fd, pending);
        else if (pending.find("\r\n\r\n") != std::string::npos)
            answer(fd);
    }
    void send_back(int fd, std::string &pending) {
        ssize_t n = send(fd, pending.data(), pending.size(), MSG_NOSIGNAL);
        if (n > 0)
            pending.erase(0, static_cast<size_t>(n));
        watch(fd, EPOLL_CTL_MOD, pending.empty() ? EPOLLIN : EPOLLOUT);
    }
    void
    answer(int fd) { // small enough for the socket's buffer, but for a slow reader: then we wait
        std::string all =
            "HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: " +
            std::to_string(body_->size()) + "\r\nConnection: close\r\n\r\n" + *body_;
        fcntl(fd, F_SETFL, 0);
        for (size_t sent = 0; sent < all.size();) {
            ssize_t n = send(fd, all.data() + sent, all.size() - sent, MSG_NOSIGNAL);
            if (n <= 0)
                break;
            sent += static_cast<size_t>(n);
        }
        close(fd);
    }

    int listener_, epoll_ = -1;
    const std::string *body_;
    std::vector<std::string> pending_;
};

// Runs until the process ends. body must live as long.
inline int start_backend(const std::string *body, int wanted_port = 0) {
    int port = 0, listener = perf::listen_on_loopback(wanted_port, &port);
    if (listener < 0)
        return -1;
    fcntl(listener, F_SETFL, O_NONBLOCK);
    std::thread([=] { backend(listener, body).run(); }).detach();
    return port;
}

} // namespace load

#endif
