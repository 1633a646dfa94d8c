// SPDX-License-Identifier: Apache-2.0
// Streams of wide characters. Reading fills the byte buffer as for bytes, and libc converts. What is
// written is converted inside libc, so there a coroutine waits until the descriptor takes something,
// and a pipe's or socket's buffer that is all but full may still hold the thread.
#include "co_hook/symbols/stdio_stream.h"

#include <cwchar>

extern "C" [[noreturn]] void __chk_fail();

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_STDIO;

// How libc's struct _IO_wide_data begins.
struct wide_buffer {
    wchar_t *read_ptr, *read_end, *read_base, *write_base, *write_ptr, *write_end;
};
const wide_buffer *buffer_of(const FILE *f) {
    return reinterpret_cast<const wide_buffer *>(f->_wide_data);
}

// libc's next character needs no read: it is there, or its bytes are.
bool prepare(stream_io &io, const FILE *f) {
    if (io.failed())
        return false;
    if (f->_flags & flag_putting)
        return true; // libc turns the stream round
    const wide_buffer *b = buffer_of(f);
    if (b->read_ptr < b->read_end)
        return true;
    if (!io.fill())
        return false;
    for (;;) {
        mbstate_t state{};
        constexpr size_t cut = static_cast<size_t>(-2);
        if (mbrtowc(nullptr, io.bytes(), io.available(), &state) != cut || !io.fill_behind())
            return !io.failed();
    }
}

wint_t get_char(stream_io &io, FILE *stream, wint_t (*native)(FILE *)) {
    if (!prepare(io, stream))
        return io.result(WEOF);
    return io.result(native(stream));
}

bool may_write(const FILE *f, wchar_t c) {
    const wide_buffer *b = buffer_of(f);
    return b->write_end - b->write_ptr < 2 || (f->_flags & flag_unbuffered) ||
           ((f->_flags & flag_line_buffered) && c == L'\n');
}

wint_t put_char(stream_io &io, wchar_t c, FILE *stream, wint_t (*native)(wchar_t, FILE *)) {
    if (may_write(stream, c))
        io.wait_until_writable();
    return io.result(io.failed() ? WEOF : native(c, stream));
}

} // namespace

#define CORUN_GETWC(name)                                                                          \
    CORUN_NATIVE(wint_t, name, (FILE * stream), ((void)stream, WEOF));                             \
    wint_t hook_##name(FILE *stream) {                                                             \
        stream_io io(stream, 1);                                                                   \
        return io.ours() ? get_char(io, stream, native_##name) : native_##name(stream);            \
    }
CORUN_GETWC(fgetwc)
CORUN_GETWC(getwc)
CORUN_GETWC(fgetwc_unlocked)
CORUN_GETWC(getwc_unlocked)

#define CORUN_GETWCHAR(name, of)                                                                   \
    CORUN_NATIVE(wint_t, name, (), WEOF);                                                          \
    wint_t hook_##name() { return is_ours(stdin) ? hook_##of(stdin) : native_##name(); }
CORUN_GETWCHAR(getwchar, getwc)
CORUN_GETWCHAR(getwchar_unlocked, getwc_unlocked)

namespace {

// As fgets: see stdio_read.cpp.
wchar_t *get_line(stream_io &io, wchar_t *to, size_t room, int n, FILE *stream) {
    if (n <= 0)
        return io.result<wchar_t *>(nullptr);
    int before = stream->_flags & flag_error;
    stream->_flags &= ~flag_error;
    size_t count = 0, most = static_cast<size_t>(n) - 1;
    while (count < most && count < room && prepare(io, stream)) {
        wint_t c = native_fgetwc(stream);
        if (c == WEOF)
            break;
        to[count++] = static_cast<wchar_t>(c);
        if (c == L'\n')
            break;
    }
    if (count >= room)
        __chk_fail();
    bool bad = (stream->_flags & flag_error) && io.error() != EAGAIN;
    stream->_flags |= before;
    if ((count == 0 && n > 1) || bad || io.error() == ECANCELED)
        return io.result<wchar_t *>(nullptr);
    to[count] = L'\0';
    return io.result(to);
}

} // namespace

#define CORUN_FGETWS(name)                                                                         \
    CORUN_NATIVE(wchar_t *, name, (wchar_t * to, int n, FILE *stream),                             \
                 ((void)to, (void)n, (void)stream, nullptr));                                      \
    wchar_t *hook_##name(wchar_t *to, int n, FILE *stream) {                                       \
        stream_io io(stream, 1);                                                                   \
        return io.ours() ? get_line(io, to, SIZE_MAX, n, stream) : native_##name(to, n, stream);   \
    }
CORUN_FGETWS(fgetws)
CORUN_FGETWS(fgetws_unlocked)
#define CORUN_FGETWS_CHK(name)                                                                     \
    CORUN_NATIVE(wchar_t *, name, (wchar_t * to, size_t room, int n, FILE *stream),                \
                 ((void)to, (void)room, (void)n, (void)stream, nullptr));                          \
    wchar_t *hook_##name(wchar_t *to, size_t room, int n, FILE *stream) {                          \
        stream_io io(stream, 1);                                                                   \
        return io.ours() ? get_line(io, to, room, n, stream) : native_##name(to, room, n, stream); \
    }
