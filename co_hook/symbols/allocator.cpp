// SPDX-License-Identifier: Apache-2.0
// The program's allocator, if it has one of its own. It must not park: its tables are the thread's,
// so another coroutine of this thread could come in while it is half way.
#include "co_hook/symbols/threads.h"

#include <link.h>

namespace corun::symbols {
namespace {

uintptr_t allocator_low, allocator_high;

int note_range(dl_phdr_info *info, size_t, void *base) {
    if (info->dlpi_addr == 0 || info->dlpi_addr != reinterpret_cast<uintptr_t>(base))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; ++i)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
            allocator_low = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            allocator_high = allocator_low + info->dlpi_phdr[i].p_memsz;
        }
    return 1;
}

// Not for libc's own malloc, which locks without our names, nor for one inside the program, which
// cannot be told from the rest of it.
__attribute__((constructor(102))) void find_allocator() {
    Dl_info of_malloc, of_libc, of_us;
    void *libc = reinterpret_cast<void *>(&dl_iterate_phdr);
    void *found = dlsym(RTLD_DEFAULT, "malloc");
    if (!found || !dladdr(found, &of_malloc) || !dladdr(libc, &of_libc) ||
        !dladdr(reinterpret_cast<void *>(&allocator_low), &of_us))
        return;
    const void *main_base = dlsym(RTLD_DEFAULT, "_start");
    Dl_info of_main{};
    if (main_base)
        dladdr(main_base, &of_main);
    if (of_malloc.dli_fbase != of_libc.dli_fbase && of_malloc.dli_fbase != of_us.dli_fbase &&
        of_malloc.dli_fbase != of_main.dli_fbase)
        dl_iterate_phdr(note_range, of_malloc.dli_fbase);
}

} // namespace

bool is_allocator(const void *code) {
    uintptr_t at = reinterpret_cast<uintptr_t>(code);
    return at - allocator_low < allocator_high - allocator_low;
}

} // namespace corun::symbols
