// SPDX-License-Identifier: Apache-2.0
#include "co_routine/core/locals.h"

#include "co_routine/base/spinlock.h"
#include "co_routine/core/env.h"

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <new>

using namespace corun;

namespace {

constexpr unsigned max_keys = 1024;
constexpr int destructor_rounds = 4; // PTHREAD_DESTRUCTOR_ITERATIONS

// A key that is deleted and made again is another key: values of the old generation are gone.
struct key_info {
    void (*destructor)(void *);
    uint32_t generation; // even: free
};
key_info keys[max_keys];
unsigned keys_lock;

struct local {
    const void *value;
    uint32_t generation;
};

// The table doubles when a key does not fit; both kinds of keys have one.
struct local_table {
    local *by_key = nullptr;
    uint32_t count = 0;
};

} // namespace

namespace corun {

struct local_tables {
    local_table pthread_keys, co_keys;
};

} // namespace corun

namespace {

local *find(const coroutine *co, local_table local_tables::*which, unsigned key) {
    if (!co->extra || !co->extra->locals)
        return nullptr;
    const local_table &table = co->extra->locals->*which;
    return key < table.count ? &table.by_key[key] : nullptr;
}

local *find_or_make(coroutine *co, local_table local_tables::*which, unsigned key) {
    slab_pool &slab = co->env->slab;
    co_extra *extra = extra_of(co);
    if (!extra)
        return nullptr;
    if (!extra->locals) {
        void *block = slab.allocate(sizeof(local_tables));
        if (!block)
            return nullptr;
        extra->locals = new (block) local_tables;
    }
    local_table &table = extra->locals->*which;
    if (key >= table.count) {
        uint32_t count = table.count ? table.count : 4;
        while (count <= key)
            count *= 2;
        void *block = slab.allocate(count * sizeof(local));
        if (!block)
            return nullptr;
        memset(block, 0, count * sizeof(local));
        if (table.count) {
            memcpy(block, table.by_key, table.count * sizeof(local));
            slab.release(table.by_key, table.count * sizeof(local));
        }
        table = {static_cast<local *>(block), count};
    }
    return &table.by_key[key];
}

bool run_destructor_round(coroutine *co) {
    bool ran = false;
    for (unsigned key = 0; key < co->extra->locals->co_keys.count; ++key) {
        local &l = co->extra->locals->co_keys.by_key[key];
        const void *value = l.value;
        key_info info;
        {
            spin_guard guard(&keys_lock);
            info = keys[key];
        }
        if (!value || l.generation != info.generation)
            continue;
        l.value = nullptr;
        if (info.destructor) {
            info.destructor(const_cast<void *>(value));
            ran = true;
        }
    }
    return ran;
}

bool is_live_key(co_key_t key, uint32_t *generation) {
    if (key >= max_keys)
        return false;
    spin_guard guard(&keys_lock);
    *generation = keys[key].generation;
    return *generation % 2 == 1;
}

} // namespace

namespace corun {

void reset_keys_lock_after_fork() { keys_lock = 0; }

void run_local_destructors(coroutine *co) {
    if (!co->extra || !co->extra->locals)
        return;
    for (int round = 0; round < destructor_rounds && run_destructor_round(co); ++round) {
    }
    slab_pool &slab = co->env->slab;
    local_tables *tables = co->extra->locals;
    for (local_table *t : {&tables->pthread_keys, &tables->co_keys})
        if (t->count)
            slab.release(t->by_key, t->count * sizeof(local));
    slab.release(tables, sizeof(local_tables));
    co->extra->locals = nullptr;
}

} // namespace corun

int co_setspecific(pthread_key_t key, const void *value) {
    coroutine *co = running_coroutine();
    if (!co)
        return pthread_setspecific(key, value);
    if (key >= max_keys)
        return EINVAL;
    local *l = find_or_make(co, &local_tables::pthread_keys, key);
    if (!l)
        return ENOMEM;
    l->value = value;
    return 0;
}

void *co_getspecific(pthread_key_t key) {
    coroutine *co = running_coroutine();
    if (!co)
        return pthread_getspecific(key);
    const local *l = find(co, &local_tables::pthread_keys, key);
    return l ? const_cast<void *>(l->value) : nullptr;
}

int co_key_create(co_key_t *key, void (*destructor)(void *)) {
    if (!key)
        return EINVAL;
    spin_guard guard(&keys_lock);
    for (unsigned k = 0; k < max_keys; ++k)
        if (keys[k].generation % 2 == 0) {
            ++keys[k].generation;
            keys[k].destructor = destructor;
            *key = k;
            return 0;
        }
    return EAGAIN;
}

int co_key_delete(co_key_t key) {
    uint32_t generation;
    if (!is_live_key(key, &generation))
        return EINVAL;
    spin_guard guard(&keys_lock);
    ++keys[key].generation;
    keys[key].destructor = nullptr;
    return 0;
}

int co_key_set(co_key_t key, const void *value) {
    uint32_t generation;
    co_env *env = current_env();
    if (!env)
        return ENOMEM;
    if (!is_live_key(key, &generation))
        return EINVAL;
    local *l = find_or_make(env->running, &local_tables::co_keys, key);
    if (!l)
        return ENOMEM;
    *l = {value, generation};
    return 0;
}

void *co_key_get(co_key_t key) {
    co_env *env = env_or_null();
    uint32_t generation;
    if (!env || !is_live_key(key, &generation))
        return nullptr;
    const local *l = find(env->running, &local_tables::co_keys, key);
    return l && l->generation == generation ? const_cast<void *>(l->value) : nullptr;
}
