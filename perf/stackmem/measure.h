// SPDX-License-Identifier: Apache-2.0
/*
 * measure.h - one measurement, in a child process of its own.
 *
 *     measurement m = measure(plan, [](const measurement &now) { bar.at(now); });
 *     if (!m.complete) ...                  // the child died: m.stopped_by says of what
 *
 * The child stays on one processor, the first to go where memory runs out after all.
 */
#ifndef CORUN_PERF_STACKMEM_MEASURE_H
#define CORUN_PERF_STACKMEM_MEASURE_H

#include "perf/stackmem/limits.h"

#include <functional>

namespace stackmem {

measurement measure(const plan &p, const std::function<void(const measurement &)> &watch);

// In the child.
void measure_coroutines(const plan &p, const ceiling &c, measurement *m);
void measure_threads(const plan &p, const ceiling &c, measurement *m);
void measure_ucontext(const plan &p, const ceiling &c, measurement *m);

} // namespace stackmem

#endif
