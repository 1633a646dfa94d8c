// SPDX-License-Identifier: Apache-2.0
// Whether number 2 is for messages still. Many programs close it as the last thing they do, and the number
// may then be a socket, or a database.
#pragma once

#include <cstddef>

namespace corun {

void note_stderr(); // what it is at the start, where it is called by itself
// As it was at the start; or a terminal, /dev/null or a log in its place. A log is a file that is open for
// writing only; for what nobody has asked for also for appending only, as no data file is.
enum class asked : bool { no, yes };
bool is_stderr(asked a = asked::yes);

// For what nobody has asked for. Nothing is written where is_stderr says no or nobody takes it at once, and no
// signal comes of it: a reader that is gone, a limit of files, a terminal that holds background jobs.
void write_to_stderr(const char *text, size_t length);

} // namespace corun
