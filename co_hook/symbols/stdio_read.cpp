// SPDX-License-Identifier: Apache-2.0
// Reading from streams. The _unlocked forms lock as well in a coroutine: what they leave out is
// safe only while nothing else runs, and here it may.
#include "co_hook/symbols/stdio_stream.h"

#include <climits>
#include <cstdlib>
#include <cstring>

extern "C" {
[[noreturn]] void __chk_fail();
int _IO_getc(FILE *);
char *_IO_fgets(char *, int, FILE *);
size_t _IO_fread(void *, size_t, size_t, FILE *);
}

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_STDIO;

int get_char(FILE *stream, int (*native)(FILE *)) {
    stream_io io(stream);
    if (!io.ours())
        return native(stream);
    if (!io.fill())
        return io.result(EOF);
    int c = static_cast<unsigned char>(*io.bytes());
    io.take(1);
    return io.result(c);
}

// Up to n bytes, the delimiter included, wherever they go.
template <class Append> size_t take_until(stream_io &io, size_t n, int delimiter, Append append) {
    size_t done = 0;
    while (done < n && io.fill()) {
        size_t some = io.available() < n - done ? io.available() : n - done;
        const void *end = memchr(io.bytes(), delimiter, some);
        if (end)
            some = static_cast<size_t>(static_cast<const char *>(end) - io.bytes()) + 1;
        if (!append(io.bytes(), some))
            break;
        io.take(some);
        done += some;
        if (end)
            break;
    }
    return done;
}

// room: of the buffer, where the compiler knew it.
char *get_line(stream_io &io, char *to, size_t room, int n, FILE *stream) {
    if (n <= 0)
        return io.result<char *>(nullptr);
    if (n == 1) {
        to[0] = '\0';
        return io.result(to);
    }
    // An error of before does not count; one that meets a line which has begun is told next time.
    int before = stream->_flags & flag_error;
    stream->_flags &= ~flag_error;
    size_t most = static_cast<size_t>(n) - 1;
    char *at = to;
    size_t count = take_until(io, most < room ? most : room, '\n', [&](const char *from, size_t k) {
        memcpy(at, from, k);
        at += k;
        return true;
    });
    if (count >= room)
        __chk_fail();
    bool bad = (stream->_flags & flag_error) && io.error() != EAGAIN;
    stream->_flags |= before;
    if (count == 0 || bad || io.error() == ECANCELED)
        return io.result<char *>(nullptr);
    *at = '\0';
    return io.result(to);
}

size_t read_blocks(stream_io &io, char *to, size_t size, size_t count) {
    size_t wanted = size * count, done = 0;
    while (done < wanted) {
        size_t n = io.read_directly(to + done, wanted - done);
        if (n == 0)
            break;
        done += n;
    }
    return io.result(done == wanted ? count : done / size);
}

bool too_large(size_t room, size_t size, size_t count) {
    size_t bytes;
    return __builtin_mul_overflow(size, count, &bytes) || bytes > room;
}

bool make_room(char **line, size_t *room, size_t wanted) {
    if (*line && *room >= wanted)
        return true;
    size_t larger = *line && *room * 2 > wanted ? *room * 2 : wanted < 120 ? 120 : wanted;
    void *block = realloc(*line, larger); // getline's promise is memory of malloc's
    if (!block)
        return false;
    *line = static_cast<char *>(block);
    *room = larger;
    return true;
}

// Where libc's cannot be found: -static.
ssize_t get_delimited_by_chars(char **line, size_t *room, int delimiter, FILE *stream) {
    size_t done = 0;
    for (int c = 0; c != delimiter && (c = _IO_getc(stream)) != EOF;) {
        if (!make_room(line, room, done + 2))
            return -1;
        (*line)[done++] = static_cast<char>(c);
    }
    if (done == 0)
        return -1;
    (*line)[done] = '\0';
    return static_cast<ssize_t>(done);
}

ssize_t get_delimited(stream_io &io, char **line, size_t *room, int delimiter) {
    size_t done = 0;
    bool no_memory = false;
    if (!line || !room) {
        io.note_error(EINVAL);
        return io.result<ssize_t>(-1);
    }
    if (!*line)
        *room = 0;
    take_until(io, SSIZE_MAX - 1, delimiter, [&](const char *from, size_t k) {
        if (!make_room(line, room, done + k + 1)) {
            no_memory = true;
            return false;
        }
        memcpy(*line + done, from, k);
        done += k;
        return true;
    });
    if (no_memory)
        io.note_error(ENOMEM);
    if (no_memory || done == 0)
        return io.result<ssize_t>(-1);
    (*line)[done] = '\0';
    return io.result(static_cast<ssize_t>(done));
}

} // namespace

#define CORUN_GETC(name)                                                                           \
    CORUN_NATIVE(int, name, (FILE * stream), _IO_getc(stream));                                    \
    int hook_##name(FILE *stream) { return get_char(stream, native_##name); }
CORUN_GETC(fgetc)
CORUN_GETC(getc)
CORUN_GETC(fgetc_unlocked)
CORUN_GETC(getc_unlocked)

