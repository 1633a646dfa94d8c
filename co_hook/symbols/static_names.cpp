// SPDX-License-Identifier: Apache-2.0
#include "co_hook/symbols/static_names.h"

#include <cstring>

#define DECLARE(name, internal) extern "C" __attribute__((weak)) void internal();
CORUN_STATIC_NAMES(DECLARE)
// Of libc.a alone; in every -static program.
extern "C" __attribute__((weak)) void ___pthread_join(), _dl_non_dynamic_init();

namespace corun::symbols {
namespace {

struct static_name {
    const char *name;
    void (*native)();
};

#define PAIR(name, internal) {#name, internal},
const static_name static_names[] = {CORUN_STATIC_NAMES(PAIR)};

} // namespace

void *static_native(const char *name) {
    for (const static_name &s : static_names)
        if (s.native && strcmp(s.name, name) == 0)
            return reinterpret_cast<void *>(s.native);
    return nullptr;
}

bool lacks_static_names() { return _dl_non_dynamic_init && !___pthread_join; }

} // namespace corun::symbols
