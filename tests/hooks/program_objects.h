// SPDX-License-Identifier: Apache-2.0
// What random programs (program.h) are made of: dice, and objects to read and write.
#pragma once

#include "tests/hooks/both.h"
#include "tests/hooks/net.h"

#include <cstdint>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

namespace random_program {

// xorshift*: the same numbers everywhere.
class dice {
  public:
    explicit dice(uint64_t seed) : state_((seed + 1) * 0x9E3779B97F4A7C15ULL) {
        for (int i = 0; i < 4; ++i)
            below(2);
    }
    unsigned below(unsigned n) {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return static_cast<unsigned>((state_ * 0x2545F4914F6CDD1DULL) >> 33) % n;
    }
    bool one_in(unsigned n) { return below(n) == 0; }

  private:
    uint64_t state_;
};

enum kind { k_pipe, k_stream, k_message, k_packet, k_event, k_timer, k_file, kinds };

// in: where one reads, out: where one writes; both the same for all but pipes and sockets.
struct object {
    kind what = k_pipe;
    int in = -1, out = -1;

    bool is_socket() const { return what == k_stream || what == k_message || what == k_packet; }
    bool keeps_messages() const { return what == k_message || what == k_packet; }
    void open(kind k, dice &d) {
        what = k;
        int fd[2] = {-1, -1};
        constexpr int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
        if (k == k_pipe)
            check(d.one_in(2) ? pipe(fd) : pipe2(fd, O_CLOEXEC));
        else if (is_socket())
            check(socketpair(AF_UNIX, types[k - k_stream], 0, fd));
        else if (k == k_event)
            fd[0] = fd[1] = check(eventfd(0, d.one_in(2) ? EFD_SEMAPHORE : 0));
        else if (k == k_timer)
            fd[0] = fd[1] = check(timerfd_create(CLOCK_MONOTONIC, 0));
        else
            fd[0] = fd[1] = check(memfd_create("random program", 0));
        in = fd[0];
        out = fd[1];
    }
    void shut() {
        if (in >= 0)
            check(close(in));
        if (out >= 0 && out != in)
            check(close(out));
        in = out = -1;
    }
    static int check(int r) {
        if (r < 0)
            abort();
        return r;
    }
};

// The bytes that go through everything; a sum tells them from others.
inline unsigned char pattern(uint64_t at) {
    return static_cast<unsigned char>(at * 131 + (at >> 8));
}
inline uint64_t sum_of(const void *bytes, long n, uint64_t sum = 0) {
    const unsigned char *p = static_cast<const unsigned char *>(bytes);
    for (long i = 0; i < n; ++i)
        sum = sum * 31 + p[i];
    return sum;
}
inline std::vector<char> patterned(size_t n, uint64_t from = 0) {
    std::vector<char> v(n);
    for (size_t i = 0; i < n; ++i)
        v[i] = static_cast<char>(pattern(from + i));
    return v;
}

} // namespace random_program
