// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/text.h"

#include "co_routine/base/check.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace corun::launcher {

namespace {

void say(const char *format, va_list arguments) {
    char line[2048]; // one write, so that lines of several processes do not mix
    int n = vsnprintf(line, sizeof line, format, arguments);
    if (n >= 0)
        fprintf(stderr, "corun: %s\n", line);
}

struct {
    void **pieces;
    size_t count, room;
    bool is_kept;
} made;

void *note(void *piece) {
    if (piece == nullptr)
        fail(exit_cannot, "out of memory");
    if (!made.is_kept)
        return piece;
    if (made.count == made.room) {
        made.room = made.room * 2 + 1024;
        made.pieces = static_cast<void **>(realloc(made.pieces, made.room * sizeof(void *)));
        if (made.pieces == nullptr)
            abort();
    }
    return made.pieces[made.count++] = piece;
}

} // namespace

void (*before_last_words)();

scratch::scratch() { made.is_kept = true; }

scratch::~scratch() {
    while (made.count > 0)
        free(made.pieces[--made.count]);
    made.is_kept = false;
}

void fail(int status, const char *format, ...) {
    va_list arguments;
    if (before_last_words != nullptr)
        before_last_words();
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    exit(status);
}

void warn(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

void *memory(size_t bytes) { return note(calloc(1, bytes == 0 ? 1 : bytes)); }

char *text(const char *format, ...) {
    char *made_here = nullptr;
    va_list arguments;
    va_start(arguments, format);
    int n = vasprintf(&made_here, format, arguments);
    va_end(arguments);
    return static_cast<char *>(note(n < 0 ? nullptr : made_here));
}

char *text_of(const char *bytes, size_t length) {
    auto *made = static_cast<char *>(memory(length + 1));
    memcpy(made, bytes, length);
    return made;
}

char *printable(char *text) {
    make_printable(text, static_cast<unsigned>(strlen(text)));
    return text;
}

bool same(const char *a, const char *b) { return strcmp(a, b) == 0; }

bool begins(const char *whole, const char *with) { return strncmp(whole, with, strlen(with)) == 0; }

const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == nullptr ? path : slash + 1;
}

char *next_part(const char **list, const char *separators) {
    if (*list == nullptr)
        return nullptr;
    size_t length = strcspn(*list, separators);
    char *part = text_of(*list, length);
    *list = (*list)[length] == '\0' ? nullptr : *list + length + 1;
    return part;
}

} // namespace corun::launcher
