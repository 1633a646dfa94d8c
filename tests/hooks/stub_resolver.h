// SPDX-License-Identifier: Apache-2.0
// A name server on 127.0.0.1 that takes its time, and a _res that leads to it. Its answers:
//
//     h<n>.test         A 10.0.<n / 256>.<n % 256>, no AAAA
//     10.0.a.b (PTR)    h<n>.test
//     anything else     NXDOMAIN
#pragma once

#include <arpa/inet.h>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <netinet/in.h>
#include <poll.h>
#include <resolv.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

class stub_resolver {
  public:
    explicit stub_resolver(int delay_ms) : delay_(delay_ms) {
        fd_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sockaddr_in a{};
        a.sin_family = AF_INET;
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t n = sizeof a;
        if (bind(fd_, reinterpret_cast<sockaddr *>(&a), sizeof a) != 0 ||
            getsockname(fd_, reinterpret_cast<sockaddr *>(&a), &n) != 0)
            abort();
        address_ = a;
        thread_ = std::thread([this] { serve(); });
    }
    ~stub_resolver() {
        stop_ = true;
        thread_.join();
        close(fd_);
    }
    // The calling thread's resolver asks here from now on.
    void use() const {
        if (_res.options & RES_INIT)
            res_nclose(&_res);
        memset(&_res, 0, sizeof _res);
        res_init();
        set(&_res);
    }
    void set(res_state s) const {
        s->nscount = 1;
        s->nsaddr_list[0] = address_;
        s->retrans = 10;
        s->retry = 1;
        s->options &= ~static_cast<unsigned long>(RES_DNSRCH | RES_DEFNAMES);
    }
    // As without it.
    static void forget() {
        if (_res.options & RES_INIT)
            res_nclose(&_res);
        memset(&_res, 0, sizeof _res);
    }
    int most_at_once() const { return most_; }

  private:
    using clock = std::chrono::steady_clock;
    struct pending {
        clock::time_point due;
        sockaddr_in to;
        std::vector<unsigned char> reply;
    };

    void serve() {
        std::deque<pending> queue;
        while (!stop_) {
            pollfd p{fd_, POLLIN, 0};
            poll(&p, 1, queue.empty() ? 20 : 1);
            unsigned char q[1500];
            sockaddr_in from;
            socklen_t n = sizeof from;
            ssize_t got;
            while ((got = recvfrom(fd_, q, sizeof q, MSG_DONTWAIT,
                                   reinterpret_cast<sockaddr *>(&from), &n)) > 12)
                queue.push_back({clock::now() + delay_, from, answer(q, static_cast<size_t>(got))});
            most_ = std::max<int>(most_, static_cast<int>(queue.size()));
            while (!queue.empty() && queue.front().due <= clock::now()) {
                pending &f = queue.front();
                sendto(fd_, f.reply.data(), f.reply.size(), 0, reinterpret_cast<sockaddr *>(&f.to),
                       sizeof f.to);
                queue.pop_front();
            }
        }
    }

    static std::vector<unsigned char> answer(const unsigned char *q, size_t n) {
        std::string name;
        size_t at = 12;
        while (at < n && q[at] != 0) {
            name.append(reinterpret_cast<const char *>(q + at + 1), q[at]);
            name += '.';
            at += q[at] + 1U;
        }
        unsigned type = q[at + 1] * 256U + q[at + 2];
        std::vector<unsigned char> r(q, q + at + 5);
        auto put16 = [&r](unsigned v) {
            r.push_back(static_cast<unsigned char>(v >> 8));
            r.push_back(static_cast<unsigned char>(v));
        };
        r[2] = 0x81;
        r[3] = 0x80;
        memset(&r[6], 0, 6);
        unsigned host = 0, a, b;
        char end[16] = "";
        bool forward =
            sscanf(name.c_str(), "h%u.%15s", &host, end) == 2 && strcmp(end, "test.") == 0;
        bool back = sscanf(name.c_str(), "%u.%u.0.10.in-addr.%15s", &b, &a, end) == 3;
        if (!forward && !back) {
            r[3] = 0x83; // NXDOMAIN
            return r;
        }
        if ((forward && type != 1) || (back && type != 12))
            return r;
        r[7] = 1;
        put16(0xC00C);
        put16(type);
        put16(1);
        put16(0);
        put16(60);
        if (forward) {
            put16(4);
            for (unsigned v : {10U, 0U, host / 256, host % 256})
                r.push_back(static_cast<unsigned char>(v));
            return r;
        }
        std::string label = "h" + std::to_string(a * 256 + b);
        put16(static_cast<unsigned>(label.size()) + 7);
        r.push_back(static_cast<unsigned char>(label.size()));
        r.insert(r.end(), label.begin(), label.end());
        for (char c : {'\4', 't', 'e', 's', 't', '\0'})
            r.push_back(static_cast<unsigned char>(c));
        return r;
    }

    std::chrono::milliseconds delay_;
    int fd_;
    sockaddr_in address_{};
    std::atomic<bool> stop_{false};
    std::atomic<int> most_{0};
    std::thread thread_;
};
