// SPDX-License-Identifier: Apache-2.0
/*
 * load_protocols.h - what load_prog says to a server, and which bytes have to come back.
 *
 * Rules
 *  - A protocol has no state: what it must remember about a connection stands in `conversation`.
 *  - greet and answer are called after each arrival, with all that has arrived and was not taken yet
 *    (in). They take what they understand, set out when something is to be sent, and say what comes.
 *  - Every byte of an answer is compared; of headers that a proxy writes in its own way, the status.
 */
#ifndef CORUN_TESTS_SERVERS_LOAD_PROTOCOLS_H
#define CORUN_TESTS_SERVERS_LOAD_PROTOCOLS_H

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

namespace load {

enum class verdict { more, next, done, wrong };

struct conversation {
    std::string in, out, wanted;
    uint64_t number = 0; // of the connection
    unsigned step = 0;   // of the greeting, or how many requests it has made
};

// The same text for the same seed, of any bytes or of letters alone.
inline std::string random_text(uint64_t seed, size_t size, bool letters) {
    std::string text(size, 0);
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    for (char &c : text) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        c = static_cast<char>(letters ? 'a' + (x >> 32) % 26 : x >> 32);
    }
    return text;
}

inline std::string number(uint64_t value, int bytes) { // big end first
    std::string text;
    while (bytes-- > 0)
        text.push_back(static_cast<char>(value >> (8 * bytes)));
    return text;
}

struct protocol {
    int target = 0; // the port behind a proxy
    size_t size = 512;
    std::string body, path; // http
    virtual ~protocol() = default;
    virtual bool connection_per_request() const { return false; }
    virtual void hello(conversation &c) { request(c); } // the first request is the greeting
    virtual verdict greet(conversation &c) { return answer(c, false); }
    virtual void request(conversation &c) = 0;
    virtual verdict answer(conversation &c, bool end) { return exact(c, end); }

    static verdict exact(conversation &c, bool end) {
        size_t n = std::min(c.in.size(), c.wanted.size());
        if (c.in.size() > c.wanted.size() || memcmp(c.in.data(), c.wanted.data(), n) != 0)
            return verdict::wrong;
        if (n < c.wanted.size())
            return end ? verdict::wrong : verdict::more;
        c.in.clear();
        return verdict::done;
    }
};

struct echo : protocol {
    void request(conversation &c) override {
        uint64_t step = c.step++;
        c.out = c.wanted =
            random_text(c.number << 32 | step, 1 + (c.number + step * 37) % size, false);
    }
};

struct socks : echo {
    void hello(conversation &c) override { c.out = std::string("\5\1\0", 3); }
    verdict greet(conversation &c) override {
        if (c.step == 0) {
            if (c.in.size() < 2)
                return verdict::more;
            if (c.in != std::string("\5\0", 2))
                return verdict::wrong;
            c.in.clear();
            c.step = 1;
            c.out = std::string("\5\1\0\1\177\0\0\1", 8) + number(static_cast<uint64_t>(target), 2);
            return verdict::next;
        }
        if (c.in.size() < 10)
            return verdict::more;
        bool good = c.in.size() == 10 && c.in.compare(0, 3, std::string("\5\0\0", 3)) == 0;
        c.in.clear();
        return good ? verdict::done : verdict::wrong;
    }
};

struct tunnel : echo { // HTTP's CONNECT
    void hello(conversation &c) override {
        std::string to = "127.0.0.1:" + std::to_string(target);
        c.out = "CONNECT " + to + " HTTP/1.1\r\nHost: " + to + "\r\n\r\n";
    }
    verdict greet(conversation &c) override {
        if (c.in.size() < 4 || c.in.compare(c.in.size() - 4, 4, "\r\n\r\n") != 0)
            return verdict::more;
        bool good = c.in.compare(0, 7, "HTTP/1.") == 0 && c.in.compare(8, 5, " 200 ") == 0;
        c.in.clear();
        return good ? verdict::done : verdict::wrong;
    }
};

