// SPDX-License-Identifier: Apache-2.0
/*
 * plot.h - the measurements as pictures, by gnuplot: memory.png and memory.svg (bytes of each against
 * how many), switch.png and switch.svg (a switch against live bytes).
 *
 *     std::string wrong = prepare_plots(directory);     // before the measurements, which take long
 *     wrong = write_plots(directory, results);          // empty: they are there
 */
#ifndef CORUN_PERF_STACKMEM_PLOT_H
#define CORUN_PERF_STACKMEM_PLOT_H

#include "perf/stackmem/formats.h"

namespace stackmem {

std::string prepare_plots(const std::string &directory);
std::string write_plots(const std::string &directory, const std::vector<result> &all);

} // namespace stackmem

#endif
