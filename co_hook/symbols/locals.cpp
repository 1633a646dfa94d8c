// SPDX-License-Identifier: Apache-2.0
// Thread-specific data, each coroutine with its own: opt-in (co_hook_set_families with
// CO_HOOK_LOCALS), because libraries keep there what really belongs to the thread.
//
//     co_hook_set_families(CO_HOOK_DEFAULT | CO_HOOK_LOCALS);
//     pthread_setspecific(key, mine);        // NULL in every other coroutine; destroyed at its end
//
// A key of libc's has, once a coroutine has set a value under it, a co_key_t beside it, which brings
// the values (core/locals), the 4 rounds of destructors at the coroutine's end, and their end when
// the key is deleted. Who made a key is noted as keys are created, whatever is switched on: keys of
// the object that has malloc (an allocator's cache, a sanitizer's thread) stay the thread's, as do
// those that we did not see made; under ThreadSanitizer all of them.
#include "co_hook/symbols/threads.h"

#include "co_routine/base/at_fork.h"
#include "co_routine/base/spinlock.h"
#include "co_routine/co_routine.h"

#include <threads.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_LOCALS;

constexpr unsigned max_keys = 1024; // PTHREAD_KEYS_MAX
struct key_info {
    void (*destructor)(void *);
    const void *creator; // atomic: whose code made it; nullptr: not seen
    uint32_t own;        // atomic: 1 + the co_key_t; 0: no coroutine has set it yet
};
key_info keys[max_keys];
unsigned keys_lock;

void note_created(unsigned key, void (*destructor)(void *), const void *creator) {
    if (key >= max_keys)
        return;
    spin_guard guard(&keys_lock);
    keys[key] = {destructor, creator, 0};
}

void note_deleted(unsigned key) {
    if (key >= max_keys)
        return;
    uint32_t own;
    {
        spin_guard guard(&keys_lock);
        own = keys[key].own;
        keys[key] = {};
    }
    if (own != 0)
        co_key_delete(own - 1);
}

// In a coroutine that wants its own: is the value under this key one of them?
bool is_coroutines(unsigned key) {
    if (!hooks_are_on(family) || key >= max_keys)
        return false;
    const void *creator = __atomic_load_n(&keys[key].creator, __ATOMIC_RELAXED);
    return creator && !is_allocator(creator);
}

uint32_t own_key(unsigned key) { return __atomic_load_n(&keys[key].own, __ATOMIC_ACQUIRE); }

void *get_own(unsigned key) {
    uint32_t own = own_key(key);
    return own != 0 ? co_key_get(own - 1) : nullptr;
}

int make_own_key(unsigned key) {
    spin_guard guard(&keys_lock);
    if (keys[key].own != 0)
        return 0;
    co_key_t made;
    if (co_key_create(&made, keys[key].destructor) != 0)
        return ENOMEM;
    __atomic_store_n(&keys[key].own, made + 1, __ATOMIC_RELEASE);
    return 0;
}

__attribute__((constructor)) void prepare_for_fork() {
    at_fork(nullptr, nullptr, [] { keys_lock = 0; });
}

} // namespace

CORUN_PTHREAD_NATIVE(int, pthread_key_create, (pthread_key_t * key, void (*destructor)(void *)),
                     (key, destructor), ENOSYS);
// ThreadSanitizer calls this while it starts, before code that it instruments may run.
CO_NO_SANITIZE int hook_pthread_key_create(pthread_key_t *key, void (*destructor)(void *)) {
    int r = native_pthread_key_create(key, destructor);
    if (!CO_TSAN && r == 0)
        note_created(*key, destructor, __builtin_return_address(0));
    return r;
}

CORUN_PTHREAD_NATIVE(int, pthread_key_delete, (pthread_key_t key), (key), ENOSYS);
int hook_pthread_key_delete(pthread_key_t key) {
    int r = native_pthread_key_delete(key);
    if (r == 0)
        note_deleted(key);
    return r;
}

CORUN_PTHREAD_NATIVE(void *, pthread_getspecific, (pthread_key_t key), (key), nullptr);
void *hook_pthread_getspecific(pthread_key_t key) {
    return is_coroutines(key) ? get_own(key) : native_pthread_getspecific(key);
}

CORUN_PTHREAD_NATIVE(int, pthread_setspecific, (pthread_key_t key, const void *value), (key, value),
                     ENOSYS);

namespace {

int set_own(pthread_key_t key, const void *value) {
    if (own_key(key) == 0) {
        if (!value)
            return 0;
        if (int r = make_own_key(key))
            return r;
    }
    return co_key_set(own_key(key) - 1, value);
}

int c11_result(int error) { return error == 0 ? thrd_success : thrd_error; }

} // namespace

// ThreadSanitizer calls this as each thread begins, too.
CO_NO_SANITIZE int hook_pthread_setspecific(pthread_key_t key, const void *value) {
    if (!CO_TSAN && is_coroutines(key))
        return set_own(key, value);
    return native_pthread_setspecific(key, value);
}

CORUN_PTHREAD_NATIVE(int, tss_create, (tss_t * key, tss_dtor_t destructor), (key, destructor),
                     c11_result(native_pthread_key_create(key, destructor)));
int hook_tss_create(tss_t *key, tss_dtor_t destructor) {
    int r = native_tss_create(key, destructor);
    if (r == thrd_success)
        note_created(*key, destructor, __builtin_return_address(0));
    return r;
}

CORUN_NATIVE(void, tss_delete, (tss_t key), static_cast<void>(native_pthread_key_delete(key)));
void hook_tss_delete(tss_t key) {
    native_tss_delete(key);
    note_deleted(key);
}

CORUN_PTHREAD_NATIVE(void *, tss_get, (tss_t key), (key), native_pthread_getspecific(key));
void *hook_tss_get(tss_t key) { return is_coroutines(key) ? get_own(key) : native_tss_get(key); }

CORUN_PTHREAD_NATIVE(int, tss_set, (tss_t key, void *value), (key, value),
                     c11_result(native_pthread_setspecific(key, value)));
int hook_tss_set(tss_t key, void *value) {
    return is_coroutines(key) ? c11_result(set_own(key, value)) : native_tss_set(key, value);
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(pthread_key_create, B),
    CORUN_ENTRY(pthread_key_delete, B),
    CORUN_ENTRY(pthread_getspecific, P),
    CORUN_ENTRY(pthread_setspecific, P),
    CORUN_ENTRY(tss_create, B),
    CORUN_ENTRY(tss_delete, B),
    CORUN_ENTRY(tss_get, P),
    CORUN_ENTRY(tss_set, P),
};

} // namespace

CORUN_TABLE(locals_table, entries);

} // namespace corun::symbols
