// SPDX-License-Identifier: Apache-2.0
/*
 * co_routine_specific.h - a variable of which each coroutine has its own. C++11 and later.
 *
 *     struct request_state { int id; char user[32]; };
 *     CO_ROUTINE_SPECIFIC(request_state, state)          // at namespace scope
 *
 *     state->id = 7;                                     // this coroutine's
 *
 * Rules
 *  - A coroutine's value is made when it is first touched, as by `new Type()`: all zero for a plain
 *    struct. It is destroyed when the coroutine ends or is released, on its thread.
 *  - Outside a coroutine the value is the thread's, and ends with the thread (the main thread's, as
 *    with pthread keys, stays to the end of the process).
 *  - The variable is static: each source file that names it has its own.
 *  - Each variable takes one of the 1,024 keys of co_key_create. No key left, or no memory: the process
 *    ends with a line on stderr.
 *
 * libco's macro never frees the values and needs a plain struct; the use is the same.
 */
#ifndef CORUN_CO_ROUTINE_SPECIFIC_H
#define CORUN_CO_ROUTINE_SPECIFIC_H

#include "co_routine.h"

#ifdef __cplusplus
#include <cstdlib>
#include <new>

/* The type of such a variable. Tag tells variables of one type apart. */
template <class Type, class Tag> class co_specific {
  public:
    Type *operator->() const { return get(); }
    Type &operator*() const { return *get(); }

    /* The running coroutine's value, made if need be; never NULL. Valid until the coroutine ends. */
    Type *get() const {
        co_key_t own_key = key();
        void *value = co_key_get(own_key);
        return value ? static_cast<Type *>(value) : make(own_key);
    }

  private:
    static void destroy(void *value) { delete static_cast<Type *>(value); }

    struct key_maker {
        co_key_t key;
        key_maker() : key(0) {
            if (co_key_create(&key, destroy) != 0)
                give_up("there is no key left");
        }
    };

    /* Made at the first use: a variable is ready before any constructor runs. */
    static co_key_t key() {
        static const key_maker made;
        return made.key;
    }

    static Type *make(co_key_t own_key) {
        Type *value = new (std::nothrow) Type();
        if (!value || co_key_set(own_key, value) != 0)
            give_up("there is no memory");
        return value;
    }

    static void give_up(const char *why) {
        co_log_err("CO_ROUTINE_SPECIFIC: %s", why);
        std::abort();
    }
};

#define CO_ROUTINE_SPECIFIC(Type, variable)                                                        \
    namespace {                                                                                    \
    struct co_specific_tag_##variable {};                                                          \
    }                                                                                              \
    static __attribute__((unused)) const co_specific<Type, co_specific_tag_##variable> variable =  \
        {};

#endif
#endif