struct http : protocol {
    bool connection_per_request() const override { return true; }
    void hello(conversation &) override {}
    void request(conversation &c) override {
        c.step++;
        c.out = "GET " + (target ? "http://127.0.0.1:" + std::to_string(target) : "") + path +
                " HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n";
    }
    verdict answer(conversation &c, bool end) override {
        if (!end)
            return verdict::more;
        size_t headers = c.in.find("\r\n\r\n");
        bool good = headers != std::string::npos && c.in.compare(0, 7, "HTTP/1.") == 0 &&
                    c.in.compare(8, 5, " 200 ") == 0 &&
                    c.in.compare(headers + 4, std::string::npos, body) == 0;
        return good ? verdict::done : verdict::wrong;
    }
};

// The connection stays, one request after the other.
struct http_kept : http {
    bool connection_per_request() const override { return false; }
    void hello(conversation &c) override { request(c); }
    void request(conversation &c) override {
        c.step++;
        c.out = "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    }
    verdict answer(conversation &c, bool end) override {
        size_t headers = c.in.find("\r\n\r\n");
        if (headers == std::string::npos || c.in.size() < headers + 4 + body.size())
            return end ? verdict::wrong : verdict::more;
        bool good = c.in.compare(0, 13, "HTTP/1.1 200 ") == 0 &&
                    c.in.compare(headers + 4, std::string::npos, body) == 0;
        c.in.clear();
        return good ? verdict::done : verdict::wrong;
    }
};

// Each connection writes a place of its own and reads it back, seven times of eight.
struct nbd : protocol {
    void hello(conversation &) override {}
    verdict greet(conversation &c) override {
        if (c.step == 0) {
            if (c.in.size() < 18)
                return verdict::more;
            if (c.in.compare(0, 16, "NBDMAGICIHAVEOPT") != 0)
                return verdict::wrong;
            c.in.clear();
            c.step = 1;
            c.out = number(3, 4) + "IHAVEOPT" + number(1, 4) + number(0, 4); // the export ""
            return verdict::next;
        }
        if (c.in.size() < 10)
            return verdict::more;
        c.in.clear();
        c.step = 0;
        return verdict::done;
    }
    void request(conversation &c) override {
        bool writes = c.step % 8 == 0;
        std::string text = random_text(c.number << 32 | c.step / 8, size, false);
        std::string cookie = number(c.number << 32 | c.step, 8);
        c.out = number(0x25609513, 4) + number(0, 2) + number(writes, 2) + cookie +
                number(c.number * size, 8) + number(size, 4) + (writes ? text : "");
        c.wanted = number(0x67446698, 4) + number(0, 4) + cookie + (writes ? "" : text);
        c.step++;
    }
};

// hN.example.test is 10.0.N/256.N%256, for N below 1,000.
struct dns : protocol {
    void request(conversation &c) override {
        uint64_t n = (c.number * 7 + c.step) % 1000, id = (c.number + c.step * 251) & 0xffff;
        c.step++;
        std::string label = "h" + std::to_string(n);
        std::string question = number(label.size(), 1) + label + "\7example\4test" + number(0, 1) +
                               number(1, 2) + number(1, 2);
        std::string query = number(id, 2) + number(0, 2) + number(1, 2) + number(0, 6) + question;
        std::string reply = number(id, 2) + number(0x8400, 2) + number(1, 2) + number(1, 2) +
                            number(0, 4) + question + number(0xc00c, 2) + number(1, 2) +
                            number(1, 2) + number(3600, 4) + number(4, 2) + number(10, 1) +
                            number(n, 3);
        c.out = number(query.size(), 2) + query;
        c.wanted = number(reply.size(), 2) + reply;
    }
};

// The client's side of MariaDB's protocol: root without a password, one SELECT of a text a time.
struct mysql : protocol {
    void hello(conversation &) override {}
    static std::string packet(unsigned sequence, const std::string &payload) {
        std::string head = {static_cast<char>(payload.size()),
                            static_cast<char>(payload.size() >> 8), 0, static_cast<char>(sequence)};
        return head + payload;
    }
    // How many bytes of text are whole packets, and how many they are.
    static size_t whole_packets(const std::string &text, unsigned *count) {
        size_t at = 0;
        for (*count = 0; text.size() >= at + 4; ++*count) {
            auto byte = [&](size_t i) {
                return static_cast<size_t>(static_cast<unsigned char>(text[at + i]));
            };
            size_t length = 4 + (byte(0) | byte(1) << 8 | byte(2) << 16);
            if (text.size() < at + length)
                break;
            at += length;
        }
        return at;
    }
    verdict greet(conversation &c) override {
        unsigned packets;
        size_t whole = whole_packets(c.in, &packets);
        if (packets == 0)
            return verdict::more;
        char kind = c.in[4], sequence = c.in[3];
        bool single = packets == 1 && whole == c.in.size();
        c.in.clear();
        if (c.step == 0 && single && kind == 10) {
            c.step = 1;
            // CLIENT_PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH, LONG_PASSWORD, TRANSACTIONS
            std::string flags = {1, static_cast<char>(0xa2), 8, 0}, packet_limit = {0, 0, 0, 1};
            c.out = packet(1, flags + packet_limit + char(45) + std::string(23, 0) + "root" +
                                  char(0) + char(0) + "mysql_native_password" + char(0));
            return verdict::next;
        }
        if (c.step == 1 && single && kind == static_cast<char>(0xfe)) { // another way: no password
            c.out = packet(static_cast<unsigned>(sequence) + 1, "");
            return verdict::next;
        }
        c.step = 0;
        return single && kind == 0 ? verdict::done : verdict::wrong;
    }
    void request(conversation &c) override {
        c.wanted = random_text(c.number << 32 | c.step++, 64, true);
        c.out = packet(0, "\3SELECT '" + c.wanted + "' AS t");
    }
    verdict answer(conversation &c, bool end) override {
        unsigned packets;
        size_t whole = whole_packets(c.in, &packets);
        if (packets < 5 && !(packets > 0 && c.in[4] == static_cast<char>(0xff)))
            return end ? verdict::wrong : verdict::more;
        std::string row = packet(4, char(64) + c.wanted);
        std::string last = packet(5, std::string("\xfe\0\0\2\0", 5));
        bool good = whole == c.in.size() && packets == 5 &&
                    c.in.size() > row.size() + last.size() &&
                    c.in.compare(c.in.size() - last.size() - row.size(), row.size() + last.size(),
                                 row + last) == 0;
        c.in.clear();
        return good ? verdict::done : verdict::wrong;
    }
};

// The lines of example/legacy_server.
struct table : protocol {
    void request(conversation &c) override {
        std::string key = "c" + std::to_string(c.number);
        uint64_t round = c.step / 2;
        std::string text =
            random_text(c.number << 32 | round, 1 + (c.number + round * 37) % size, true);
        bool puts = c.step++ % 2 == 0;
        c.out = puts ? "put " + key + " " + text + "\n" : "get " + key + "\n";
        c.wanted = puts ? "ok\n" : "ok " + text + "\n";
    }
};

inline std::unique_ptr<protocol> protocol_by_name(const std::string &name) {
    if (name == "echo")
        return std::make_unique<echo>();
    if (name == "socks")
        return std::make_unique<socks>();
    if (name == "connect")
        return std::make_unique<tunnel>();
    if (name == "http")
        return std::make_unique<http>();
    if (name == "http-kept")
        return std::make_unique<http_kept>();
    if (name == "nbd")
        return std::make_unique<nbd>();
    if (name == "dns")
        return std::make_unique<dns>();
    if (name == "mysql")
        return std::make_unique<mysql>();
    if (name == "table")
        return std::make_unique<table>();
    return nullptr;
}

} // namespace load

#endif
