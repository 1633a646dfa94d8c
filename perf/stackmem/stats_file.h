// SPDX-License-Identifier: Apache-2.0
/*
 * stats_file.h - what the tables of `corun --stats=FILE` say of a server's threads and stacks.
 *
 *     server_marks marks;
 *     std::string wrong = read_stats_file("table", &marks);      // empty: good
 *
 * Several tables in one file are of one server at several times: the largest numbers count. The file is
 * input: a row that is not as corun writes it is an error that names the line.
 */
#ifndef CORUN_PERF_STACKMEM_STATS_FILE_H
#define CORUN_PERF_STACKMEM_STATS_FILE_H

#include <string>

namespace stackmem {

struct server_marks {
    long tables;
    long threads; // at most, without the first one
    long deepest; // bytes of stack used at most
    long average; // bytes used on average while the threads were there; 0: no table says
};

std::string read_stats_file(const std::string &file, server_marks *out);

} // namespace stackmem

#endif
