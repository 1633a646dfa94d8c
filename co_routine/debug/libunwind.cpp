// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/libunwind.h"

#if defined(__x86_64__)
#define ARCHITECTURE "x86_64"
#else
#define ARCHITECTURE "x86"
#endif

namespace corun::libunwind {
namespace {

// Local: it has _Unwind_* of its own, which must not take the place of libgcc's.
void *open(const char *name) { return dlopen(name, RTLD_NOW | RTLD_LOCAL); }

} // namespace

bool find(functions_here *out) {
    void *library = open("libunwind.so.8");
    functions_here f{};
    bool all = library && find_symbol(library, "_UL" ARCHITECTURE "_step", &f.step) &&
               find_symbol(library, "_UL" ARCHITECTURE "_get_reg", &f.get_reg) &&
               find_symbol(library, "_UL" ARCHITECTURE "_get_proc_info", &f.get_proc_info) &&
               find_symbol(library, "_UL" ARCHITECTURE "_init_local2", &f.init_local2);
    if (all)
        *out = f;
    return all;
}

bool find(functions_elsewhere *out) {
    void *library = open("libunwind-" ARCHITECTURE ".so.8");
    functions_elsewhere f{};
    bool all =
        library && find_symbol(library, "_U" ARCHITECTURE "_step", &f.step) &&
        find_symbol(library, "_U" ARCHITECTURE "_get_reg", &f.get_reg) &&
        find_symbol(library, "_U" ARCHITECTURE "_get_proc_info", &f.get_proc_info) &&
        find_symbol(library, "_U" ARCHITECTURE "_create_addr_space", &f.create_addr_space) &&
        find_symbol(library, "_U" ARCHITECTURE "_init_remote", &f.init_remote) &&
        find_symbol(library, "_U" ARCHITECTURE "_set_caching_policy", &f.set_caching_policy) &&
        find_symbol(library, "_U" ARCHITECTURE "_flush_cache", &f.flush_cache) &&
        find_symbol(library, "_U" ARCHITECTURE "_dwarf_search_unwind_table",
                    &f.search_unwind_table);
    if (all)
        *out = f;
    return all;
}

} // namespace corun::libunwind
