// SPDX-License-Identifier: Apache-2.0
// Waiting for several descriptors at once: a node per descriptor in its queue_pollers, in memory of
// the pool, never on the waiting stack. Pollers consume nothing, so an edge wakes all of them.
#pragma once

#include "co_routine/base/list.h"

#include <cstdint>

namespace corun {

// Wakes those whose events are among these.
void wake_pollers(list_head *queue, uint32_t events);
// Wakes all: they report POLLNVAL for this descriptor.
void close_pollers(list_head *queue);

} // namespace corun
