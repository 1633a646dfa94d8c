// SPDX-License-Identifier: Apache-2.0
/*
 * options.h - the command line of corun-stackmem.
 *
 *     options o = parse_options(argc, argv);      // bad ones: one line on stderr, exit status 2
 */
#ifndef CORUN_PERF_STACKMEM_OPTIONS_H
#define CORUN_PERF_STACKMEM_OPTIONS_H

#include "perf/stackmem/kinds.h"

#include <string>
#include <vector>

namespace stackmem {

struct options {
    std::vector<long> counts, live;
    std::vector<kind> chosen; // in the order of kinds[]
    long depth = 1, stack_bytes = 128 * 1024;
    touch touched = touch::all;
    bool quick = false;
    std::string csv, json;  // files; empty: none, "-": standard output, in place of the table
    std::string plot;       // a directory; empty: none
    std::string from_stats; // a file: advice instead of measurements
};

options parse_options(int argc, char **argv);

const char *word_of(touch t);

// 131072 as "128K", 200 as "200".
std::string short_size(int64_t bytes);

} // namespace stackmem

#endif
