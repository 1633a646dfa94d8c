// SPDX-License-Identifier: Apache-2.0
/*
 * load_requests.h - what echo_load asks, and what the right answer is: for the echo protocol a payload
 * that comes back, for the table a line that stores one and then a line that gets it again.
 *
 * A payload is a slice of a pool of random bytes at a random offset, so two connections' payloads that
 * were exchanged do not compare equal.
 */
#ifndef CORUN_PERF_LOAD_REQUESTS_H
#define CORUN_PERF_LOAD_REQUESTS_H

#include "perf/load_types.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace perf {

struct load_request {
    bool has_put = false;          // table: the next request gets it back
    uint32_t offset = 0, size = 0; // the payload's place in the pool
    const char *question = nullptr, *answer = nullptr;
    uint32_t question_size = 0, answer_size = 0, sent = 0, received = 0;
    std::string text; // table: where question or answer stand
};

// Of what has come: how much of it was due, how many bytes are wrong or surplus, and the first such one.
struct difference {
    size_t due, wrong, first;
};

class request_source {
  public:
    explicit request_source(const load_options &options);

    uint64_t random();
    // The next one of a connection; the table's key is the connection's number.
    void compose(load_request *r, size_t connection);
    difference compare(const load_request &r, const char *got, size_t n) const;

  private:
    static constexpr size_t pool_bytes = 1 << 20;

    void compose_echo(load_request *r);
    void compose_line(load_request *r, const std::string &key);

    load_protocol protocol_;
    size_t size_min_, size_max_;
    std::vector<char> pool_;
    uint64_t random_state_;
};

inline request_source::request_source(const load_options &options)
    : protocol_(options.protocol), size_min_(options.size_min), size_max_(options.size_max),
      random_state_(options.seed * 0x9e3779b97f4a7c15u + 1) {
    pool_.resize(pool_bytes + size_max_);
    // A line of the table has no line ends in it: there the payload is letters, digits and blanks.
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .";
    for (size_t i = 0; i < pool_.size(); i++)
        pool_[i] = protocol_ == load_protocol::echo ? static_cast<char>(random() >> 56)
                                                    : letters[random() >> 58];
}

// splitmix64: fast, and the same sequence everywhere for one seed.
inline uint64_t request_source::random() {
    uint64_t z = random_state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

inline void request_source::compose(load_request *r, size_t connection) {
    if (protocol_ == load_protocol::echo)
        compose_echo(r);
    else
        compose_line(r, "c" + std::to_string(connection));
    r->sent = r->received = 0;
}

inline void request_source::compose_echo(load_request *r) {
    uint64_t some = random();
    r->offset = static_cast<uint32_t>(some % pool_bytes);
    r->size = static_cast<uint32_t>(size_min_ + (some >> 32) % (size_max_ - size_min_ + 1));
    r->question = r->answer = pool_.data() + r->offset;
    r->question_size = r->answer_size = r->size;
}

inline void request_source::compose_line(load_request *r, const std::string &key) {
    r->has_put = !r->has_put;
    static const char stored[] = "ok\n";
    if (r->has_put) {
        compose_echo(r);
        r->text = "put " + key + " ";
        r->text.append(r->question, r->size).push_back('\n');
        r->question = r->text.data();
        r->question_size = static_cast<uint32_t>(r->text.size());
        r->answer = stored;
        r->answer_size = sizeof stored - 1;
        return;
    }
    r->text = "get " + key + "\n";
    r->question_size = static_cast<uint32_t>(r->text.size());
    r->text.append("ok ").append(pool_.data() + r->offset, r->size).push_back('\n');
    r->question = r->text.data();
    r->answer = r->question + r->question_size;
    r->answer_size = static_cast<uint32_t>(r->text.size()) - r->question_size;
}

inline difference request_source::compare(const load_request &r, const char *got, size_t n) const {
    const char *wanted = r.answer + r.received;
    // An echo server has not seen yet what was not sent yet; the table answers whole lines.
    bool echo = protocol_ == load_protocol::echo;
    size_t due = std::min<size_t>(n, (echo ? r.sent : r.answer_size) - r.received);
    difference d = {due, n - due, due};
    if (memcmp(got, wanted, due) == 0)
        return d;
    for (size_t i = due; i-- > 0;)
        if (got[i] != wanted[i]) {
            d.wrong++;
            d.first = i;
        }
    return d;
}

} // namespace perf

#endif
