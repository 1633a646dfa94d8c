// SPDX-License-Identifier: Apache-2.0
// select: the kernel itself says what is ready, by a call with no time to wait; only the waiting is
// done as poll. So the results, the bits and the errors are the kernel's.
#include "co_hook/calls/signal_mask.h"
#include "co_hook/calls/wait.h"

#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/resource.h>

namespace corun::calls {
namespace {

constexpr wait_kind select_kind{"select", false, abandon_poll_wait};
constexpr wait_kind pause_kind{"select", false, nullptr};

constexpr int most_descriptors = 1 << 20;
constexpr unsigned word_bits = 8 * sizeof(long);

// The three sets as the caller gave them, then the pollfd array.
struct three_sets {
    fd_set *user[3];
    size_t bytes; // of each
    char *saved;

    bool save() {
        for (size_t i = 0; i < 3; ++i) {
            if (!user[i])
                continue;
            if (!can_read(user[i], bytes))
                return false;
            memcpy(saved + i * bytes, user[i], bytes);
        }
        return true;
    }
    void restore() {
        for (size_t i = 0; i < 3; ++i)
            if (user[i])
                memcpy(user[i], saved + i * bytes, bytes);
    }
    bool has(size_t set, int fd) const {
        const char *bits = saved + set * bytes;
        return user[set] && (bits[fd / 8] >> (fd % 8) & 1);
    }
};

word look(int count, const three_sets &sets, const void *mask) {
    sys::kernel_timespec at_once{0, 0}; // the kernel writes what is left
    struct {
        const void *mask;
        size_t bytes;
    } with_size{mask, sys::sigset_bytes};
    return sys::call(sys::nr_pselect6, count, sets.user[0], sets.user[1], sets.user[2], &at_once,
                     mask ? &with_size : nullptr);
}

size_t fill(pollfd *fds, int count, const three_sets &sets) {
    constexpr short events[3] = {POLLIN | POLLRDNORM, POLLOUT | POLLWRNORM, POLLPRI};
    size_t n = 0;
    for (int fd = 0; fd < count; ++fd) {
        short wanted = 0;
        for (size_t i = 0; i < 3; ++i)
            if (sets.has(i, fd))
                wanted = static_cast<short>(wanted | events[i]);
        if (!wanted)
            continue;
        if (fds)
            fds[n] = {fd, wanted, 0};
        ++n;
    }
    return n;
}

word wait_and_look(int count, three_sets &sets, pollfd *fds, size_t n, int64_t deadline_ns,
                   const void *mask) {
    int64_t beat_ns = mask_lets_more_in(mask) ? mask_beat_ns : 0, pause_ns = 0;
    for (;;) {
        int64_t until = deadline_ns;
        if (beat_ns != 0 && deadline_ns - beat_ns > now_ns())
            until = now_ns() + beat_ns;
        word r = wait_for_poll(select_kind, fds, n, until);
        sets.restore(); // also for an error: it leaves them as they were
        if (r < 0)
            return r;
        word ready = look(count, sets, mask);
        if (ready != 0)
            return ready;
        int64_t now = now_ns();
        if (now >= deadline_ns)
            return 0;
        if (r == 0)
            continue;
        // poll reports a hang-up that select has no set for: only time can pass.
        pause_ns = pause_ns < 10 * ns_per_ms ? pause_ns + ns_per_ms : pause_ns;
        until = deadline_ns - now > pause_ns ? now + pause_ns : deadline_ns;
        int e = park(pause_kind, {}, until);
        if (e == -ECANCELED || e == -ENOMEM) {
            sets.restore();
            return e;
        }
    }
}

} // namespace

size_t bytes_of_select_set(int *count) {
    uint64_t limits[2] = {};
    word known = sys::call(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, limits);
    int most =
        known == 0 && limits[0] < most_descriptors ? static_cast<int>(limits[0]) : most_descriptors;
    *count = *count < most ? *count : most;
    return (static_cast<size_t>(*count) + word_bits - 1) / word_bits * sizeof(long);
}

word select(int count, fd_set *readable, fd_set *writable, fd_set *exceptional, int64_t timeout_ns,
            const void *mask) {
    three_sets sets{{readable, writable, exceptional}, 0, nullptr};
    if (timeout_ns == 0 || count < 0)
        return look(count, sets, mask);
    int64_t deadline_ns = timeout_ns < 0 ? no_deadline : deadline_in(timeout_ns);
    int looked_at = count;
    sets.bytes = bytes_of_select_set(&looked_at);
    pool_block saved(3 * sets.bytes + 1);
    if (!saved.data())
        return -ENOMEM;
    sets.saved = saved.data();
    if (!sets.save())
        return -EFAULT;
    word r = look(count, sets, mask);
    if (r != 0)
        return r;
    size_t n = fill(nullptr, looked_at, sets);
    pool_block array(n * sizeof(pollfd) + 1);
    if (!array.data())
        return -ENOMEM;
    pollfd *fds = reinterpret_cast<pollfd *>(array.data());
    fill(fds, looked_at, sets);
    return wait_and_look(count, sets, fds, n, deadline_ns, mask);
}

} // namespace corun::calls
