// SPDX-License-Identifier: Apache-2.0
#include "co_hook/symbols/stdio_stream.h"

#include "co_hook/calls/calls.h"

#include <cstring>
#include <cwchar>
#include <unistd.h>

extern "C" {
void _IO_doallocbuf(FILE *);
void _IO_free_backup_area(FILE *) noexcept;
int _IO_switch_to_get_mode(FILE *);
int _IO_file_overflow(FILE *, int);
}

namespace corun::symbols {
namespace {

constexpr int flag2_mapped = 1;
constexpr long position_unknown = -1;
constexpr size_t least_block = 128; // libc writes and reads whole blocks where they are so large

// Libc sets _vtable_offset only where there are streams of libc 2.0, which are shorter: on i386.
bool is_of_this_libc([[maybe_unused]] const FILE *f) {
#if defined(__i386__)
    return f->_vtable_offset == 0;
#else
    return true;
#endif
}

bool is_file_stream(const FILE *f) {
    return (f->_flags & flag_is_file) && f->_fileno >= 0 && !(f->_flags2 & flag2_mapped) &&
           is_of_this_libc(f);
}

size_t block_of(const FILE *f) {
    size_t block = static_cast<size_t>(f->_IO_buf_end - f->_IO_buf_base);
    return block >= least_block ? block : 1;
}

void leave_backup(FILE *f) {
    f->_flags &= ~flag_in_backup;
    char *end = f->_IO_read_end, *base = f->_IO_read_base;
    f->_IO_read_end = f->_IO_save_end;
    f->_IO_save_end = end;
    f->_IO_read_base = f->_IO_save_base;
    f->_IO_save_base = base;
    f->_IO_read_ptr = f->_IO_read_base;
}

} // namespace

// What getc_unlocked, putc_unlocked and their kin call, which are macros, when the buffer has come to
// its end. Weak: in a -static program libc's own, which is always there, is not in our way.
CORUN_NATIVE(int, __uflow, (FILE * stream), ((void)stream, EOF));
CORUN_NATIVE(int, __underflow, (FILE * stream), ((void)stream, EOF));
CORUN_NATIVE(int, __overflow, (FILE * stream, int c),
             stream->_mode > 0 ? EOF : _IO_file_overflow(stream, c));
CORUN_WEAK_HOOK(__uflow);
CORUN_WEAK_HOOK(__underflow);
CORUN_WEAK_HOOK(__overflow);

bool is_ours(FILE *stream) { return hooks_are_on(CO_HOOK_STDIO) && is_file_stream(stream); }

stream_io::stream_io(FILE *stream, int orientation) : f_(stream), lock_(stream) {
    if (!is_ours(stream))
        return;
    error_ = -lock_.enter();
    ours_ = true;
    if (error_ != 0 || orientation == 0)
        return;
    if (f_->_mode == 0)
        fwide(f_, orientation);
    if ((f_->_mode > 0) != (orientation > 0)) {
        lock_.leave();
        ours_ = false; // libc says what that is
    }
}

bool stream_io::keep() {
    if (error_ == 0)
        error_ = -lock_.keep();
    return error_ == 0;
}

// ---- Reading

bool stream_io::prepare_reading() {
    FILE *f = f_;
    if (f->_flags & flag_putting)
        if (!flush() || _IO_switch_to_get_mode(f) == EOF)
            return false;
    if (f->_IO_read_ptr < f->_IO_read_end)
        return true;
    if (f->_flags & flag_in_backup) { // what was pushed back is used up
        leave_backup(f);
        if (f->_IO_read_ptr < f->_IO_read_end)
            return true;
    }
    if (f->_IO_save_base)
        _IO_free_backup_area(f);
    if (f->_flags & flag_eof)
        return false; // an end is an end until clearerr
    if (f->_flags & flag_no_reads) {
        f->_flags |= flag_error;
        error_ = EBADF;
        return false;
    }
    if (!f->_IO_buf_base)
        _IO_doallocbuf(f);
    if (f->_flags & (flag_line_buffered | flag_unbuffered))
        flush_line_buffered_stdout();
    return true;
}

// A prompt is to be seen before the answer is waited for.
void stream_io::flush_line_buffered_stdout() {
    constexpr int wanted = flag_linked | flag_line_buffered;
    if (stdout == f_ || (stdout->_flags & (wanted | flag_no_writes)) != wanted ||
        stdout->_IO_write_ptr == stdout->_IO_write_base)
        return;
    stream_io out(stdout);
    if (out.ours() && !out.failed())
        out.flush();
    if (out.error_ == ECANCELED)
        error_ = ECANCELED;
}

// Bytes from the descriptor, and what that does to the stream. 0: end or error.
size_t stream_io::read_some(char *to, size_t n) {
    word r = calls::read(f_->_fileno, to, n);
    if (r > 0) {
        if (f_->_offset >= 0)
            f_->_offset += r;
        return static_cast<size_t>(r);
    }
    if (r < 0)
        error_ = static_cast<int>(-r);
    if (r != -ECANCELED) // a cancel does nothing to it
        f_->_flags |= r < 0 ? flag_error : flag_eof;
    return 0;
}

bool stream_io::fill() {
    FILE *f = f_;
    if (CO_LIKELY(f->_IO_read_ptr < f->_IO_read_end))
        return true;
    if (error_ != 0 || !prepare_reading() || error_ != 0)
        return false;
    if (f->_IO_read_ptr < f->_IO_read_end)
        return true;
    if (!keep())
        return false;
    char *base = f->_IO_buf_base;
    f->_IO_read_base = f->_IO_read_ptr = f->_IO_read_end = base;
    f->_IO_write_base = f->_IO_write_ptr = f->_IO_write_end = base;
    size_t n = read_some(base, static_cast<size_t>(f->_IO_buf_end - base));
    f->_IO_read_end = base + n;
    if (n == 0 && error_ != ECANCELED)
        f->_offset = position_unknown;
    return n > 0;
}

bool stream_io::fill_behind() {
    FILE *f = f_;
    size_t there = available();
    if (there == 0 || error_ != 0 || (f->_flags & flag_eof) || !keep())
        return there == 0 && fill();
    memmove(f->_IO_buf_base, f->_IO_read_ptr, there);
    f->_IO_read_base = f->_IO_read_ptr = f->_IO_buf_base;
    f->_IO_read_end = f->_IO_buf_base + there;
    size_t n = read_some(f->_IO_read_end, static_cast<size_t>(f->_IO_buf_end - f->_IO_read_end));
    f->_IO_read_end += n;
    return n > 0;
}

size_t stream_io::read_directly(char *to, size_t n) {
    FILE *f = f_;
    if (error_ != 0)
        return 0;
    if (!f->_IO_buf_base)
        _IO_doallocbuf(f);
    size_t block = block_of(f);
    if (available() > 0 || n < static_cast<size_t>(f->_IO_buf_end - f->_IO_buf_base)) {
        if (!fill())
            return 0;
        size_t some = available() < n ? available() : n;
        memcpy(to, f->_IO_read_ptr, some);
        take(some);
        return some;
    }
    if (error_ != 0 || !prepare_reading() || error_ != 0)
        return 0;
    if (available() > 0) // behind what was pushed back
        return read_directly(to, n);
    if (!keep())
        return 0;
    f->_IO_read_base = f->_IO_read_ptr = f->_IO_read_end = f->_IO_buf_base;
    f->_IO_write_base = f->_IO_write_ptr = f->_IO_write_end = f->_IO_buf_base;
    return read_some(to, n - n % block);
}

// ---- Writing

// The stream is ready for bytes, with nothing in the buffer or with what is there already.
bool stream_io::start_putting() {
    FILE *f = f_;
    if (f->_flags & flag_no_writes) {
        f->_flags |= flag_error;
        error_ = EBADF;
        return false;
    }
    if (!(f->_flags & flag_putting) || !f->_IO_write_base)
        native___overflow(f, EOF); // from reading to writing; there is nothing to write out
    return true;
}

// Writes these bytes behind what has been written; the buffer is empty afterwards. How many.
size_t stream_io::write_out(const char *data, size_t n) {
    FILE *f = f_;
    if (!keep())
        return 0;
    if (f->_flags & flag_appending) {
        f->_offset = position_unknown;
    } else if (f->_IO_read_end != f->_IO_write_base) { // it was read ahead: back to where we are
        int64_t at;
        word r = sys::lseek(f->_fileno, f->_IO_write_base - f->_IO_read_end, SEEK_CUR, &at);
        if (sys::failed(r)) {
            error_ = static_cast<int>(-r);
            return 0;
        }
        f->_offset = at;
    }
    size_t done = 0;
    while (done < n) {
        word r = calls::write(f->_fileno, data + done, n - done);
        if (r < 0) {
            error_ = static_cast<int>(-r);
            f->_flags |= flag_error;
            break;
        }
        done += static_cast<size_t>(r);
    }
    if (f->_offset >= 0)
        f->_offset += static_cast<off64_t>(done);
    char *base = f->_IO_buf_base;
    f->_IO_read_base = f->_IO_read_ptr = f->_IO_read_end = base;
    f->_IO_write_base = f->_IO_write_ptr = base;
    bool by_hand = f->_mode <= 0 && (f->_flags & (flag_line_buffered | flag_unbuffered));
    f->_IO_write_end = by_hand ? base : f->_IO_buf_end;
    return done;
}

bool stream_io::flush() {
    if (error_ != 0)
        return false;
    if (!(f_->_flags & flag_putting) || f_->_IO_write_ptr <= f_->_IO_write_base)
        return true;
    size_t n = static_cast<size_t>(f_->_IO_write_ptr - f_->_IO_write_base);
    return write_out(f_->_IO_write_base, n) == n;
}

int stream_io::put_char(unsigned char c) {
    FILE *f = f_;
    if (error_ != 0)
        return EOF;
    if (f->_IO_write_ptr < f->_IO_write_end) {
        *f->_IO_write_ptr++ = static_cast<char>(c);
        return c;
    }
    if (!start_putting() || (f->_IO_write_ptr == f->_IO_buf_end && !flush()))
        return EOF;
    *f->_IO_write_ptr++ = static_cast<char>(c);
    bool now = (f->_flags & flag_unbuffered) || ((f->_flags & flag_line_buffered) && c == '\n');
    return now && !flush() ? EOF : c;
}

size_t stream_io::put(const char *data, size_t n) {
    FILE *f = f_;
    if (n == 0 || error_ != 0)
        return 0;
    size_t room = 0;
    bool must_flush = false;
    constexpr int by_line = flag_line_buffered | flag_putting;
    if ((f->_flags & by_line) == by_line) {
        room = static_cast<size_t>(f->_IO_buf_end - f->_IO_write_ptr);
        const void *last = n <= room ? memrchr(data, '\n', n) : nullptr;
        if (last) {
            room = static_cast<size_t>(static_cast<const char *>(last) - data) + 1;
            must_flush = true;
        }
    } else if (f->_IO_write_end > f->_IO_write_ptr) {
        room = static_cast<size_t>(f->_IO_write_end - f->_IO_write_ptr);
    }
    size_t done = room < n ? room : n;
    if (done > 0) {
        memcpy(f->_IO_write_ptr, data, done);
        f->_IO_write_ptr += done;
    }
    if (done == n && !must_flush)
        return n;
    if (!start_putting() || !flush())
        return done == n ? SIZE_MAX : done;
    size_t left = n - done, block = block_of(f), whole = left - (block > 1 ? left % block : 0);
    if (whole > 0) {
        size_t written = write_out(data + done, whole);
        done += written;
        if (written < whole)
            return done;
    }
    for (; done < n; ++done) // less than a block
        if (put_char(static_cast<unsigned char>(data[done])) == EOF)
            return done;
    return n;
}

void stream_io::wait_until_writable() {
    if (error_ != 0 || !keep())
        return;
    pollfd p{f_->_fileno, POLLOUT, 0};
    word r = calls::poll(&p, 1, -1, nullptr);
    if (r == -ECANCELED)
        error_ = ECANCELED;
}

// ---- The macros' way in

int hook___uflow(FILE *stream) {
    stream_io io(stream);
    if (!io.ours())
        return native___uflow(stream);
    if (!io.fill())
        return io.result(EOF);
    int c = static_cast<unsigned char>(*io.bytes());
    io.take(1);
    return io.result(c);
}
int hook___underflow(FILE *stream) {
    stream_io io(stream);
    if (!io.ours())
        return native___underflow(stream);
    return io.result(io.fill() ? static_cast<unsigned char>(*io.bytes()) : EOF);
}
int hook___overflow(FILE *stream, int c) {
    stream_io io(stream);
    if (!io.ours())
        return native___overflow(stream, c);
    if (c == EOF)
        return io.result(io.flush() ? 0 : EOF);
    return io.result(io.put_char(static_cast<unsigned char>(c)));
}

namespace {

constexpr unsigned family = CO_HOOK_STDIO;
const hook_entry entries[] = {
    CORUN_WEAK_ENTRY(__uflow, E),
    CORUN_WEAK_ENTRY(__underflow, E),
    CORUN_WEAK_ENTRY(__overflow, E),
};

} // namespace

CORUN_TABLE(stdio_stream_table, entries);

} // namespace corun::symbols
