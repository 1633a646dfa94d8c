// SPDX-License-Identifier: Apache-2.0
// CORUN_DEBUG and co_set_debug: which debugging aids are on. Read once, strictly: a word that means
// nothing ends the process, because a misspelt aid that is silently off costs a day.
#include "co_routine/base/check.h"
#include "co_routine/core/env.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

using namespace corun;

namespace {

constexpr unsigned known_flags =
    CO_DEBUG_STACKS | CO_DEBUG_OVERFLOW | CO_DEBUG_HOOKS | CO_DEBUG_BLOCKED | CO_DEBUG_PRIVATE;
constexpr unsigned not_read = ~0U;
constexpr unsigned most_ms = 3600 * 1000;
unsigned flags = not_read;
unsigned limit_ms = 50;

[[noreturn]] void refuse(const char *word, size_t length, const char *why) {
    char shown[32];
    format_line(shown, sizeof shown < length + 1 ? sizeof shown : unsigned(length + 1), "%s", word);
    fatal("CORUN_DEBUG: %s '%s'; known: stacks, private, overflow, hooks, blocked, blocked:<ms>, "
          "and under corun sites, no-overflow",
          why, shown);
}

// "blocked:100": the digits behind the colon.
unsigned limit_of(const char *word, size_t length, size_t at) {
    unsigned ms = 0;
    for (size_t i = at; i < length; ++i) {
        if (word[i] < '0' || word[i] > '9' || ms > most_ms)
            ms = most_ms + 1;
        else
            ms = ms * 10 + static_cast<unsigned>(word[i] - '0');
    }
    if (ms == 0 || ms > most_ms)
        refuse(word, length, "not a number of milliseconds from 1 to 3600000 in");
    return ms;
}

unsigned flag_of(const char *word, size_t length) {
    static const struct {
        const char *name;
        unsigned flag;
    } words[] = {{"stacks", CO_DEBUG_STACKS},
                 {"private", CO_DEBUG_STACKS | CO_DEBUG_PRIVATE},
                 {"overflow", CO_DEBUG_OVERFLOW},
                 {"hooks", CO_DEBUG_HOOKS},
                 {"blocked", CO_DEBUG_BLOCKED},
                 {"sites", 0}, // these two are read by co_hook/waist, before this
                 {"no-overflow", 0}};
    for (const auto &w : words)
        if (strlen(w.name) == length && memcmp(w.name, word, length) == 0)
            return w.flag;
    constexpr size_t with_limit = sizeof "blocked:" - 1;
    if (length >= with_limit && memcmp("blocked:", word, with_limit) == 0) {
        limit_ms = limit_of(word, length, with_limit);
        return CO_DEBUG_BLOCKED;
    }
    refuse(word, length, "unknown word");
}

unsigned parse(const char *list) {
    unsigned found = 0;
    while (list && *list) {
        size_t length = strcspn(list, ",");
        found |= flag_of(list, length);
        list += length;
        if (*list == ',')
            ++list;
    }
    return found;
}

} // namespace

namespace corun {

unsigned debug_flags() {
    unsigned seen = __atomic_load_n(&flags, __ATOMIC_ACQUIRE);
    if (seen == not_read) {
        // secure_getenv: a setuid program's environment is somebody else's.
        unsigned parsed = parse(secure_getenv("CORUN_DEBUG"));
        __atomic_compare_exchange_n(&flags, &seen, parsed, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE);
        seen = __atomic_load_n(&flags, __ATOMIC_ACQUIRE);
    }
    return seen;
}

unsigned blocked_limit_ms() { return limit_ms; }

} // namespace corun

int co_set_debug(unsigned wanted) {
    if (wanted & ~known_flags)
        return EINVAL;
    bool busy = false;
    for_each_env([](co_env *env, void *arg) { *static_cast<bool *>(arg) |= !env->all.empty(); },
                 &busy);
    if (busy)
        return EBUSY;
    if (wanted & CO_DEBUG_PRIVATE)
        wanted |= CO_DEBUG_STACKS;
    __atomic_store_n(&flags, wanted, __ATOMIC_RELEASE);
    // The next first coroutine of each thread looks again.
    for_each_env(
        [](co_env *env, void *) {
            __atomic_store_n(&env->debugging_prepared, false, __ATOMIC_RELAXED);
        },
        nullptr);
    return 0;
}
