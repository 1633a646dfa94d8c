// SPDX-License-Identifier: Apache-2.0
// Reading and writing files.
//
//   reads    what is cached comes at once (RWF_NOWAIT), the rest by helpers. Where the file system
//            does not know RWF_NOWAIT: at once from memory, else by helpers.
//   writes   into the page cache, at once; by a helper when each waits for the disk or a server
//            (O_SYNC, O_DIRECT, RWF_DSYNC, FUSE), or when there are more than 512 KiB: that takes
//            longer than other coroutines should wait, and meets the kernel's dirty limits.
//
// A helper's call keeps its turn at the file position, or else the descriptor from being closed, until
// it is over: also when its coroutine has gone.
#include "co_hook/calls/file_speed.h"
#include "co_hook/calls/transfer.h"

#include "co_routine/loop/offload.h"

#include <cstring>
#include <new>

namespace corun::calls {
namespace {

constexpr size_t read_chunk = 1 << 20;      // by one call
constexpr size_t write_chunk = 64 << 20;    // the same; a write is not cut without need: appends
constexpr size_t inline_write = 512 * 1024; // measured: about 150 us

// A call that was given up, once nothing of it is under way: what it holds was its own.
void end_turn_late(int64_t, const long *args) { end_turn(static_cast<int>(args[0])); }
void end_use_late(int64_t, const long *args) { end_use(static_cast<int>(args[0])); }
// The same for offload_function.
void end_turn_of_late(int64_t, const long *args) { end_turn(static_cast<int>(args[1])); }
void end_use_of_late(int64_t, const long *args) { end_use(static_cast<int>(args[1])); }

// What a helper's call at offset must hold while it lasts. The turn is the caller's already.
class hold {
  public:
    hold(const transfer &t, int64_t offset, bool *turn_given_up)
        : fd_(t.fd), positional_(offset != current_position), given_up_(turn_given_up) {}
    int begin() const { return positional_ ? begin_use(fd_) : 0; }
    offload_late late() const { return positional_ ? end_use_late : end_turn_late; }
    offload_late late_function() const { return positional_ ? end_use_of_late : end_turn_of_late; }
    bool *given_up() { return positional_ ? &use_given_up_ : given_up_; }
    void end() const {
        if (positional_ && !use_given_up_)
            end_use(fd_);
    }

