// SPDX-License-Identifier: Apache-2.0
// The text of the table: whole lines, columns aligned, numbers with their units.
#pragma once

#include "co_hook/waist/worker.h"

namespace corun::waist {

struct table_request {
    int fd = 2;
    const char *occasion = nullptr; // "at exit", "signal 10"
    const thread *self = nullptr;   // whose turn it is; nullptr: nobody's
    uint64_t turn_cycles = 0;       // how long it has had it, if that is to be told
    uintptr_t pc = 0;               // where it is now
    double cycles_per_ns = 1;
    int64_t since_ns = 0;                            // what is counted
    size_t rss_before_kb = 0;                        // when the second thread was made
    uint64_t stacks_measured = 0, deepest_ended = 0; // threads that have ended
};

void write_table(worker *w, const table_request &r);

} // namespace corun::waist
