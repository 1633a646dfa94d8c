// SPDX-License-Identifier: Apache-2.0
#include "co_hook/symbols/static_names.h"

#include <cstring>

#define DECLARE(name, internal) extern "C" __attribute__((weak)) void internal();
CORUN_STATIC_NAMES(DECLARE)
// Seen from a file that does not define them, as the program sees them.
#define DECLARE_WRAPPED(name)                                                                      \
    extern "C" void seen_##name() __asm__(#name);                                                  \
    extern "C" __attribute__((weak)) void __real_##name();
CORUN_STATIC_WRAPPED(DECLARE_WRAPPED)
// Of libc.a alone; in every -static program.
extern "C" __attribute__((weak)) void ___pthread_join(), _dl_non_dynamic_init();

namespace corun::symbols {
namespace {

struct static_name {
    const char *name;
    void (*native)();
};

#define PAIR(name, internal) {#name, internal},
#define REAL(name) {#name, __real_##name},
const static_name static_names[] = {CORUN_STATIC_NAMES(PAIR) CORUN_STATIC_WRAPPED(REAL)};
#define SEEN(name) {#name, seen_##name},
const static_name seen_names[] = {CORUN_STATIC_WRAPPED(SEEN)};

} // namespace

void *static_native(const char *name) {
    for (const static_name &s : static_names)
        if (s.native && strcmp(s.name, name) == 0)
            return reinterpret_cast<void *>(s.native);
    return nullptr;
}

void *static_wrapped(const char *name) {
    for (const static_name &s : seen_names)
        if (strcmp(s.name, name) == 0)
            return reinterpret_cast<void *>(s.native);
    return nullptr;
}

bool is_static_program() { return _dl_non_dynamic_init != nullptr; }
bool lacks_static_names() { return is_static_program() && !___pthread_join; }

} // namespace corun::symbols
