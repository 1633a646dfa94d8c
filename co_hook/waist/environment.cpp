// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/environment.h"

#include "co_hook/launcher/text.h"

#include "co_routine/base/check.h"
#include "co_routine/base/raw_sys.h"

#include <climits>
#include <cstring>
#include <sys/syscall.h>

namespace corun::waist {
namespace {

constexpr char options_name[] = "CORUN_OPTIONS=", debug_name[] = "CORUN_DEBUG=",
               preload_name[] = "LD_PRELOAD=", library_name[] = "libcorun_waist.so";
constexpr size_t smallest_stack = 16 * 1024, largest_stack = size_t{1} << 30;

template <size_t n> bool begins(const char *text, const char (&with)[n]) {
    return strncmp(text, with, n - 1) == 0;
}

[[noreturn]] void refuse(const char *word, size_t length) {
    char shown[64];
    format_line(shown, static_cast<unsigned>(length + 1 < sizeof shown ? length + 1 : sizeof shown),
                "%s", word);
    warn("CORUN_OPTIONS: '%s'; known: stack=<16384 to 1073741824>, stats, stats=<file>, "
         "stats_signal=<1 to 64>, dump_signal=<0 to 64>, inherit, or_native",
         shown);
    end_refused();
}

// Digits up to length; out of range: refused.
size_t number(const char *word, size_t length, size_t at, size_t least, size_t most) {
    size_t n = 0;
    for (size_t i = at; i < length; ++i) {
        if (word[i] < '0' || word[i] > '9' || n > most)
            refuse(word, length);
        n = n * 10 + static_cast<size_t>(word[i] - '0');
    }
    if (at == length || n < least || n > most)
        refuse(word, length);
    return n;
}

bool is(const char *word, size_t length, const char *name) {
    return strlen(name) == length && memcmp(word, name, length) == 0;
}

void read_option(const char *word, size_t length, options *out) {
    constexpr char stack[] = "stack=", file[] = "stats=", signal[] = "stats_signal=",
                   dump[] = "dump_signal=";
    if (begins(word, stack)) {
        out->stack_bytes = number(word, length, sizeof stack - 1, smallest_stack, largest_stack);
    } else if (begins(word, signal)) {
        out->stats_signal = static_cast<int>(number(word, length, sizeof signal - 1, 1, 64));
    } else if (begins(word, dump)) {
        out->dump_signal = static_cast<int>(number(word, length, sizeof dump - 1, 0, 64));
    } else if (begins(word, file)) {
        size_t bytes = length - (sizeof file - 1);
        if (bytes == 0 || bytes >= sizeof out->stats_file)
            refuse(word, length);
        memcpy(out->stats_file, word + sizeof file - 1, bytes);
        out->stats = true;
    } else if (is(word, length, "stats")) {
        out->stats = true;
    } else if (is(word, length, "inherit")) {
        out->inherit = true;
    } else if (is(word, length, "or_native")) {
        out->or_native = true;
    } else {
        refuse(word, length);
    }
}

template <class F> void each_word(const char *list, const char *separators, F f) {
    while (*list) {
        size_t length = strcspn(list, separators);
        if (length > 0)
            f(list, length);
        list += length;
        if (*list)
            ++list;
    }
}

// LD_PRELOAD without our name. False: nothing is left of it.
bool drop_own_name(char *value) {
    char *to = value;
    bool dropped = false;
    each_word(value, ": ", [&](const char *word, size_t length) {
        const char *slash = static_cast<const char *>(memrchr(word, '/', length));
        const char *base = slash ? slash + 1 : word;
        auto base_length = static_cast<size_t>(word + length - base);
        if (!dropped && is(base, base_length, library_name)) {
            dropped = true;
            return;
        }
        if (to != value)
            *to++ = ':';
        memmove(to, word, length);
        to += length;
    });
    *to = '\0';
    return to != value;
}

} // namespace

void end_refused() {
    for (;;)
        sys::call(SYS_exit_group, launcher::exit_cannot);
}

void read_environment(char **environment, options *out) {
    for (char **at = environment; *at; ++at) {
        if (begins(*at, options_name))
            each_word(*at + sizeof options_name - 1, ",",
                      [out](const char *w, size_t n) { read_option(w, n, out); });
        else if (begins(*at, debug_name)) // the other words are co_routine's: core/debug_flags.cpp
            each_word(*at + sizeof debug_name - 1, ",", [out](const char *w, size_t n) {
                out->list_sites |= is(w, n, "sites");
                out->report_overflows &= !is(w, n, "no-overflow");
            });
    }
}

void clean_environment(char **environment) {
    char **to = environment;
    for (char **at = environment; *at; ++at) {
        bool goes = begins(*at, options_name) ||
                    (begins(*at, preload_name) && !drop_own_name(*at + sizeof preload_name - 1));
        if (!goes)
            *to++ = *at;
    }
    *to = nullptr;
}

} // namespace corun::waist
