// SPDX-License-Identifier: Apache-2.0
// Environment variables that each coroutine has its own copy of, as libco has them: names given once
// to co_set_env_list. A coroutine that has set none of them sees the process's.
#pragma once

#include <cstddef>

namespace corun::calls {

void list_own_variables(const char *const *names, size_t count);
// The running coroutine's value of a listed name, or nullptr: ask the process.
const char *own_variable(const char *name);
// True: name is listed, and *error is 0 or -ENOMEM. value == nullptr takes the copy away.
bool set_own_variable(const char *name, const char *value, bool overwrite, int *error);

} // namespace corun::calls
