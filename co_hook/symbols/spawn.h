// SPDX-License-Identifier: Apache-2.0
// What system needs of posix_spawn.
#pragma once

#include <spawn.h>

namespace corun::symbols {

// libc's, as the hook calls it. The error, or 0.
int spawn(pid_t *pid, const char *path, const posix_spawnattr_t *attributes, char *const *arguments,
          char *const *environment);

} // namespace corun::symbols
