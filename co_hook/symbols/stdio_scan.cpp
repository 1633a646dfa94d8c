// SPDX-License-Identifier: Apache-2.0
// scanf's family. What it takes is known only while it scans, so libc scans a stream of ours
// (fopencookie) that gets each byte from the real one when it is asked for it: the coroutine waits
// inside libc's function, on its own stack. What was looked at and not taken goes back.
#include "co_hook/symbols/stdio_stream.h"

extern "C" {
int __isoc99_vsscanf(const char *, const char *, va_list) noexcept;
// The first is there in a libc.so.6, the second comes with the one above in a -static program.
int _IO_vfscanf(FILE *, const char *, va_list, int *) __attribute__((weak));
int __vfscanf_internal(FILE *, const char *, va_list, unsigned) __attribute__((weak));
int _IO_fclose(FILE *);
}

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_STDIO;

int without_libc(FILE *stream, const char *format, va_list list) {
    if (_IO_vfscanf)
        return _IO_vfscanf(stream, format, list, nullptr);
    if (!__vfscanf_internal || !stream)
        return __isoc99_vsscanf("", format, list);
    return __vfscanf_internal(stream, format, list, 2 /* %a is C99's */);
}

// The cookie: one byte, so that no more is taken than was wanted. Its position is the real stream's.
ssize_t give_byte(void *cookie, char *to, size_t n) {
    stream_io *io = static_cast<stream_io *>(cookie);
    if (n == 0)
        return 0;
    if (!io->fill())
        return io->failed() ? -1 : 0;
    *to = *io->bytes();
    io->take(1);
    return 1;
}

using scan_function = int (*)(FILE *, const char *, va_list);

int scan(stream_io &io, const char *format, va_list list, scan_function native) {
    if (io.failed())
        return io.result(EOF);
    cookie_io_functions_t functions{};
    functions.read = give_byte;
    FILE *window = fopencookie(&io, "r", functions);
    if (!window) {
        io.note_error(ENOMEM);
        return io.result(EOF);
    }
    setvbuf(window, nullptr, _IONBF, 0);
    int n = native(window, format, list);
    int error = errno;
    // The byte that ended the scan. It is the last one taken: nothing was filled in after it.
    if (window->_IO_read_ptr < window->_IO_read_end)
        io.give_back();
    _IO_fclose(window);
    errno = error;
    return io.result(io.error() == ECANCELED ? EOF : n);
}

} // namespace

#define CORUN_VFSCANF(name)                                                                        \
    CORUN_NATIVE(int, name, (FILE * stream, const char *format, va_list list),                     \
                 without_libc(stream, format, list));                                              \
    int hook_##name(FILE *stream, const char *format, va_list list) {                              \
        stream_io io(stream);                                                                      \
        return io.ours() ? scan(io, format, list, native_##name)                                   \
                         : native_##name(stream, format, list);                                    \
    }
CORUN_VFSCANF(vfscanf)
CORUN_VFSCANF(__isoc99_vfscanf)

#define CORUN_SCANF(prefix)                                                                        \
    CORUN_EXPORTED int hook_##prefix##fscanf(FILE *stream, const char *format,                     \
                                             ...) __asm__(#prefix "fscanf");                       \
    int hook_##prefix##fscanf(FILE *stream, const char *format, ...) {                             \
        va_list list;                                                                              \
        va_start(list, format);                                                                    \
        int n = hook_##prefix##vfscanf(stream, format, list);                                      \
        va_end(list);                                                                              \
        return n;                                                                                  \
    }                                                                                              \
    CORUN_EXPORTED int hook_##prefix##scanf(const char *format, ...) __asm__(#prefix "scanf");     \
    int hook_##prefix##scanf(const char *format, ...) {                                            \
        va_list list;                                                                              \
        va_start(list, format);                                                                    \
        int n = hook_##prefix##vfscanf(stdin, format, list);                                       \
        va_end(list);                                                                              \
        return n;                                                                                  \
    }                                                                                              \
    CORUN_EXPORTED int hook_##prefix##vscanf(const char *format,                                   \
                                             va_list list) __asm__(#prefix "vscanf");              \
    int hook_##prefix##vscanf(const char *format, va_list list) {                                  \
        return hook_##prefix##vfscanf(stdin, format, list);                                        \
    }
CORUN_SCANF()
CORUN_SCANF(__isoc99_)

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(vfscanf, E),
    CORUN_ENTRY(__isoc99_vfscanf, E),
    CORUN_ALIAS_ENTRY(fscanf, E),
    CORUN_ALIAS_ENTRY(scanf, E),
    CORUN_ALIAS_ENTRY(vscanf, E),
    CORUN_ALIAS_ENTRY(__isoc99_fscanf, E),
    CORUN_ALIAS_ENTRY(__isoc99_scanf, E),
    CORUN_ALIAS_ENTRY(__isoc99_vscanf, E),
};

} // namespace

CORUN_TABLE(stdio_scan_table, entries);

} // namespace corun::symbols
