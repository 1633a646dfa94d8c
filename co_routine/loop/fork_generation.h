// SPDX-License-Identifier: Apache-2.0
// Which process of a chain of forks this is. What belongs to threads or to a ring that a forked child
// does not have carries the generation it was made in; the child, however it was forked, finds
// another one. A vfork or posix_spawn child, which runs on its parent's memory, does not.
#pragma once

#include <cstdint>

namespace corun {

uint32_t fork_generation();

} // namespace corun
