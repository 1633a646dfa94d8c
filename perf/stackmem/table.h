// SPDX-License-Identifier: Apache-2.0
/*
 * table.h - the measurements for a reader: one line each, bytes of each one.
 *
 *     print_group(options, live_bytes);
 *     print_row(plan, measurement);          // and a second line where it stopped
 */
#ifndef CORUN_PERF_STACKMEM_TABLE_H
#define CORUN_PERF_STACKMEM_TABLE_H

#include "perf/stackmem/options.h"

namespace stackmem {

void print_group(const options &o, long live_bytes);
void print_row(const plan &p, const measurement &m);
void print_explanation();

} // namespace stackmem

#endif
