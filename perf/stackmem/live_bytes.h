// SPDX-License-Identifier: Apache-2.0
/*
 * live_bytes.h - frames with live bytes, as a suspended coroutine or a waiting thread has them.
 *
 *     set_live_bytes({200, 1, touch::all});              // before the first one runs
 *     long changed = with_live_bytes(number, wait);      // wait() suspends it
 */
#ifndef CORUN_PERF_STACKMEM_LIVE_BYTES_H
#define CORUN_PERF_STACKMEM_LIVE_BYTES_H

#include "perf/stackmem/kinds.h"

namespace stackmem {

struct live_shape {
    long bytes, depth;
    touch touched;
};

void set_live_bytes(const live_shape &shape);

// Spreads the live bytes over the frames, writes them, calls wait(number) in the innermost one;
// returns how many of those written came back changed. Each number has bytes of its own.
long with_live_bytes(uintptr_t number, void (*wait)(uintptr_t number));

// The least stack that such frames fit in.
long stack_needed(const live_shape &shape);

} // namespace stackmem

#endif
