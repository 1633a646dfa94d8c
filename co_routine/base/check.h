// SPDX-License-Identifier: Apache-2.0
// Assertions. CO_CHECK stays in every build: what it guards is the user's mistake, and going on would
// corrupt a stack. CO_DCHECK guards our own invariants in the SAN= builds, CO_DCHECK_SLOW the ones that
// walk a structure. A condition has no side effects and no &&: one check says one thing.
#pragma once

#ifndef CO_CHECK_LEVEL
#define CO_CHECK_LEVEL 0
#endif

namespace corun {

// Writes "corun: <coroutine>: <message>" as one line to stderr and aborts. Takes printf's %s %d %u
// %ld %lu %zu %p and no widths: it runs where the heap and libc's locks cannot be trusted.
[[noreturn]] void fatal(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

// The same line without the abort.
void warn(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

// core/ registers how to name the running coroutine: base/ does not know what one is. Writes at
// most size bytes, always terminated.
using name_function = void (*)(char *out, unsigned size);
void set_name_function(name_function f);

// Formats as fatal does; returns the length, at most size - 1.
unsigned format_line(char *out, unsigned size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Names and paths are anybody's: what a terminal would obey becomes '?'.
inline void make_printable(char *text, unsigned length) {
    for (unsigned i = 0; i < length; ++i)
        if (static_cast<unsigned char>(text[i]) < ' ' || text[i] == 0x7f)
            text[i] = '?';
        else if (text[i] == '\xC2' && i + 1 < length && (text[i + 1] & 0xE0) == 0x80)
            text[i] = text[i + 1] = '?'; // the same as one character of UTF-8
}

} // namespace corun

#define CO_LIKELY(x) __builtin_expect(!!(x), 1)
#define CO_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define CO_CHECK(condition, ...)                                                                   \
    do {                                                                                           \
        if (CO_UNLIKELY(!(condition)))                                                             \
            ::corun::fatal(__VA_ARGS__);                                                           \
    } while (0)

#if CO_CHECK_LEVEL >= 1
#define CO_DCHECK(condition)                                                                       \
    CO_CHECK(condition, "internal error: %s (%s:%d)", #condition, __FILE__, __LINE__)
#else
#define CO_DCHECK(condition) ((void)sizeof(!(condition)))
#endif

#if CO_CHECK_LEVEL >= 2
#define CO_DCHECK_SLOW(condition) CO_DCHECK(condition)
#else
#define CO_DCHECK_SLOW(condition) ((void)sizeof(!(condition)))
#endif
