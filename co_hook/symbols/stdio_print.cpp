// SPDX-License-Identifier: Apache-2.0
// printf's family: the text is made first, by libc, then written as fwrite does.
#include "co_hook/symbols/stdio_stream.h"

#include "co_hook/calls/wait.h"

extern "C" {
int __vsnprintf_chk(char *, size_t, int, size_t, const char *, va_list) noexcept;
// The first is there in a libc.so.6, the second comes with vsnprintf in a -static program.
int _IO_vfprintf(FILE *, const char *, va_list) __attribute__((weak));
int __vfprintf_internal(FILE *, const char *, va_list, unsigned) __attribute__((weak));
}

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_STDIO;
constexpr size_t short_text = 512;

int without_libc(FILE *stream, const char *format, va_list list) {
    if (_IO_vfprintf)
        return _IO_vfprintf(stream, format, list);
    return __vfprintf_internal ? __vfprintf_internal(stream, format, list, 0) : -1;
}

// Makes the text and gives it to write(text, n), which returns whether all of it was taken.
template <class Write> int print_with(int flag, const char *format, va_list list, Write write) {
    char here[short_text];
    va_list again;
    va_copy(again, list);
    int n = __vsnprintf_chk(here, sizeof here, flag, SIZE_MAX, format, again);
    va_end(again);
    if (n < 0)
        return -1;
    size_t bytes = static_cast<size_t>(n);
    if (bytes < sizeof here)
        return write(here, bytes) ? n : -1;
    calls::pool_block block(bytes + 1);
    if (!block.data()) {
        errno = ENOMEM;
        return -1;
    }
    va_copy(again, list);
    n = __vsnprintf_chk(block.data(), bytes + 1, flag, SIZE_MAX, format, again);
    va_end(again);
    return n >= 0 && write(block.data(), bytes) ? n : -1;
}

int print(stream_io &io, int flag, const char *format, va_list list) {
    if (io.failed())
        return io.result(-1);
    int n = print_with(flag, format, list, [&](const char *text, size_t bytes) {
        return io.put(text, bytes) == bytes;
    });
    return io.result(n);
}

// To a descriptor, with no stream.
int print_to(int fd, int flag, const char *format, va_list list) {
    word error = 0;
    int n = print_with(flag, format, list, [&](const char *text, size_t bytes) {
        for (size_t done = 0; done < bytes;) {
            word r = calls::write(fd, text + done, bytes - done);
            if (r < 0) {
                error = r;
                return false;
            }
            done += static_cast<size_t>(r);
        }
        return true;
    });
    return error != 0 ? to_libc<int>(error) : n;
}

int print_without_libc(int fd, const char *format, va_list list) {
    char text[short_text];
    int n = __vsnprintf_chk(text, sizeof text, 0, SIZE_MAX, format, list);
    size_t bytes = n < static_cast<int>(sizeof text) ? static_cast<size_t>(n) : sizeof text - 1;
    return n < 0 ? n : plain_result<int>(sys::write(fd, text, bytes));
}

} // namespace

CORUN_NATIVE(int, vfprintf, (FILE * stream, const char *format, va_list list),
             without_libc(stream, format, list));
int hook_vfprintf(FILE *stream, const char *format, va_list list) {
    stream_io io(stream);
    return io.ours() ? print(io, 0, format, list) : native_vfprintf(stream, format, list);
}
CORUN_NATIVE(int, __vfprintf_chk, (FILE * stream, int flag, const char *format, va_list list),
             without_libc(stream, format, ((void)flag, list)));
int hook___vfprintf_chk(FILE *stream, int flag, const char *format, va_list list) {
    stream_io io(stream);
    return io.ours() ? print(io, flag, format, list)
                     : native___vfprintf_chk(stream, flag, format, list);
}
CORUN_NATIVE(int, vdprintf, (int fd, const char *format, va_list list),
             print_without_libc(fd, format, list));
int hook_vdprintf(int fd, const char *format, va_list list) {
    return hooks_are_on(family) ? print_to(fd, 0, format, list) : native_vdprintf(fd, format, list);
}
CORUN_NATIVE(int, __vdprintf_chk, (int fd, int flag, const char *format, va_list list),
             print_without_libc(fd, format, ((void)flag, list)));
int hook___vdprintf_chk(int fd, int flag, const char *format, va_list list) {
    return hooks_are_on(family) ? print_to(fd, flag, format, list)
                                : native___vdprintf_chk(fd, flag, format, list);
}

// The others are these with other arguments, in libc too.
CORUN_PRINT(fprintf, (FILE * stream, const char *format, ...), vfprintf, (stream, format, list))
CORUN_PRINT(printf, (const char *format, ...), vfprintf, (stdout, format, list))
CORUN_PRINT(dprintf, (int fd, const char *format, ...), vdprintf, (fd, format, list))
CORUN_PRINT(__fprintf_chk, (FILE * stream, int flag, const char *format, ...), __vfprintf_chk,
            (stream, flag, format, list))
CORUN_PRINT(__printf_chk, (int flag, const char *format, ...), __vfprintf_chk,
            (stdout, flag, format, list))
CORUN_PRINT(__dprintf_chk, (int fd, int flag, const char *format, ...), __vdprintf_chk,
            (fd, flag, format, list))

CORUN_EXPORTED int hook_vprintf(const char *format, va_list list) __asm__("vprintf");
int hook_vprintf(const char *format, va_list list) { return hook_vfprintf(stdout, format, list); }
CORUN_EXPORTED int hook___vprintf_chk(int flag, const char *format,
                                      va_list list) __asm__("__vprintf_chk");
int hook___vprintf_chk(int flag, const char *format, va_list list) {
    return hook___vfprintf_chk(stdout, flag, format, list);
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(vfprintf, E),
    CORUN_ENTRY(__vfprintf_chk, E),
    CORUN_ENTRY(vdprintf, E),
    CORUN_ENTRY(__vdprintf_chk, E),
    CORUN_ALIAS_ENTRY(fprintf, E),
    CORUN_ALIAS_ENTRY(printf, E),
    CORUN_ALIAS_ENTRY(dprintf, E),
    CORUN_ALIAS_ENTRY(vprintf, E),
    CORUN_ALIAS_ENTRY(__fprintf_chk, E),
    CORUN_ALIAS_ENTRY(__printf_chk, E),
    CORUN_ALIAS_ENTRY(__dprintf_chk, E),
    CORUN_ALIAS_ENTRY(__vprintf_chk, E),
};

} // namespace

CORUN_TABLE(stdio_print_table, entries);

} // namespace corun::symbols
