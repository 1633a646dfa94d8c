// SPDX-License-Identifier: Apache-2.0
// Every hook there is. co_enable_hook_sys refers to it, so that an archive keeps them all.
#pragma once

#include <cstddef>

namespace corun::symbols {

struct hook_table;

// Says once, loudly, if a name of libc's leads elsewhere than to us: then the program's calls block
// the thread. (The order on the link line or in LD_PRELOAD decides: libcorun before libc.) With
// CORUN_DEBUG=hooks the whole report.
void check_hooks_once();

struct table_list {
    const hook_table *const *tables;
    size_t count;
};
table_list all_tables();

// A program linked at a fixed address stands for a function whose address it takes by its own PLT
// entry: then dlsym finds that, and nothing can be concluded about this name.
bool is_stand_in(void *found);

// sanitizer_calls.cpp: at start.
void find_sanitizer_runtimes();

// report.cpp: co_hook_report on stderr, by raw writes.
void report_on_stderr();

} // namespace corun::symbols
