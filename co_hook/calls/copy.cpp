// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/copy.h"

#include "co_hook/calls/files.h"
#include "co_hook/calls/transfer.h"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace corun::calls {
namespace {

constexpr wait_kind sendfile_kind{"sendfile", false, abandon_fd_wait};
constexpr wait_kind splice_kind{"splice", false, abandon_fd_wait};
constexpr wait_kind tee_kind{"tee", false, abandon_fd_wait};
constexpr wait_kind vmsplice_kind{"vmsplice", false, abandon_fd_wait};
constexpr wait_kind range_kind{"copy_file_range", false, nullptr};
constexpr wait_kind nap_kind{"copy between descriptors", false, nullptr};

#if defined(__i386__)
constexpr long nr_sendfile = SYS_sendfile64;
#else
constexpr long nr_sendfile = SYS_sendfile;
#endif

// ---- Two sides -----------------------------------------------------------------------------------

bool is_ready(int fd, short events) {
    pollfd p{fd, events, 0};
    return sys::ppoll(&p, 1, &sys::at_once, nullptr) != 0;
}

// One end of a copy: a descriptor that is waited for, or a file, which is not.
class copy_side {
  public:
    copy_side(const wait_kind &kind, int fd, fd_direction d)
        : waiter_(kind, fd, d), fd_(fd), d_(d),
          waits_(fd >= 0 && kind_of(known_bits(fd)) != kind_file) {}

    // False: it is known that the call would say EAGAIN on account of this side.
    bool may() {
        if (!waits_ || fd_may(fd_, d_))
            return true;
        blocked_ = true;
        return false;
    }
    // After EAGAIN: is it this side?
    bool is_blocked() {
        if (waits_ && !is_ready(fd_, d_ == fd_read ? POLLIN : POLLOUT)) {
            fd_saw_eagain(fd_, d_);
            blocked_ = true;
        }
        return blocked_;
    }
    int wait() {
        blocked_ = false;
        return waiter_.wait();
    }
    void done() const {
        if (waits_)
            fd_done(fd_, d_);
    }

  private:
    fd_waiter waiter_;
    int fd_;
    fd_direction d_;
    bool waits_, blocked_ = false;
};

// attempt() until it does not say EAGAIN, waiting for the side that made it say so. looked: both sides
// are to be seen ready before it, because it would block for them.
template <class F>
word with_both_sides(const wait_kind &kind, int in, int out, bool looked, F attempt) {
    copy_side from(kind, in, fd_read), to(kind, out, fd_write);
    for (;;) {
        bool maybe = from.may() && to.may();
        if (maybe && looked)
            maybe = !from.is_blocked() && !to.is_blocked();
        if (maybe) {
            word r = attempt();
            if (r != -EAGAIN) {
                from.done();
                to.done();
                return r;
            }
        }
        int e;
        if (from.is_blocked()) {
            e = from.wait();
        } else if (to.is_blocked()) {
            from.done();
            e = to.wait();
        } else {
            e = park(nap_kind, {.object = nullptr}, deadline_in(ns_per_ms));
            e = e == -ETIMEDOUT ? 0 : e;
        }
        if (e > 0 || e == -EPERM) // the program made it non-blocking; or epoll does not know it
            return attempt();
        if (e < 0)
            return e;
    }
}

bool is_blocking_socket(int fd, uint32_t bits) {
    int64_t deadline;
    return is_socket(bits) && !surely_nonblocking(bits) &&
           blocking_deadline(fd, fd_write, &deadline) == 0;
}

// Another process or thread may take what poll has seen.
bool is_shared(uint32_t bits) { return (bits & (bit_foreign | bit_duplicated)) != 0; }

// ---- sendfile ------------------------------------------------------------------------------------

uint32_t generation_of(int fd) { return known_bits(fd) & ~(generation_one - 1U); }

word read_and_send(int out, int in, int64_t *offset, size_t count) {
    constexpr size_t piece = 64 * 1024;
    constexpr size_t most = 0x7ffff000; // in one call, by the kernel
    count = count < most ? count : most;
    pool_block block(count < piece ? count : piece);
    if (!block.data())
        return -ENOMEM;
    int64_t at = 0;
    if (offset && !user_read(offset, &at))
        return -EFAULT;
    if (!offset)
        if (word r = sys::lseek(in, 0, SEEK_CUR, &at))
            return r;
    uint32_t file = generation_of(in), socket = generation_of(out);
    size_t sent = 0;
    word r = 0;
    while (sent < count) {
        size_t n = count - sent < piece ? count - sent : piece;
        r = calls::pread(in, block.data(), n, at);
        if (r <= 0)
            break;
        if (generation_of(out) == socket)
            r = calls::sendto(out, block.data(), static_cast<size_t>(r), 0, nullptr, 0);
        else
            r = -EBADF;
        if (r < 0)
            break;
        sent += static_cast<size_t>(r);
        at += r;
        if (generation_of(in) != file) {
            r = -EBADF;
            break;
        }
    }
    if (sent > 0 && offset && !user_write(offset, at))
        return -EFAULT;
    if (sent > 0 && !offset && generation_of(in) == file)
        sys::lseek(in, at, SEEK_SET, &at);
    return sent > 0 ? partial(sent, r) : r;
}

// splice or copy_file_range. Both numbers stay open until the helper is done.
file_call between(const wait_kind &kind, long nr, int in, int64_t *in_offset, int out,
                  int64_t *out_offset, size_t n, unsigned flags) {
    return {.kind = kind,
            .nr = nr,
            .args = {in, sys::as_word(in_offset), out, sys::as_word(out_offset),
                     static_cast<long>(n), static_cast<long>(flags)},
            .by_fd = true,
            .second_fd = 2,
            .offset = 1,
            .second_offset = 3};
}

} // namespace

