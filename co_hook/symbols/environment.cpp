// SPDX-License-Identifier: Apache-2.0
// getenv, setenv, unsetenv for the names given to co_set_env_list. What stands in for libc's own in a
// -static program is made of putenv, which nobody interposes.
#include "co_hook/symbols/hook.h"

#include "co_hook/calls/environment.h"

#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_ENVIRONMENT;

char *find_in_environ(const char *name) {
    size_t n = strlen(name);
    for (char **e = environ; e && *e; ++e)
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
            return *e + n + 1;
    return nullptr;
}

bool bad_name(const char *name) { return !name || !*name || strchr(name, '='); }

// The string becomes the environment's, for good, as with libc's setenv.
int put(const char *name, const char *value, int overwrite) {
    if (bad_name(name))
        return plain_result<int>(-EINVAL);
    if (!overwrite && find_in_environ(name))
        return 0;
    size_t n = strlen(name), m = strlen(value);
    sys::word r = sys::mmap_anonymous(n + m + 2, 3 /* read, write */, 0);
    if (sys::failed(r))
        return plain_result<int>(-ENOMEM);
    char *line = reinterpret_cast<char *>(r);
    stpcpy(stpcpy(stpcpy(line, name), "="), value);
    return putenv(line);
}

// putenv of a name alone takes it away.
int take_away(const char *name) {
    return bad_name(name) ? plain_result<int>(-EINVAL) : putenv(const_cast<char *>(name));
}

} // namespace

CORUN_NATIVE(char *, getenv, (const char *name), find_in_environ(name));
char *hook_getenv(const char *name) {
    if (hooks_are_on(family))
        if (const char *value = calls::own_variable(name))
            return const_cast<char *>(value);
    return native_getenv(name);
}

CORUN_NATIVE(int, setenv, (const char *name, const char *value, int overwrite),
             put(name, value, overwrite));
int hook_setenv(const char *name, const char *value, int overwrite) {
    int error;
    if (hooks_are_on(family))
        if (calls::set_own_variable(name, value, overwrite != 0, &error))
            return plain_result<int>(error);
    return native_setenv(name, value, overwrite);
}

CORUN_NATIVE(int, unsetenv, (const char *name), take_away(name));
int hook_unsetenv(const char *name) {
    int error;
    if (hooks_are_on(family))
        if (calls::set_own_variable(name, nullptr, true, &error))
            return plain_result<int>(error);
    return native_unsetenv(name);
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(getenv, B),
    CORUN_ENTRY(setenv, B),
    CORUN_ENTRY(unsetenv, B),
};

} // namespace

CORUN_TABLE(environment_table, entries);

} // namespace corun::symbols
