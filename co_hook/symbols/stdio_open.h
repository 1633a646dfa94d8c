// SPDX-License-Identifier: Apache-2.0
// What fclose needs of stdio.
#pragma once

#include <cstdio>

namespace corun::symbols {

// In a coroutine: writes out what the stream holds, so that libc's fclose need not, and gives up its
// lock. 0, or the errno that fclose is to return with. Elsewhere 0.
int flush_before_close(FILE *stream);

} // namespace corun::symbols
