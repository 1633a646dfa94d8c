// SPDX-License-Identifier: Apache-2.0
// Text in columns, gathered and written by whole lines. Memory of its own, no libc.
#pragma once

#include "co_routine/base/check.h"
#include "co_routine/base/raw_sys.h"

#include <cstdint>

namespace corun::waist {

void format_ms(char *out, unsigned size, double ns); // "12.345 ms"

class table_text {
  public:
    void begin(int to_fd) {
        fd = to_fd;
        length = line = 0;
    }
    template <class... Args> void add(const char *format, Args... args) {
        length += format_line(text + length, room(), format, args...);
    }
    void pad_to(unsigned column); // one blank at least
    // Ends at that column.
    void right(unsigned column, const char *word);
    void right(unsigned column, uint64_t number);
    void right_time(unsigned column, double ns); // "12.345 ms"
    void end_line();
    void flush();

    // "  label      number unit  note"
    void row(const char *label, uint64_t number, const char *unit = "", const char *note = "");
    void time_row(const char *label, double ns, const char *note);

  private:
    unsigned room() const { return static_cast<unsigned>(sizeof text) - length - 1; }
    unsigned column() const { return length - line; }

    int fd = 2;
    unsigned length = 0, line = 0; // line: where the last one begins
    char text[32 * 1024] = {};
};

} // namespace corun::waist