CORUN_FGETWS_CHK(__fgetws_chk)
CORUN_FGETWS_CHK(__fgetws_unlocked_chk)

#define CORUN_PUTWC(name)                                                                          \
    CORUN_NATIVE(wint_t, name, (wchar_t c, FILE * stream), ((void)c, (void)stream, WEOF));         \
    wint_t hook_##name(wchar_t c, FILE *stream) {                                                  \
        stream_io io(stream, 1);                                                                   \
        return io.ours() ? put_char(io, c, stream, native_##name) : native_##name(c, stream);      \
    }
CORUN_PUTWC(fputwc)
CORUN_PUTWC(putwc)
CORUN_PUTWC(fputwc_unlocked)
CORUN_PUTWC(putwc_unlocked)
#define CORUN_PUTWCHAR(name, of)                                                                   \
    CORUN_NATIVE(wint_t, name, (wchar_t c), ((void)c, WEOF));                                      \
    wint_t hook_##name(wchar_t c) {                                                                \
        return is_ours(stdout) ? hook_##of(c, stdout) : native_##name(c);                          \
    }
CORUN_PUTWCHAR(putwchar, putwc)
CORUN_PUTWCHAR(putwchar_unlocked, putwc_unlocked)

#define CORUN_WIDE_OUT(name, parameters, arguments)                                                \
    CORUN_NATIVE(int, name, parameters, ((void)sizeof arguments, -1));                             \
    int hook_##name parameters {                                                                   \
        stream_io io(stream, 1);                                                                   \
        if (!io.ours())                                                                            \
            return native_##name arguments;                                                        \
        io.wait_until_writable();                                                                  \
        return io.result(io.failed() ? -1 : native_##name arguments);                              \
    }
CORUN_WIDE_OUT(fputws, (const wchar_t *text, FILE *stream), (text, stream))
CORUN_WIDE_OUT(fputws_unlocked, (const wchar_t *text, FILE *stream), (text, stream))
CORUN_WIDE_OUT(vfwprintf, (FILE * stream, const wchar_t *format, va_list list),
               (stream, format, list))
CORUN_WIDE_OUT(__vfwprintf_chk, (FILE * stream, int flag, const wchar_t *format, va_list list),
               (stream, flag, format, list))

CORUN_PRINT(fwprintf, (FILE * stream, const wchar_t *format, ...), vfwprintf,
            (stream, format, list))
CORUN_PRINT(wprintf, (const wchar_t *format, ...), vfwprintf, (stdout, format, list))
CORUN_PRINT(__fwprintf_chk, (FILE * stream, int flag, const wchar_t *format, ...), __vfwprintf_chk,
            (stream, flag, format, list))
CORUN_PRINT(__wprintf_chk, (int flag, const wchar_t *format, ...), __vfwprintf_chk,
            (stdout, flag, format, list))
CORUN_EXPORTED int hook_vwprintf(const wchar_t *format, va_list list) __asm__("vwprintf");
int hook_vwprintf(const wchar_t *format, va_list list) {
    return hook_vfwprintf(stdout, format, list);
}
CORUN_EXPORTED int hook___vwprintf_chk(int flag, const wchar_t *format,
                                       va_list list) __asm__("__vwprintf_chk");
int hook___vwprintf_chk(int flag, const wchar_t *format, va_list list) {
    return hook___vfwprintf_chk(stdout, flag, format, list);
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(fgetwc, E),
    CORUN_ENTRY(getwc, E),
    CORUN_ENTRY(fgetwc_unlocked, E),
    CORUN_ENTRY(getwc_unlocked, E),
    CORUN_ENTRY(getwchar, E),
    CORUN_ENTRY(getwchar_unlocked, E),
    CORUN_ENTRY(fgetws, E),
    CORUN_ENTRY(fgetws_unlocked, E),
    CORUN_ENTRY(__fgetws_chk, E),
    CORUN_ENTRY(__fgetws_unlocked_chk, E),
    CORUN_ENTRY(fputwc, E),
    CORUN_ENTRY(putwc, E),
    CORUN_ENTRY(fputwc_unlocked, E),
    CORUN_ENTRY(putwc_unlocked, E),
    CORUN_ENTRY(putwchar, E),
    CORUN_ENTRY(putwchar_unlocked, E),
    CORUN_ENTRY(fputws, E),
    CORUN_ENTRY(fputws_unlocked, E),
    CORUN_ENTRY(vfwprintf, E),
    CORUN_ENTRY(__vfwprintf_chk, E),
    CORUN_ALIAS_ENTRY(fwprintf, E),
    CORUN_ALIAS_ENTRY(wprintf, E),
    CORUN_ALIAS_ENTRY(__fwprintf_chk, E),
    CORUN_ALIAS_ENTRY(__wprintf_chk, E),
    CORUN_ALIAS_ENTRY(vwprintf, E),
    CORUN_ALIAS_ENTRY(__vwprintf_chk, E),
};

} // namespace

CORUN_TABLE(stdio_wide_table, entries);

} // namespace corun::symbols
