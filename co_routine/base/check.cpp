// SPDX-License-Identifier: Apache-2.0
#include "co_routine/base/check.h"

#include "co_routine/base/raw_sys.h"

#include <cstdarg>
#include <cstdlib>

namespace corun {
namespace {

name_function name_of_running;

// A line being built: what does not fit is dropped, the end is always terminated.
struct line {
    char *at, *end;

    void put(char c) {
        if (at < end)
            *at++ = c;
    }
    void put(const char *s) {
        for (; *s; ++s)
            put(*s);
    }
    void put_number(unsigned long long value, unsigned base) {
        char digits[24];
        unsigned n = 0;
        do
            digits[n++] = "0123456789abcdef"[value % base];
        while ((value /= base) != 0);
        while (n)
            put(digits[--n]);
    }
    void put_signed(long long value) {
        if (value < 0) {
            put('-');
            put_number(0ULL - static_cast<unsigned long long>(value), 10);
        } else {
            put_number(static_cast<unsigned long long>(value), 10);
        }
    }
};

// %p is the only pointer, %zu and %lu/%ld the only sizes: what our own messages use.
void put_conversion(line &out, const char *&f, va_list &args) {
    unsigned longs = 0;
    bool size = false;
    for (; *f == 'l' || *f == 'z'; ++f)
        *f == 'l' ? void(++longs) : void(size = true);
    switch (*f) {
    case 's': {
        const char *s = va_arg(args, const char *);
        out.put(s ? s : "(null)");
        break;
    }
    case 'd':
        out.put_signed(longs == 2 ? va_arg(args, long long)
                                  : (longs ? va_arg(args, long) : va_arg(args, int)));
        break;
    case 'u':
    case 'x': {
        unsigned base = *f == 'u' ? 10 : 16;
        if (size)
            out.put_number(va_arg(args, size_t), base);
        else
            out.put_number(longs == 2
                               ? va_arg(args, unsigned long long)
                               : (longs ? va_arg(args, unsigned long) : va_arg(args, unsigned)),
                           base);
        break;
    }
    case 'p':
        out.put("0x");
        out.put_number(reinterpret_cast<uintptr_t>(va_arg(args, void *)), 16);
        break;
    default:
        out.put(*f);
    }
}

unsigned format_args(char *buffer, unsigned size, const char *f, va_list &args) {
    line out{buffer, buffer + size - 1};
    for (; *f; ++f) {
        if (*f != '%') {
            out.put(*f);
            continue;
        }
        ++f;
        put_conversion(out, f, args);
    }
    *out.at = '\0';
    return static_cast<unsigned>(out.at - buffer);
}

// One write, so that lines of several processes do not mix.
void say(const char *format, va_list &args) {
    char text[512] = "corun: ";
    unsigned n = 7;
    if (name_of_running) {
        name_of_running(text + n, 120);
        while (text[n])
            ++n;
    }
    n += format_args(text + n, sizeof text - 1 - n, format, args);
    text[n++] = '\n';
    sys::write(2, text, n);
}

} // namespace

void set_name_function(name_function f) { name_of_running = f; }

unsigned format_line(char *out, unsigned size, const char *format, ...) {
    va_list args;
    va_start(args, format);
    unsigned n = format_args(out, size, format, args);
    va_end(args);
    return n;
}

void fatal(const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
    abort();
}

void warn(const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
}

} // namespace corun
