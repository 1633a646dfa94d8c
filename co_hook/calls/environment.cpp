// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/environment.h"

#include "co_routine/core/env.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>

namespace corun::calls {
namespace {

// Written once, before the first coroutine.
const char *const *listed;
size_t listed_count;
co_key_t key;

struct variable {
    char *value; // nullptr: as the process has it
    size_t bytes;
};

void drop(variable *v) {
    if (v->value)
        tls_env->slab.release(v->value, v->bytes);
    v->value = nullptr;
}

// The coroutine ends.
void drop_table(void *table) {
    variable *v = static_cast<variable *>(table);
    for (size_t i = 0; i < listed_count; ++i)
        drop(&v[i]);
    tls_env->slab.release(table, listed_count * sizeof(variable));
}

size_t place_of(const char *name) { // listed_count: it is not listed
    size_t i = 0;
    while (i < listed_count && strcmp(listed[i], name) != 0)
        ++i;
    return i;
}

variable *table_of_running() {
    if (void *table = co_key_get(key))
        return static_cast<variable *>(table);
    size_t bytes = listed_count * sizeof(variable);
    void *table = tls_env->slab.allocate(bytes);
    if (!table)
        return nullptr;
    memset(table, 0, bytes);
    if (co_key_set(key, table) != 0) {
        tls_env->slab.release(table, bytes);
        return nullptr;
    }
    return static_cast<variable *>(table);
}

} // namespace

void list_own_variables(const char *const *names, size_t count) {
    size_t bytes = count * sizeof(char *);
    for (size_t i = 0; i < count; ++i)
        bytes += strlen(names[i]) + 1;
    if (count == 0 || listed_count != 0 || co_key_create(&key, drop_table) != 0)
        return;
    sys::word r = sys::mmap_anonymous(bytes, PROT_READ | PROT_WRITE, 0);
    if (sys::failed(r))
        return;
    char **copies = reinterpret_cast<char **>(r);
    char *text = reinterpret_cast<char *>(copies + count);
    for (size_t i = 0; i < count; ++i) {
        size_t n = strlen(names[i]) + 1;
        memcpy(text, names[i], n);
        copies[i] = text;
        text += n;
    }
    listed = copies;
    listed_count = count;
}

const char *own_variable(const char *name) {
    size_t i = listed_count == 0 ? 0 : place_of(name);
    if (i == listed_count)
        return nullptr;
    const variable *table = static_cast<const variable *>(co_key_get(key));
    return table ? table[i].value : nullptr;
}

bool set_own_variable(const char *name, const char *value, bool overwrite, int *error) {
    *error = 0;
    if (listed_count == 0 || !name)
        return false;
    size_t i = place_of(name);
    if (i == listed_count)
        return false;
    variable *table = table_of_running();
    if (!table) {
        *error = -ENOMEM;
        return true;
    }
    variable *v = &table[i];
    if (v->value && !overwrite)
        return true;
    drop(v);
    if (!value)
        return true;
    size_t bytes = strlen(value) + 1;
    v->value = static_cast<char *>(tls_env->slab.allocate(bytes));
    v->bytes = bytes;
    if (v->value)
        memcpy(v->value, value, bytes);
    else
        *error = -ENOMEM;
    return true;
}

} // namespace corun::calls
