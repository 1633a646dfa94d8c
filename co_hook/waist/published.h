// SPDX-License-Identifier: Apache-2.0
// What a process under corun shows to `corun dump`, `ps`, `stack` and `top`, under the one name that
// libcorun_waist.so exports: corun_published.
//
// Rules
//  - Who reads it reads memory of a process that goes on: everything may change between two looks.
//  - layout tells builds apart: another one's pointers are not followed.
//  - A request is signal 33 by sigqueue, its value the address of corun_published. corun handles that signal
//    as soon as there is a second thread, whatever the program does with it; before that it would end the
//    process.
#pragma once

#include "co_hook/waist/worker.h"

#include <cstddef>
#include <initializer_list>

namespace corun::waist {

struct published {
    char magic[8];
    uint32_t bytes; // of this
    uint32_t layout;
    const worker *the_worker;
    const char *code, *code_end;   // of the library,
    const char *slots, *slots_end; // and those of it that stand for the program's (slots.h)
};

inline constexpr char published_magic[8] = "corun 1";
inline constexpr char published_name[] = "corun_published";

constexpr uint32_t layout_of_this_build() {
    uint32_t hash = 2166136261; // FNV-1a
    for (size_t n : {sizeof(worker), sizeof(thread), sizeof(coroutine), sizeof(co_env),
                     sizeof(co_extra), sizeof(wait_kind), offsetof(thread, stack_low),
                     offsetof(coroutine, waiting), offsetof(coroutine, turns),
                     offsetof(co_env, all), offsetof(co_env, counts), offsetof(worker, env)})
        hash = (hash ^ static_cast<uint32_t>(n)) * 16777619;
    return hash;
}

} // namespace corun::waist

extern "C" const corun::waist::published corun_published;
