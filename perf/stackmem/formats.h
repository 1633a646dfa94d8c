// SPDX-License-Identifier: Apache-2.0
/*
 * formats.h - the measurements for programs: CSV and JSON of the same fields, bytes of all together.
 *
 *     std::string text = as_csv(results);       // a line of names, then a line each
 */
#ifndef CORUN_PERF_STACKMEM_FORMATS_H
#define CORUN_PERF_STACKMEM_FORMATS_H

#include "perf/stackmem/kinds.h"

#include <string>
#include <vector>

namespace stackmem {

struct result {
    plan made_by;
    measurement m;
};

std::string as_csv(const std::vector<result> &all);
std::string as_json(const std::vector<result> &all);

// False with errno. "-" is standard output.
bool write_text(const std::string &file, const std::string &text);

} // namespace stackmem

#endif
