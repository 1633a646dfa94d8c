// SPDX-License-Identifier: Apache-2.0
// Writing to streams, but for printf's family (stdio_print.cpp).
#include "co_hook/symbols/stdio_stream.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <initializer_list>

extern "C" {
int _IO_putc(int, FILE *);
int _IO_puts(const char *);
int _IO_fputs(const char *, FILE *);
int _IO_fflush(FILE *);
size_t _IO_fwrite(const void *, size_t, size_t, FILE *);
void _IO_list_lock();
void _IO_list_unlock();
extern FILE *_IO_list_all;
}

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_STDIO;

int put_char(int c, FILE *stream, int (*native)(int, FILE *)) {
    stream_io io(stream);
    if (!io.ours())
        return native(c, stream);
    return io.result(io.put_char(static_cast<unsigned char>(c)));
}

int put_text(const char *text, FILE *stream, int (*native)(const char *, FILE *)) {
    stream_io io(stream);
    if (!io.ours())
        return native(text, stream);
    size_t n = strlen(text);
    return io.result(io.put(text, n) == n ? 1 : EOF);
}

size_t put_blocks(const void *data, size_t size, size_t count, FILE *stream,
                  size_t (*native)(const void *, size_t, size_t, FILE *)) {
    size_t bytes = size * count;
    if (bytes == 0)
        return 0;
    stream_io io(stream);
    if (!io.ours())
        return native(data, size, count, stream);
    size_t n = io.put(static_cast<const char *>(data), bytes);
    return io.result(n == bytes || n == SIZE_MAX ? count : n / size);
}

int put_line(const char *text) {
    stream_io io(stdout);
    size_t n = strlen(text);
    bool done = io.put(text, n) == n && io.put_char('\n') != EOF;
    return io.result(!done ? EOF : n >= INT_MAX ? INT_MAX : static_cast<int>(n) + 1);
}

FILE *stream_number(size_t n) {
    _IO_list_lock();
    FILE *f = _IO_list_all;
    while (f && n-- > 0)
        f = f->_chain;
    _IO_list_unlock();
    return f;
}

int flush_one(FILE *stream, int (*native)(FILE *)) {
    stream_io io(stream, 0);
    if (!io.ours())
        return native(stream);
    if (stream->_mode > 0)
        io.wait_until_writable();
    if (io.failed() || (stream->_mode <= 0 && !io.flush()))
        return io.result(EOF);
    return io.result(native(stream)); // where reading had gone ahead, back to where we are
}

// One after the other, so that the list is not locked while one is waited for. A stream that another
// coroutine is writing right now is left to it.
int flush_all() {
    int result = 0;
    for (size_t i = 0; FILE *f = stream_number(i); ++i) {
        if (!(f->_flags & flag_putting) || !try_own_stream(f))
            continue;
        if (flush_one(f, _IO_fflush) != 0)
            result = EOF;
        disown_stream(f);
    }
    return result;
}

} // namespace

#define CORUN_PUTC(name)                                                                           \
    CORUN_NATIVE(int, name, (int c, FILE *stream), _IO_putc(c, stream));                           \
    int hook_##name(int c, FILE *stream) { return put_char(c, stream, native_##name); }
CORUN_PUTC(fputc)
CORUN_PUTC(putc)
CORUN_PUTC(fputc_unlocked)
CORUN_PUTC(putc_unlocked)

#define CORUN_PUTCHAR(name, of)                                                                    \
    CORUN_NATIVE(int, name, (int c), _IO_putc(c, stdout));                                         \
    int hook_##name(int c) { return is_ours(stdout) ? hook_##of(c, stdout) : native_##name(c); }
CORUN_PUTCHAR(putchar, putc)
CORUN_PUTCHAR(putchar_unlocked, putc_unlocked)

#define CORUN_FPUTS(name)                                                                          \
    CORUN_NATIVE(int, name, (const char *text, FILE *stream), _IO_fputs(text, stream));            \
    int hook_##name(const char *text, FILE *stream) {                                              \
        return put_text(text, stream, native_##name);                                              \
    }
CORUN_FPUTS(fputs)
CORUN_FPUTS(fputs_unlocked)

#define CORUN_FWRITE(name)                                                                         \
    CORUN_NATIVE(size_t, name, (const void *data, size_t size, size_t count, FILE *stream),        \
                 _IO_fwrite(data, size, count, stream));                                           \
    size_t hook_##name(const void *data, size_t size, size_t count, FILE *stream) {                \
        return put_blocks(data, size, count, stream, native_##name);                               \
    }
CORUN_FWRITE(fwrite)
CORUN_FWRITE(fwrite_unlocked)

CORUN_NATIVE(int, puts, (const char *text), _IO_puts(text));
int hook_puts(const char *text) {
    return is_ours(stdout) && stdout->_mode <= 0 ? put_line(text) : native_puts(text);
}

CORUN_NATIVE(int, putw, (int w, FILE *stream), _IO_fwrite(&w, sizeof w, 1, stream) == 1 ? 0 : EOF);
int hook_putw(int w, FILE *stream) {
    if (!is_ours(stream))
        return native_putw(w, stream);
    return hook_fwrite(&w, sizeof w, 1, stream) == 1 ? 0 : EOF;
}

#define CORUN_FFLUSH(name)                                                                         \
    CORUN_NATIVE(int, name, (FILE * stream), _IO_fflush(stream));                                  \
    int hook_##name(FILE *stream) {                                                                \
        if (!hooks_are_on(family))                                                                 \
            return native_##name(stream);                                                          \
        return stream ? flush_one(stream, native_##name) : flush_all();                            \
    }
CORUN_FFLUSH(fflush)
CORUN_FFLUSH(fflush_unlocked)

CORUN_NATIVE(void, perror, (const char *what), ((void)what));
void hook_perror(const char *what) {
    if (!is_ours(stderr) || stderr->_mode > 0)
        return native_perror(what);
    char text[256];
    const char *why = strerror_r(errno, text, sizeof text);
    bool both = what && *what;
    int mode = stderr->_mode; // perror does not say that stderr is for bytes from now on
    stream_io io(stderr);
    char line[1024];
    size_t n = 0;
    for (const char *part : {both ? what : "", both ? ": " : "", why, "\n"}) {
        size_t k = strlen(part);
        k = k < sizeof line - 1 - n ? k : sizeof line - 1 - n;
        std::copy_n(part, k, line + n);
        n += k;
    }
    line[n - 1] = '\n';
    io.put(line, n);
    stderr->_mode = mode;
    io.result(0);
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(fputc, E),          CORUN_ENTRY(putc, E),
    CORUN_ENTRY(fputc_unlocked, E), CORUN_ENTRY(putc_unlocked, E),
    CORUN_ENTRY(putchar, E),        CORUN_ENTRY(putchar_unlocked, E),
    CORUN_ENTRY(fputs, E),          CORUN_ENTRY(fputs_unlocked, E),
    CORUN_ENTRY(fwrite, E),         CORUN_ENTRY(fwrite_unlocked, E),
    CORUN_ENTRY(puts, E),           CORUN_ENTRY(putw, E),
    CORUN_ENTRY(fflush, E),         CORUN_ENTRY(fflush_unlocked, E),
    CORUN_ENTRY(perror, E),
};

} // namespace

CORUN_TABLE(stdio_write_table, entries);

} // namespace corun::symbols
