// SPDX-License-Identifier: Apache-2.0
// How a thread stands in a line of corun ps and corun top.
#ifndef CORUN_HOOK_LAUNCHER_ROWS_H
#define CORUN_HOOK_LAUNCHER_ROWS_H

#include "co_hook/launcher/threads.h"

namespace corun::launcher {

const char *head_of_rows(bool with_rates);
// rate: its switches in a second; nullptr: no such column.
const char *line_of(const attached &p, const thread_row &r, const char *rate);

const char *word_of(co_state s);
const char *duration(int64_t ns); // "-": not known
const char *kib(size_t bytes);
const char *subject_of(const attached &p, const thread_row &r); // "fd 7, 127.0.0.1:40122"

} // namespace corun::launcher

#endif
