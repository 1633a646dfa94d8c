// SPDX-License-Identifier: Apache-2.0
// Strings and last words of the launcher, which has no C++ run time to lean on. Nothing is freed: the
// launcher lives for milliseconds and becomes another program. What goes on (corun top) works in rounds:
//
//     scratch round;      // what text, text_of and memory make from here on is freed where it ends
#ifndef CORUN_HOOK_LAUNCHER_TEXT_H
#define CORUN_HOOK_LAUNCHER_TEXT_H

#include <cstddef>

namespace corun::launcher {

// What the launcher itself ends with; everything else is the program's. As env(1).
constexpr int exit_cannot = 125, exit_not_executable = 126, exit_not_found = 127;

// "corun: ..." on stderr, and the end.
[[noreturn]] void fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
// The same line, and on it goes.
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Called by fail before its line, where set.
extern void (*before_last_words)();

// One at a time.
class scratch {
  public:
    scratch();
    ~scratch();
    scratch(const scratch &) = delete;
    scratch &operator=(const scratch &) = delete;
};

// A new string.
char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));
// The first `length` bytes as a string.
char *text_of(const char *bytes, size_t length);
void *memory(size_t bytes); // zeroed

// What a terminal would obey becomes '?'.
char *printable(char *text);

bool same(const char *a, const char *b);
bool begins(const char *whole, const char *with);
// What stands behind the last slash.
const char *base_name(const char *path);

// Takes the next part of a list off it: *list goes on behind the separator, nullptr when that was the
// last one. An empty part is a part. nullptr when *list is.
char *next_part(const char **list, const char *separators);

} // namespace corun::launcher

#endif
