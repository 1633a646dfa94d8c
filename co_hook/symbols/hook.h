// SPDX-License-Identifier: Apache-2.0
// Door 1: libc's names. What stands behind each one:
//
//     CORUN_HOOK(ssize_t, read, (int fd, void *buffer, size_t n), (fd, buffer, n),
//                sys::read(fd, buffer, n),        // before libc's own was found, and in -static
//                calls::read(fd, buffer, n))      // in a coroutine with hooks on
//     CORUN_HOOK_ALIAS(ssize_t, __read, read, (int fd, void *buffer, size_t n))
//
// Outside a coroutine, or with hooks off, the call is libc's own function, so that there it stays
// what libc makes of it: a cancellation point, seen by sanitizers. It was found by a constructor
// (table.cpp): dlsym may allocate and lock, which a hook must not.
//
// Rules
//  - A file in this room is one family: it says which (`constexpr unsigned family = CO_HOOK_READ;`),
//    defines hooks and one table of them; table.cpp names the table. Nothing else needs to know.
//  - An entry says how the name is treated (hooked_calls: E park on epoll, T on a timer, P a primitive
//    on park and unpark, O offload, B bookkeeping): the table of hooks is made from it.
//  - Functions get libc's name as their assembler name, so that no declaration in a header and no
//    redirection (_FILE_OFFSET_BITS, _FORTIFY_SOURCE) can interfere.
//  - to_libc is the last of our frames: a cancel unwinds from there.
#pragma once

#include "co_hook/calls/calls.h"
#include "co_hook/co_hook.h"
#include "co_routine/core/cancel.h"
#include "co_routine/core/native.h"

#include <cerrno>

namespace corun::symbols {

using sys::word;

enum class treatment : char { E = 'E', T = 'T', P = 'P', O = 'O', B = 'B' };

struct hook_entry {
    const char *name;
    void *ours;
    void **native; // where libc's goes; nullptr: an alias
    treatment how;
    void *linked; // what the linker made of the name of a weak hook; else nullptr

    bool is_chosen() const; // in a -static program: does the name lead to us? (table.cpp)
};

struct hook_table {
    unsigned family; // CO_HOOK_*
    const hook_entry *entries;
    size_t count;
};

extern unsigned process_families; // atomic
unsigned families_of(const coroutine *co);

// Is the caller a coroutine in which hooks of this family are on? The thread's own stack never has
// the flag. In a signal handler and in a vfork child every call is native.
inline bool hooks_are_on(unsigned family) {
    const co_env *env = env_or_null();
    if (!env || !env->running->has(flag_hooks))
        return false;
    unsigned on = CO_HOOK_DEFAULT, process = __atomic_load_n(&process_families, __ATOMIC_RELAXED);
    if (CO_UNLIKELY(process != CO_HOOK_ALL || env->running->has(flag_hook_choice)))
        on = process & families_of(env->running);
    return (on & family) != 0 && !must_be_native();
}

// The same for names that a sanitizer's runtime calls with its locks held: its own calls are native.
// Inline in the hook itself, whose caller is asked for.
extern bool sanitizer_is_here;
bool is_sanitizers_call(const void *caller); // sanitizer_calls.cpp
[[gnu::always_inline]] inline bool hooks_are_on_for_program(unsigned family) {
    return hooks_are_on(family) &&
           !(CO_UNLIKELY(sanitizer_is_here) && is_sanitizers_call(__builtin_return_address(0)));
}

// The kernel's convention to libc's, for a call that cannot have been cancelled.
template <class R> inline R plain_result(word r) {
    if (CO_UNLIKELY(sys::failed(r))) {
        errno = static_cast<int>(-r);
        return static_cast<R>(-1);
    }
    return static_cast<R>(r);
}

[[gnu::cold]] inline int leave_with(word r) {
    errno = leave_wait(static_cast<int>(-r));
    return -1;
}

// The same for a call that waits.
template <class R> inline R to_libc(word r) {
    if (CO_UNLIKELY(sys::failed(r)))
        return static_cast<R>(leave_with(r));
    return static_cast<R>(r);
}

// A number in decimal, with its final 0. Its end; nullptr: there is no room. (std::to_chars would
// export a table.)
inline char *put_decimal(char *to, size_t room, unsigned n) {
    size_t digits = 1;
    for (unsigned rest = n; rest >= 10; rest /= 10)
        ++digits;
    if (room <= digits)
        return nullptr;
    to[digits] = '\0';
    for (size_t i = digits; i > 0; n /= 10)
        to[--i] = static_cast<char>('0' + n % 10);
    return to + digits;
}

} // namespace corun::symbols

#define CORUN_EXPORTED __attribute__((visibility("default"), used))

// libc's function, or what stands in for it; then the declaration of ours.
#define CORUN_NATIVE(result, name, parameters, raw)                                                \
    static result fallback_##name parameters { return raw; }                                       \
    static result(*native_##name) parameters = fallback_##name;                                    \
    CORUN_EXPORTED result hook_##name parameters __asm__(#name)

#define CORUN_HOOK_IF(are_on, result, name, parameters, arguments, raw, call)                      \
    CORUN_NATIVE(result, name, parameters, plain_result<result>(raw));                             \
    result hook_##name parameters {                                                                \
        if (CO_LIKELY(!are_on(family)))                                                            \
            return native_##name arguments;                                                        \
        return to_libc<result>(call);                                                              \
    }
#define CORUN_HOOK(result, name, parameters, arguments, raw, call)                                 \
    CORUN_HOOK_IF(hooks_are_on, result, name, parameters, arguments, raw, call)

// For a name that libc.a defines strongly in one object with names that are not hooked: where a
// -static program needs those, libc's function takes the place of ours, unless the linker is told to
// take __wrap_name. own_name is ours in any case.
#define CORUN_WEAK_HOOK(name)                                                                      \
    __attribute__((weak)) decltype(hook_##name) hook_##name;                                       \
    __attribute__((visibility("hidden"), alias(#name))) decltype(hook_##name) own_##name __asm__(  \
        "__wrap_" #name)

// Another name of the same function.
#define CORUN_HOOK_ALIAS(result, name, of, parameters)                                             \
    CORUN_EXPORTED result hook_##name parameters __asm__(#name) __attribute__((alias(#of)))

#define CORUN_ENTRY(name, how)                                                                     \
    {                                                                                              \
#name, reinterpret_cast < void *>(hook_##name),                                            \
            reinterpret_cast < void **>(&native_##name), treatment::how, nullptr                   \
    }
#define CORUN_ALIAS_ENTRY(name, how)                                                               \
    { #name, reinterpret_cast < void *>(hook_##name), nullptr, treatment::how, nullptr }
#define CORUN_WEAK_ENTRY(name, how)                                                                \
    {                                                                                              \
#name, reinterpret_cast < void *>(own_##name),                                             \
            reinterpret_cast < void **>(&native_##name), treatment::how,                           \
            reinterpret_cast < void *>(hook_##name)                                                \
    }
#define CORUN_WEAK_ALIAS_ENTRY(name, how)                                                          \
    {                                                                                              \
#name, reinterpret_cast < void *>(own_##name), nullptr, treatment::how,                    \
            reinterpret_cast < void *>(hook_##name)                                                \
    }
#define CORUN_TABLE(name, entries)                                                                 \
    extern const hook_table name;                                                                  \
    const hook_table name = {family, entries, sizeof(entries) / sizeof(entries)[0]}
