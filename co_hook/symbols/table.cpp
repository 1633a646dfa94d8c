// SPDX-License-Identifier: Apache-2.0
#include "co_hook/symbols/table.h"

#include "co_hook/calls/fd_state.h"
#include "co_hook/calls/transfer.h"
#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/static_names.h"

#include "co_routine/base/at_fork.h"
#include "co_routine/base/check.h"
#include "co_routine/base/sanitizer.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <pthread.h>

namespace corun::symbols {

// A new file of hooks adds its table here.
#define CORUN_TABLES(X)                                                                            \
    X(aio_table)                                                                                   \
    X(barrier_table)                                                                               \
    X(c11_table)                                                                                   \
    X(child_table)                                                                                 \
    X(cond_table)                                                                                  \
    X(copy_table)                                                                                  \
    X(credential_table)                                                                            \
    X(descriptor_table)                                                                            \
    X(directory_table)                                                                             \
    X(environment_table)                                                                           \
    X(epoll_table)                                                                                 \
    X(file_times_table)                                                                            \
    X(files_table)                                                                                 \
    X(h_errno_table)                                                                               \
    X(ipc_table)                                                                                   \
    X(join_table)                                                                                  \
    X(locals_table)                                                                                \
    X(lock_table)                                                                                  \
    X(mutex_table)                                                                                 \
    X(names_host_table)                                                                            \
    X(names_resolver_table)                                                                        \
    X(names_table)                                                                                 \
    X(once_table)                                                                                  \
    X(open_table)                                                                                  \
    X(paths_table)                                                                                 \
    X(poll_table)                                                                                  \
    X(raw_table)                                                                                   \
    X(receive_table)                                                                               \
    X(rwlock_table)                                                                                \
    X(semaphore_table)                                                                             \
    X(send_table)                                                                                  \
    X(signal_table)                                                                                \
    X(sleep_table)                                                                                 \
    X(spawn_table)                                                                                 \
    X(spin_table)                                                                                  \
    X(stat_table)                                                                                  \
    X(statfs_table)                                                                                \
    X(stdio_lock_table)                                                                            \
    X(stdio_open_table)                                                                            \
    X(stdio_print_table)                                                                           \
    X(stdio_read_table)                                                                            \
    X(stdio_scan_table)                                                                            \
    X(stdio_stream_table)                                                                          \
    X(stdio_wide_table)                                                                            \
    X(stdio_write_table)                                                                           \
    X(syslog_table)                                                                                \
    X(temporary_table)                                                                             \
    X(users_table)                                                                                 \
    X(users_locked_table)                                                                          \
    X(vfork_table)                                                                                 \
    X(xattr_table)

#define DECLARE(table) extern const hook_table table;
CORUN_TABLES(DECLARE)

namespace {

#define ADDRESS(table) &table,
const hook_table *const tables[] = {CORUN_TABLES(ADDRESS)};

const char *first_lost; // a name that does not lead to us
unsigned lost_count, name_count;
char lost_to_archive[200]; // "--wrap=getaddrinfo,--wrap=syslog": libc.a's own took their place
unsigned lost_length;
bool said;

const void *object_of(const void *address) {
    Dl_info info;
    return dladdr(address, &info) ? info.dli_fbase : nullptr;
}

// clang links a sanitizer's functions into the program itself. Where we are in there too, they are what
// comes next, and not what dlsym finds behind us.
void *sanitizers_own(const char *name) {
    if (!__tsan_create_fiber && !__asan_get_shadow_mapping)
        return nullptr;
    char full[100];
    format_line(full, sizeof full, "__interceptor_%s", name);
    void *own = dlsym(RTLD_DEFAULT, full);
    return own && object_of(own) == object_of(&first_lost) ? own : nullptr;
}

// What the program's own references lead to, at the same time as libc's functions are found.
void resolve(const hook_entry &e) {
    ++name_count;
    if (e.native) {
        void *next = sanitizers_own(e.name);
        if (!next)
            next = dlsym(RTLD_NEXT, e.name);
        if (!next)
            next = static_native(e.name);
        if (next && next != e.ours)
            __atomic_store_n(e.native, next, __ATOMIC_RELEASE);
    }
    if (is_static_program() && static_wrapped(e.name) && !e.is_chosen())
        lost_length +=
            format_line(lost_to_archive + lost_length, sizeof lost_to_archive - lost_length,
                        "%s--wrap=%s", lost_length ? "," : "", e.name);
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
    find_sanitizer_runtimes();
    at_fork(calls::note_all_shared, nullptr, calls::forget_turns_after_fork);
}

} // namespace

bool hook_entry::is_chosen() const {
    void *leads_to = static_wrapped(name);
    return (leads_to ? leads_to : linked ? linked : ours) == ours;
}

table_list all_tables() { return {tables, sizeof tables / sizeof tables[0]}; }

bool is_stand_in(void *found) {
    Dl_info info;
    ElfW(Sym) *symbol = nullptr;
    return dladdr1(found, &info, reinterpret_cast<void **>(&symbol), RTLD_DL_SYMENT) != 0 &&
           symbol && symbol->st_shndx == SHN_UNDEF;
}

void check_hooks_once() {
    if (CO_LIKELY(__atomic_exchange_n(&said, true, __ATOMIC_ACQ_REL)))
        return;
    if (lost_count != 0)
        warn("hooks are NOT in effect for %u of %u names (first: %s): these calls block the whole "
             "thread. Put libcorun before libc on the link line, or first in LD_PRELOAD.",
             lost_count, name_count, first_lost);
    if (lacks_static_names())
        warn(
            "a -static program: some of libc's functions are missing (pthread_join, opendir, ...). "
            "Link it with -Wl,-u,co_static.");
    if (lost_length != 0)
        warn("a -static program: libc.a's own functions took the place of some hooks: they block "
             "the "
             "whole thread. Link it with -Wl,%s.",
             lost_to_archive);
    if (debug_flags() & CO_DEBUG_HOOKS)
        report_on_stderr();
}

} // namespace corun::symbols
