// SPDX-License-Identifier: Apache-2.0
#include "co_hook/symbols/table.h"

#include "co_hook/calls/transfer.h"
#include "co_hook/symbols/hook.h"

#include "co_routine/base/check.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <pthread.h>

namespace corun::symbols {

// A new file of hooks adds its table here.
#define CORUN_TABLES(X)                                                                            \
    X(descriptor_table)                                                                            \
    X(environment_table)                                                                           \
    X(poll_table)                                                                                  \
    X(receive_table)                                                                               \
    X(send_table)                                                                                  \
    X(sleep_table)

#define DECLARE(table) extern const hook_table table;
CORUN_TABLES(DECLARE)

namespace {

#define ADDRESS(table) &table,
const hook_table *const tables[] = {CORUN_TABLES(ADDRESS)};

const char *first_lost; // a name that does not lead to us
unsigned lost_count, name_count;
bool said;

// A program linked at a fixed address stands for a function whose address it takes by its own PLT
// entry: then dlsym finds that, and nothing can be concluded about this name.
bool is_stand_in(void *found) {
    Dl_info info;
    ElfW(Sym) *symbol = nullptr;
    return dladdr1(found, &info, reinterpret_cast<void **>(&symbol), RTLD_DL_SYMENT) != 0 &&
           symbol && symbol->st_shndx == SHN_UNDEF;
}

// What the program's own references lead to, at the same time as libc's functions are found.
void resolve(const hook_entry &e) {
    ++name_count;
    if (e.native)
        if (void *next = dlsym(RTLD_NEXT, e.name))
            if (next != e.ours)
                __atomic_store_n(e.native, next, __ATOMIC_RELEASE);
    void *found = dlsym(RTLD_DEFAULT, e.name);
    if (!found || found == e.ours || is_stand_in(found))
        return; // not found: a -static program
    if (lost_count++ == 0)
        first_lost = e.name;
}

__attribute__((constructor(101))) void find_natives() {
    for (const hook_table *t : tables)
        for (size_t i = 0; i < t->count; ++i)
            resolve(t->entries[i]);
    pthread_atfork(nullptr, nullptr, calls::forget_turns_after_fork);
}

} // namespace

void check_hooks_once() {
    if (CO_LIKELY(__atomic_exchange_n(&said, true, __ATOMIC_ACQ_REL)))
        return;
    if (lost_count != 0)
        warn("hooks are NOT in effect for %u of %u names (first: %s): these calls block the whole "
             "thread. Put libcorun before libc on the link line, or first in LD_PRELOAD.",
             lost_count, name_count, first_lost);
}

} // namespace corun::symbols