word sendfile(int out, int in, int64_t *offset, size_t count) {
    uint32_t from = known_bits(in), to = known_bits(out);
    const file_call as_it_is{.kind = sendfile_kind,
                             .nr = nr_sendfile,
                             .args = {out, in, sys::as_word(offset), static_cast<long>(count)},
                             .by_fd = true,
                             .second_fd = 1,
                             .offset = 2};
    if (kind_of(from) != kind_file || to == 0 || count == 0 || surely_nonblocking(to) ||
        (from & bit_no_read) || (to & bit_no_write))
        return sys::call(nr_sendfile, out, in, offset, count);
    switch (kind_of(to)) {
    case kind_file:
        return by_helper(as_it_is);
    case kind_pipe: {
        const file_call as_splice =
            between(sendfile_kind, SYS_splice, in, offset, out, nullptr, count, SPLICE_F_NONBLOCK);
        return with_both_sides(sendfile_kind, in, out, true, [&] { return by_helper(as_splice); });
    }
    case kind_tcp:
    case kind_stream:
        if (is_blocking_socket(out, to))
            return read_and_send(out, in, offset, count);
        return sys::call(nr_sendfile, out, in, offset, count);
    default:
        return by_helper(as_it_is, offload_own);
    }
}

word splice(int in, int64_t *in_offset, int out, int64_t *out_offset, size_t n, unsigned flags) {
    uint32_t from = known_bits(in), to = known_bits(out);
    const file_call call = between(splice_kind, SYS_splice, in, in_offset, out, out_offset, n,
                                   flags | SPLICE_F_NONBLOCK);
    auto here = [&] { return in_place(call); };
    auto on_helper = [&] { return by_helper(call); };
    auto on_own_helper = [&] { return by_helper(call, offload_own); };
    bool from_pipe = kind_of(from) == kind_pipe, to_pipe = kind_of(to) == kind_pipe;
    constexpr unsigned all_flags =
        SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;
    bool misused = (from_pipe && in_offset) || (to_pipe && out_offset) || (flags & ~all_flags) ||
                   (kind_of(to) == kind_file && (sys::fcntl(out, F_GETFL, 0) & O_APPEND));
    if (misused || from == 0 || to == 0 || n == 0 || (flags & SPLICE_F_NONBLOCK) ||
        (!from_pipe && !to_pipe) || (from & bit_no_read) || (to & bit_no_write))
        return sys::call(SYS_splice, in, in_offset, out, out_offset, n, flags);
    if (from_pipe && to_pipe)
        return with_both_sides(splice_kind, in, out, false, here);
    uint32_t other = from_pipe ? to : from;
    if (kind_of(other) == kind_file)
        return with_both_sides(splice_kind, in, out, true, on_helper);
    bool helped = from_pipe ? !is_socket(to) || is_blocking_socket(out, to)
                            : !is_socket(from) || is_shared(from);
    if (!helped)
        return with_both_sides(splice_kind, in, out, true, here);
    return with_both_sides(splice_kind, in, out, true, on_own_helper);
}

word tee(int in, int out, size_t n, unsigned flags) {
    uint32_t from = known_bits(in), to = known_bits(out);
    if (kind_of(from) != kind_pipe || kind_of(to) != kind_pipe || n == 0 ||
        (flags & SPLICE_F_NONBLOCK) || (from & bit_no_read) || (to & bit_no_write))
        return sys::call(SYS_tee, in, out, n, flags);
    return with_both_sides(tee_kind, in, out, false, [&] {
        return sys::call(SYS_tee, in, out, n, flags | SPLICE_F_NONBLOCK);
    });
}

namespace {
// The kernel would keep the pages themselves: on a shared stack they belong to whoever runs there.
bool stand_on_shared_stack(const iovec *parts, unsigned long count) {
    const coroutine *co = running_coroutine();
    if (!co || !co->shared_home())
        return false;
    for (unsigned long i = 0; i < count; ++i) {
        const char *p = static_cast<const char *>(parts[i].iov_base);
        if (p >= co->low_end() && p < co->high_end())
            return true;
    }
    return false;
}
} // namespace

word vmsplice(int pipe, const iovec *parts, unsigned long count, unsigned flags) {
    uint32_t bits = known_bits(pipe);
    if (kind_of(bits) != kind_pipe || count == 0 || count > most_parts ||
        !can_read(parts, count * sizeof *parts) || (flags & SPLICE_F_NONBLOCK))
        return sys::call(SYS_vmsplice, pipe, parts, count, flags);
    bool writes = (bits & bit_no_write) == 0;
    if (writes && stand_on_shared_stack(parts, count))
        return calls::writev(pipe, parts, static_cast<int>(count));
    return with_both_sides(vmsplice_kind, writes ? -1 : pipe, writes ? pipe : -1, false, [&] {
        return sys::call(SYS_vmsplice, pipe, parts, count, flags | SPLICE_F_NONBLOCK);
    });
}

word copy_file_range(int in, int64_t *in_offset, int out, int64_t *out_offset, size_t n,
                     unsigned flags) {
    if (kind_of(known_bits(in)) != kind_file || kind_of(known_bits(out)) != kind_file || n == 0)
        return sys::call(SYS_copy_file_range, in, in_offset, out, out_offset, n, flags);
    return by_helper(
        between(range_kind, SYS_copy_file_range, in, in_offset, out, out_offset, n, flags));
}

} // namespace corun::calls
