// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/code_names.h"

#include "co_hook/waist/image.h"
#include "co_hook/waist/patch.h"

#include "co_routine/base/check.h"
#include "co_routine/base/raw_sys.h"

#include <link.h>

#pragma weak _dl_find_object // glibc 2.35

#pragma GCC visibility push(hidden)
extern "C" {
void waist_entry();
extern char waist_entry_passed[];
}
#pragma GCC visibility pop

namespace corun::waist {
namespace {

// The last symbol before an address may be another function's.
bool is_in_function(const image &img, uintptr_t pc, uintptr_t symbol) {
    code_range function;
    return !unwind_range(img, pc, &function) || symbol >= function.start;
}

// The program's own object has no name in the dynamic linker's list.
const char *path_of_program() {
    static char path[512];
    if (!path[0] && sys::failed(sys::call(SYS_readlink, "/proc/self/exe", path, sizeof path - 1)))
        return "the program";
    return path;
}

} // namespace

int info_of_code(const void *at, Dl_info *info) {
    auto pc = reinterpret_cast<uintptr_t>(at);
    if (is_slot(pc))
        pc = site_of_slot(pc) - 1;
    dl_find_object found;
    if (!_dl_find_object || _dl_find_object(reinterpret_cast<void *>(pc), &found) != 0)
        return 0;
    *info = {};
    const char *name = found.dlfo_link_map ? found.dlfo_link_map->l_name : nullptr;
    info->dli_fname = name && *name ? name : path_of_program();
    info->dli_fbase = found.dlfo_map_start;
    image img;
    if (image_from_memory(&img, info->dli_fname, found.dlfo_map_start) != 0)
        return 1;
    uintptr_t distance = 0;
    const char *symbol = symbol_name(img, pc, &distance);
    if (symbol && is_in_function(img, pc, pc - distance)) {
        info->dli_sname = symbol;
        info->dli_saddr = reinterpret_cast<void *>(pc - distance);
    }
    return 1;
}

uintptr_t place_of_program(uintptr_t pc, uintptr_t sp) {
    if (pc < reinterpret_cast<uintptr_t>(&waist_entry) ||
        pc >= reinterpret_cast<uintptr_t>(waist_entry_passed))
        return pc; // where sp may be anything
    uintptr_t caller = *reinterpret_cast<const uintptr_t *>(sp);
    return is_slot(caller) ? caller : pc;
}

unsigned format_code(char *out, unsigned size, uintptr_t pc) {
    uintptr_t shown = is_slot(pc) ? site_of_slot(pc) : pc;
    Dl_info info;
    if (!info_of_code(reinterpret_cast<const void *>(shown), &info))
        return format_line(out, size, "%p", reinterpret_cast<void *>(shown));
    size_t in_file = shown - reinterpret_cast<uintptr_t>(info.dli_fbase);
    if (!info.dli_sname)
        return format_line(out, size, "%s+0x%zx", info.dli_fname, in_file);
    return format_line(out, size, "%s+0x%zx (%s+0x%zx)", info.dli_sname,
                       shown - reinterpret_cast<uintptr_t>(info.dli_saddr), info.dli_fname,
                       in_file);
}

} // namespace corun::waist
