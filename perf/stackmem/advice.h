// SPDX-License-Identifier: Apache-2.0
/*
 * advice.h - which stacks would serve a server whose marks are known, and what they would cost.
 *
 *     return advise(options);     // 0, or 1 where a measurement failed
 *
 * The cost of a kind comes from two small measurements with stacks of the size advised and live bytes
 * of the average used; of shared stacks it is a straight line through both: what is there once, the
 * stacks, and what each one adds.
 */
#ifndef CORUN_PERF_STACKMEM_ADVICE_H
#define CORUN_PERF_STACKMEM_ADVICE_H

#include "perf/stackmem/options.h"

namespace stackmem {

int advise(const options &o);

} // namespace stackmem

#endif
