// SPDX-License-Identifier: Apache-2.0
// Opening streams, on a helper of its own: what is opened may be a FIFO, or on a slow disk. And what
// writes the buffer out before it moves: fseek and kin, freopen, fclose.
#include "co_hook/symbols/stdio_open.h"

#include "co_hook/calls/fd_state.h"
#include "co_hook/symbols/helper_call.h"
#include "co_hook/symbols/stdio_stream.h"

#include <fcntl.h>

extern "C" {
FILE *_IO_fopen(const char *, const char *);
int _IO_fclose(FILE *);
int _IO_fflush(FILE *);
int _IO_file_close_it(FILE *);
FILE *_IO_file_fopen(FILE *, const char *, const char *, int);
off64_t _IO_seekoff(FILE *, off64_t, int, int);
}

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_STDIO;
constexpr wait_kind fopen_kind{"fopen", false, nullptr};

using open_function = FILE *(*)(const char *, const char *);

struct open_request : helper_request {
    size_t path, mode;
    open_function open;
    FILE *opened;
};

void open_stream(helper_request *r) {
    auto *o = static_cast<open_request *>(r);
    o->opened = o->open(at_offset<char>(r, o->path), at_offset<char>(r, o->mode));
}

// Nobody is left to take it.
void close_stream(int64_t, const long *args) {
    auto *o = reinterpret_cast<open_request *>(args[0]);
    if (o->made_at && o->opened)
        _IO_fclose(o->opened);
}

// libc made the descriptor itself.
FILE *noted(FILE *stream) {
    if (stream)
        calls::note_foreign(fileno_unlocked(stream));
    return stream;
}

FILE *open_on_helper(const char *path, const char *mode, open_function native) {
    request_memory memory(sizeof(open_request) + text_room(path) + text_room(mode) + slack);
    auto *o = memory.make<open_request>();
    if (!o) {
        errno = ENOMEM;
        return nullptr;
    }
    o->path = memory.put_text(path);
    o->mode = memory.put_text(mode);
    o->open = native;
    if (int e = call_on_helper(fopen_kind, offload_own, open_stream, memory, close_stream)) {
        errno = leave_wait(-e);
        return nullptr;
    }
    if (!o->opened)
        errno = o->errno_of_call;
    return noted(o->opened);
}

int seek_without_libc(FILE *stream, off64_t offset, int whence) {
    constexpr int both_ways = 3;
    return _IO_seekoff(stream, offset, whence, both_ways) < 0 ? -1 : 0;
}

} // namespace

#define CORUN_FOPEN(name)                                                                          \
    CORUN_NATIVE(FILE *, name, (const char *path, const char *mode), _IO_fopen(path, mode));       \
    FILE *hook_##name(const char *path, const char *mode) {                                        \
        return hooks_are_on(family) ? open_on_helper(path, mode, native_##name)                    \
                                    : noted(native_##name(path, mode));                            \
    }
CORUN_FOPEN(fopen)
CORUN_FOPEN(fopen64)

int flush_before_close(FILE *stream) {
    if (!hooks_are_on(family))
        return 0;
    stream_io io(stream, 0);
    if (!io.ours())
        return 0;
    if (stream->_mode > 0 && stream->_flags & flag_putting)
        io.wait_until_writable();
    if (stream->_mode <= 0)
        io.flush();
    int error = io.error();
    io.result(0); // a cancel unwinds here: the stream stays open
    forget_stream(stream);
    return error;
}

namespace {
// As libc's: the new file comes to the number of the old one.
FILE *reopen_without_libc(const char *path, const char *mode, FILE *stream) {
    constexpr int keep_descriptor = 32;
    int fd = fileno_unlocked(stream);
    char self[32] = "/proc/self/fd/";
    if (!path) {
        put_decimal(self + strlen(self), 16, static_cast<unsigned>(fd));
        path = self;
    }
    _IO_fflush(stream);
    stream->_flags2 |= keep_descriptor;
    _IO_file_close_it(stream);
    FILE *again = _IO_file_fopen(stream, path, mode, 1);
    stream->_flags2 &= ~keep_descriptor;
    if (!again) {
        sys::close(fd);
        return nullptr;
    }
    again->_mode = 0;
    int now = fileno_unlocked(again);
    if (fd >= 0 && now != fd) {
        long cloexec = sys::call(SYS_fcntl, now, F_GETFD) & FD_CLOEXEC ? O_CLOEXEC : 0;
        sys::call(SYS_dup3, now, fd, cloexec);
        sys::close(now);
        again->_fileno = fd;
    }
    return again;
}
} // namespace

// Everybody who waits for the old file is told; what the number means now is learnt anew.
#define CORUN_FREOPEN(name)                                                                        \
    CORUN_NATIVE(FILE *, name, (const char *path, const char *mode, FILE *stream),                 \
                 reopen_without_libc(path, mode, stream));                                         \
    FILE *hook_##name(const char *path, const char *mode, FILE *stream) {                          \
        int fd = fileno_unlocked(stream);                                                          \
        flush_before_close(stream);                                                                \
        if (fd >= 0)                                                                               \
            calls::before_close(fd);                                                               \
        FILE *again = native_##name(path, mode, stream);                                           \
        if (fd >= 0)                                                                               \
            calls::after_close(fd);                                                                \
        return noted(again);                                                                       \
    }
CORUN_FREOPEN(freopen)
CORUN_FREOPEN(freopen64)

#define CORUN_SEEK(name, parameters, arguments, raw)                                               \
    CORUN_NATIVE(int, name, parameters, raw);                                                      \
    int hook_##name parameters {                                                                   \
        stream_io io(stream, 0);                                                                   \
        if (!io.ours())                                                                            \
            return native_##name arguments;                                                        \
        if (io.failed() || (stream->_mode <= 0 && !io.flush()))                                    \
            return io.result(-1);                                                                  \
        return io.result(native_##name arguments);                                                 \
    }
CORUN_SEEK(fseek, (FILE * stream, long offset, int whence), (stream, offset, whence),
           seek_without_libc(stream, offset, whence))
CORUN_SEEK(fseeko, (FILE * stream, off_t offset, int whence), (stream, offset, whence),
           seek_without_libc(stream, offset, whence))
CORUN_SEEK(fseeko64, (FILE * stream, off64_t offset, int whence), (stream, offset, whence),
           seek_without_libc(stream, offset, whence))
CORUN_SEEK(fsetpos, (FILE * stream, const fpos_t *position), (stream, position),
           ((void)stream, (void)position, plain_result<int>(-ENOSYS)))
CORUN_SEEK(fsetpos64, (FILE * stream, const fpos64_t *position), (stream, position),
           ((void)stream, (void)position, plain_result<int>(-ENOSYS)))

CORUN_NATIVE(void, rewind, (FILE * stream), (void)seek_without_libc(stream, 0, SEEK_SET));
void hook_rewind(FILE *stream) {
    stream_io io(stream, 0);
    if (io.ours() && stream->_mode <= 0)
        io.flush();
    if (!io.failed())
        native_rewind(stream);
    io.result(0);
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(fopen, O),     CORUN_ENTRY(fopen64, O), CORUN_ENTRY(freopen, B),
    CORUN_ENTRY(freopen64, B), CORUN_ENTRY(fseek, E),   CORUN_ENTRY(fseeko, E),
    CORUN_ENTRY(fseeko64, E),  CORUN_ENTRY(fsetpos, E), CORUN_ENTRY(fsetpos64, E),
    CORUN_ENTRY(rewind, E),
};

} // namespace

CORUN_TABLE(stdio_open_table, entries);

} // namespace corun::symbols
