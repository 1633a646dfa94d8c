// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/table_text.h"

#include <cerrno>
#include <cstring>

namespace corun::waist {
namespace {

constexpr unsigned longest_line = 1024, number_column = 44, label_column = 2;

} // namespace

// Microseconds with three digits behind the point, of milliseconds.
void format_ms(char *out, unsigned size, double ns) {
    auto us = static_cast<unsigned long>(ns / 1000 + 0.5);
    unsigned long part = us % 1000;
    format_line(out, size, "%lu.%lu%lu%lu ms", us / 1000, part / 100, part / 10 % 10, part % 10);
}

void table_text::pad_to(unsigned to) {
    do {
        if (room() > 1)
            text[length++] = ' ';
    } while (column() < to && room() > 1);
}

void table_text::right(unsigned to, const char *word) {
    auto bytes = static_cast<unsigned>(strlen(word));
    pad_to(to > bytes ? to - bytes : 0);
    add("%s", word);
}

void table_text::right(unsigned to, uint64_t number) {
    char digits[24];
    format_line(digits, sizeof digits, "%lu", static_cast<unsigned long>(number));
    right(to, digits);
}

void table_text::right_time(unsigned to, double ns) {
    char words[32];
    format_ms(words, sizeof words, ns);
    right(to, words);
}

void table_text::end_line() {
    text[length++] = '\n';
    line = length;
    if (length + longest_line > sizeof text)
        flush();
}

void table_text::flush() {
    const char *from = text;
    while (length > 0) {
        sys::word n = sys::write(fd, from, length);
        if (n == -EAGAIN) { // somebody's non-blocking descriptor: wait for room, here
            pollfd space{fd, POLLOUT, 0};
            sys::ppoll(&space, 1, nullptr, nullptr);
            continue;
        }
        if (n == -EINTR)
            continue;
        if (sys::failed(n))
            break;
        from += n;
        length -= static_cast<unsigned>(n);
    }
    length = line = 0;
}

void table_text::row(const char *label, uint64_t number, const char *unit, const char *note) {
    pad_to(label_column);
    add("%s", label);
    right(number_column, number);
    if (*unit)
        add(" %s", unit);
    if (*note)
        add("  %s", note);
    end_line();
}

void table_text::time_row(const char *label, double ns, const char *note) {
    pad_to(label_column);
    add("%s", label);
    char words[32];
    format_ms(words, sizeof words, ns);
    right(number_column + sizeof "ms", words); // the unit stands where the others' do
    if (*note)
        add("  %s", note);
    end_line();
}

} // namespace corun::waist