  private:
    int fd_;
    bool positional_, use_given_up_ = false;
    bool *given_up_;
};

// One piece, by a helper. *given_up: the turn will end with the call, see end_turn_late.
word one_by_helper(const transfer &t, void *base, size_t n, int64_t offset, bool *given_up) {
    bool reading = t.d == fd_read;
    offload_buffer buffer{};
    buffer.user = base;
    buffer.bytes = n;
    buffer.in = !reading;
    buffer.out = buffer.counted = reading;
    bool positional = offset != current_position;
    long nr =
        reading ? (positional ? SYS_pread64 : SYS_read) : (positional ? SYS_pwrite64 : SYS_write);
    const long args[6] = {t.fd,
                          reinterpret_cast<long>(base),
                          static_cast<long>(n),
                          positional ? static_cast<long>(offset) : 0,
                          positional ? static_cast<long>(offset >> 32) : 0,
                          0};
    hold held(t, offset, given_up);
    if (int e = held.begin())
        return e;
    word r = static_cast<word>(offload_syscall(t.kind, offload_shared, nr, args, &buffer, 1,
                                               no_deadline, held.late(), held.given_up()));
    held.end();
    return r;
}

// The same with RWF flags, which only the vector calls take.
struct flagged_call {
    long nr;
    int fd, flags;
    int64_t offset;
    size_t bytes;
    char *data() { return reinterpret_cast<char *>(this + 1); }
};

int64_t make_flagged(void *argument) {
    flagged_call *c = static_cast<flagged_call *>(argument);
    iovec whole{c->data(), c->bytes};
    return sys::call(c->nr, c->fd, &whole, 1, static_cast<long>(c->offset),
                     static_cast<long>(c->offset >> 32), c->flags);
}

word flagged_by_helper(const transfer &t, void *base, size_t n, int64_t offset, bool *given_up) {
    size_t all = sizeof(flagged_call) + n;
    pool_block block(all);
    if (!block.data())
        return -ENOMEM;
    flagged_call *c = new (block.data()) flagged_call;
    c->nr = t.d == fd_read ? SYS_preadv2 : SYS_pwritev2;
    c->fd = t.fd;
    c->flags = t.flags;
    c->offset = offset;
    c->bytes = n;
    if (t.d == fd_write && !copy_from_user(c->data(), base, n))
        return -EFAULT;
    hold held(t, offset, given_up);
    if (int e = held.begin())
        return e;
    word r = static_cast<word>(offload_function(t.kind, offload_shared, make_flagged, c, all,
                                                no_deadline, held.late_function(), held.given_up(),
                                                t.fd));
    held.end();
    if (r > 0 && t.d == fd_read && !copy_to_user(base, c->data(), static_cast<size_t>(r)))
        return -EFAULT;
    return r;
}

word by_helper(const transfer &t, void *base, size_t n, int64_t offset, bool *given_up) {
    return t.flags == 0 ? one_by_helper(t, base, n, offset, given_up)
                        : flagged_by_helper(t, base, n, offset, given_up);
}

// ---- Reads ---------------------------------------------------------------------------------------

// What RWF_NOWAIT does not serve. *at_once: the file is memory, all of it.
int reads_at_once(const transfer &t, uint32_t bits, bool *at_once) {
    file_speed speed;
    int e = learn_speed(t.kind, t.fd, bits, &speed);
    *at_once = speed == speed_memory;
    if (e == 0 && t.flags == 0)
        add_bits(t.fd, bit_no_nowait);
    return e;
}

// From the page cache as far as it goes, the rest by helpers. The kernel's blocking read is short
// only at the end of the file, so this one is too.
word read_file(const transfer &t, uint32_t bits, bool *given_up) {
    size_t wanted = bytes_in(t.parts, static_cast<size_t>(t.count)), got = 0;
    bool nowait = !(bits & bit_no_nowait);
    while (got < wanted) {
        iovec window[window_parts];
        int n = rest_of(t.parts, t.count, got, window);
        int64_t at = t.offset == current_position ? t.offset : t.offset + static_cast<int64_t>(got);
        word r = nowait ? vector_call(t, window, n, at, t.flags | RWF_NOWAIT) : -EAGAIN;
        if (refuses_nowait(r)) {
            bool at_once = false;
            if (int e = reads_at_once(t, bits, &at_once))
                return partial(got, e);
            if (at_once) {
                transfer rest{t.kind, t.fd, t.d, window, n, at, t.flags};
                r = make_call(rest, 0);
                if (sys::failed(r))
                    return partial(got, r);
                got += static_cast<size_t>(r);
                if (r == 0 || n < window_parts)
                    return static_cast<word>(got);
                continue;
            }
            nowait = false;
            r = -EAGAIN;
        }
        if (r == -EAGAIN) {
            size_t asked = window[0].iov_len < read_chunk ? window[0].iov_len : read_chunk;
            r = by_helper(t, window[0].iov_base, asked, at, given_up);
            if (r > 0 && static_cast<size_t>(r) < asked)
                return static_cast<word>(got) + r; // the end of the file
        }
        if (sys::failed(r))
            return partial(got, r);
        if (r == 0)
            return static_cast<word>(got);
        got += static_cast<size_t>(r);
    }
    return static_cast<word>(got);
}

// ---- Writes --------------------------------------------------------------------------------------

// A piece that is one part is taken where it stands; others are gathered.
word write_piece(const transfer &t, size_t done, size_t n, int64_t at, bool *given_up) {
    iovec window[window_parts];
    int count = rest_of(t.parts, t.count, done, window);
    if (window[0].iov_len >= n)
        return by_helper(t, window[0].iov_base, n, at, given_up);
    pool_block gathered(n + page_size); // O_DIRECT asks for no more
    if (!gathered.data())
        return -ENOMEM;
    size_t shift = -reinterpret_cast<uintptr_t>(gathered.data()) % page_size;
    char *whole = gathered.data() + shift;
    for (size_t filled = 0; filled < n;) {
        for (int i = 0; i < count && filled < n; ++i) {
            size_t piece = window[i].iov_len < n - filled ? window[i].iov_len : n - filled;
            if (!copy_from_user(whole + filled, window[i].iov_base, piece)) {
                if (filled == 0)
                    return -EFAULT;
                n = filled; // what stands before it is written
                break;
            }
            filled += piece;
        }
        count = rest_of(t.parts, t.count, done + filled, window);
    }
    return by_helper(t, whole, n, at, given_up);
}

word write_file(const transfer &t, bool *given_up) {
    size_t wanted = bytes_in(t.parts, static_cast<size_t>(t.count)), done = 0;
    while (done < wanted) {
        size_t n = wanted - done < write_chunk ? wanted - done : write_chunk;
        int64_t at =
            t.offset == current_position ? t.offset : t.offset + static_cast<int64_t>(done);
        word r = write_piece(t, done, n, at, given_up);
        if (r == -EFBIG && done == 0 && !*given_up)
            return make_call(t, 0); // once more, for SIGXFSZ
        if (sys::failed(r))
            return partial(done, r);
        done += static_cast<size_t>(r);
        if (static_cast<size_t>(r) < n)
            break;
    }
    return static_cast<word>(done);
}

int writes_at_once(const transfer &t, uint32_t bits, bool *at_once) {
    file_speed speed;
    int e = learn_speed(t.kind, t.fd, bits, &speed);
    size_t bytes = bytes_in(t.parts, static_cast<size_t>(t.count));
    bool synced = (t.flags & (RWF_DSYNC | RWF_SYNC)) != 0;
    *at_once = speed == speed_memory || (speed == speed_disk && bytes <= inline_write && !synced);
    return e;
}

} // namespace

word transfer_file(const transfer &t, uint32_t bits) {
    bool at_once = false, given_up = false;
    if (t.d == fd_write) {
        if (int e = writes_at_once(t, bits, &at_once))
            return e;
    } else if (bits & bit_no_nowait) {
        if (int e = reads_at_once(t, bits, &at_once))
            return e;
    }
    if (t.offset == current_position)
        if (int e = take_turn(t.fd))
            return e;
    word r = at_once           ? make_call(t, 0)
             : t.d == fd_write ? write_file(t, &given_up)
                               : read_file(t, bits, &given_up);
    if (t.offset == current_position && !given_up)
        end_turn(t.fd);
    return r;
}

} // namespace corun::calls