#define CORUN_GETCHAR(name, of)                                                                    \
    CORUN_NATIVE(int, name, (), _IO_getc(stdin));                                                  \
    int hook_##name() { return is_ours(stdin) ? hook_##of(stdin) : native_##name(); }
CORUN_GETCHAR(getchar, getc)
CORUN_GETCHAR(getchar_unlocked, getc_unlocked)

#define CORUN_FGETS(name)                                                                          \
    CORUN_NATIVE(char *, name, (char *to, int n, FILE *stream), _IO_fgets(to, n, stream));         \
    char *hook_##name(char *to, int n, FILE *stream) {                                             \
        stream_io io(stream);                                                                      \
        return io.ours() ? get_line(io, to, SIZE_MAX, n, stream) : native_##name(to, n, stream);   \
    }
CORUN_FGETS(fgets)
CORUN_FGETS(fgets_unlocked)

#define CORUN_FGETS_CHK(name)                                                                      \
    CORUN_NATIVE(char *, name, (char *to, size_t room, int n, FILE *stream),                       \
                 _IO_fgets(to, room < static_cast<size_t>(n) ? (__chk_fail(), 0) : n, stream));    \
    char *hook_##name(char *to, size_t room, int n, FILE *stream) {                                \
        stream_io io(stream);                                                                      \
        return io.ours() ? get_line(io, to, room, n, stream) : native_##name(to, room, n, stream); \
    }
CORUN_FGETS_CHK(__fgets_chk)
CORUN_FGETS_CHK(__fgets_unlocked_chk)

#define CORUN_FREAD(name)                                                                          \
    CORUN_NATIVE(size_t, name, (void *to, size_t size, size_t count, FILE *stream),                \
                 _IO_fread(to, size, count, stream));                                              \
    size_t hook_##name(void *to, size_t size, size_t count, FILE *stream) {                        \
        if (size == 0 || count == 0)                                                               \
            return 0;                                                                              \
        stream_io io(stream);                                                                      \
        return io.ours() ? read_blocks(io, static_cast<char *>(to), size, count)                   \
                         : native_##name(to, size, count, stream);                                 \
    }
CORUN_FREAD(fread)
CORUN_FREAD(fread_unlocked)

#define CORUN_FREAD_CHK(name, of)                                                                  \
    CORUN_NATIVE(size_t, name, (void *to, size_t room, size_t size, size_t count, FILE *stream),   \
                 too_large(room, size, count) ? (__chk_fail(), 0)                                  \
                                              : _IO_fread(to, size, count, stream));               \
    size_t hook_##name(void *to, size_t room, size_t size, size_t count, FILE *stream) {           \
        if (!is_ours(stream) || too_large(room, size, count))                                      \
            return native_##name(to, room, size, count, stream);                                   \
        return hook_##of(to, size, count, stream);                                                 \
    }
CORUN_FREAD_CHK(__fread_chk, fread)
CORUN_FREAD_CHK(__fread_unlocked_chk, fread_unlocked)

CORUN_NATIVE(ssize_t, getdelim, (char **line, size_t *room, int delimiter, FILE *stream),
             get_delimited_by_chars(line, room, delimiter, stream));
ssize_t hook_getdelim(char **line, size_t *room, int delimiter, FILE *stream) {
    stream_io io(stream);
    return io.ours() ? get_delimited(io, line, room, delimiter)
                     : native_getdelim(line, room, delimiter, stream);
}
CORUN_HOOK_ALIAS(ssize_t, __getdelim, getdelim, (char **, size_t *, int, FILE *));

CORUN_NATIVE(ssize_t, getline, (char **line, size_t *room, FILE *stream),
             get_delimited_by_chars(line, room, '\n', stream));
ssize_t hook_getline(char **line, size_t *room, FILE *stream) {
    stream_io io(stream);
    return io.ours() ? get_delimited(io, line, room, '\n') : native_getline(line, room, stream);
}

CORUN_NATIVE(int, getw, (FILE * stream), ((void)stream, EOF));
int hook_getw(FILE *stream) {
    int word_read;
    if (!is_ours(stream))
        return native_getw(stream);
    return hook_fread(&word_read, sizeof word_read, 1, stream) == 1 ? word_read : EOF;
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(fgetc, E),          CORUN_ENTRY(getc, E),
    CORUN_ENTRY(fgetc_unlocked, E), CORUN_ENTRY(getc_unlocked, E),
    CORUN_ENTRY(getchar, E),        CORUN_ENTRY(getchar_unlocked, E),
    CORUN_ENTRY(fgets, E),          CORUN_ENTRY(fgets_unlocked, E),
    CORUN_ENTRY(__fgets_chk, E),    CORUN_ENTRY(__fgets_unlocked_chk, E),
    CORUN_ENTRY(fread, E),          CORUN_ENTRY(fread_unlocked, E),
    CORUN_ENTRY(__fread_chk, E),    CORUN_ENTRY(__fread_unlocked_chk, E),
    CORUN_ENTRY(getdelim, E),       CORUN_ALIAS_ENTRY(__getdelim, E),
    CORUN_ENTRY(getline, E),        CORUN_ENTRY(getw, E),
};

} // namespace

CORUN_TABLE(stdio_read_table, entries);

} // namespace corun::symbols
