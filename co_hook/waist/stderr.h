// SPDX-License-Identifier: Apache-2.0
// Whether number 2 is for messages still. Many programs close it as the last thing they do, and the number
// may then be a socket, or a database.
#pragma once

namespace corun::waist {

void note_stderr(); // what it is at the start
// As it was at the start; or a terminal, /dev/null or a log in its place.
bool is_stderr();

} // namespace corun::waist
