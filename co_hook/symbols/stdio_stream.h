// SPDX-License-Identifier: Apache-2.0
// The half of stdio that touches the descriptor, for streams of coroutines: filling the buffer and
// writing it out by calls::read and calls::write, where libc would block the thread. Buffers, flags
// and positions are libc's own (struct _IO_FILE, which is part of its binary interface), so hooked
// and native calls may alternate on a stream.
//
//     stream_io io(stream);
//     if (io.ours()) {
//         while (io.fill()) ... take bytes from io.available() ...
//         return io.result(value);
//     }
//     return native...
//
// Rules
//  - A native function is called on a stream of ours only where the buffer has what it wants, or the
//    room for it.
//  - What is no file stream (fmemopen, open_memstream, fopencookie), a file that is mapped ("m"), or
//    a binary of libc 2.0 stays native: there is no descriptor, or nothing to wait for.
//  - errno is set at the end, by result: a cancel unwinds from there.
#pragma once

#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/stdio_lock.h"

#include <cstdarg>

namespace corun::symbols {

// libc's bits of _flags, unchanged since 2.1.
enum : int {
    flag_unbuffered = 0x2,
    flag_no_reads = 0x4,
    flag_no_writes = 0x8,
    flag_eof = 0x10,
    flag_error = 0x20,
    flag_linked = 0x80,
    flag_in_backup = 0x100,
    flag_line_buffered = 0x200,
    flag_putting = 0x800,
    flag_appending = 0x1000,
    flag_is_file = 0x2000,
};

class stream_io {
  public:
    // orientation: -1 bytes, 1 wide characters, 0 neither. Streams of the other kind stay native.
    explicit stream_io(FILE *stream, int orientation = -1);

    bool ours() const { return ours_; }
    bool failed() const { return error_ != 0; }
    int error() const { return error_; }

    // At least one byte in the read buffer; false: end, or an error that the stream shows.
    bool fill();
    size_t available() const { return static_cast<size_t>(f_->_IO_read_end - f_->_IO_read_ptr); }
    const char *bytes() const { return f_->_IO_read_ptr; }
    void take(size_t n) { f_->_IO_read_ptr += n; }
    void give_back() { --f_->_IO_read_ptr; } // the byte that was taken last
    bool fill_behind(); // more bytes behind those that are there: a character may be cut in two
    // Past the buffer, as libc's fread does for what is larger than it. 0: end or error.
    size_t read_directly(char *to, size_t n);

    // As libc's own _IO_XSPUTN: how many bytes were taken; SIZE_MAX: all, but they could not be
    // written out.
    size_t put(const char *data, size_t n);
    int put_char(unsigned char c); // or EOF
    bool flush();                  // what is in the write buffer

    // The wait before a native call that may write: see stdio_wide.cpp.
    void wait_until_writable();

    template <class T> T result(T value) {
        lock_.leave();
        if (CO_UNLIKELY(error_ != 0))
            errno = leave_wait(error_);
        return value;
    }
    void note_error(int error) { error_ = error; }

  private:
    bool prepare_reading();
    size_t read_some(char *to, size_t n);
    bool start_putting();
    size_t write_out(const char *data, size_t n);
    void flush_line_buffered_stdout();
    bool keep();

    FILE *f_;
    stream_lock lock_;
    bool ours_ = false;
    int error_ = 0; // errno of what failed
};

// Is the running coroutine to have it?
bool is_ours(FILE *stream);

} // namespace corun::symbols

// A function with a variable list, by the one that takes it as a va_list.
#define CORUN_PRINT(name, parameters, of, arguments)                                               \
    CORUN_EXPORTED int hook_##name parameters __asm__(#name);                                      \
    int hook_##name parameters {                                                                   \
        va_list list;                                                                              \
        va_start(list, format);                                                                    \
        int n = hook_##of arguments;                                                               \
        va_end(list);                                                                              \
        return n;                                                                                  \
    }
