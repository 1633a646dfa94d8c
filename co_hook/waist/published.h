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
    void (*restorer)();            // behind which stands what a signal has interrupted
};

inline constexpr char published_magic[8] = "corun 1";
inline constexpr char published_name[] = "corun_published";

// Of all that the launcher reads.
constexpr uint32_t layout_of_this_build() {
    uint32_t hash = 2166136261; // FNV-1a
    for (size_t n : {sizeof(worker),
                     sizeof(thread),
                     sizeof(frame),
                     sizeof(coroutine),
                     sizeof(co_env),
                     sizeof(co_extra),
                     sizeof(wait_kind),
                     sizeof(loop),
                     offsetof(worker, active),
                     offsetof(worker, env),
                     offsetof(thread, tid),
                     offsetof(thread, fs),
                     offsetof(thread, clear_child_tid),
                     offsetof(thread, stack_low),
                     offsetof(thread, stack_high),
                     offsetof(thread, at_call),
                     offsetof(thread, call_nr),
                     offsetof(coroutine, env),
                     offsetof(coroutine, arg),
                     offsetof(coroutine, extra),
                     offsetof(coroutine, index),
                     offsetof(coroutine, state),
                     offsetof(coroutine, flags),
                     offsetof(coroutine, regs),
                     offsetof(coroutine, waiting),
                     offsetof(coroutine, subject),
                     offsetof(coroutine, deadline_ns),
                     offsetof(coroutine, parked_at_cycles),
                     offsetof(coroutine, turns),
                     offsetof(co_extra, name),
                     offsetof(co_env, all),
                     offsetof(co_env, counts) + offsetof(env_counts, switches),
                     offsetof(co_env, event_loop),
                     offsetof(wait_kind, call),
                     offsetof(wait_kind, subject_is_fd),
                     offsetof(loop, began_cycles),
                     offsetof(loop, began_ns),
                     offsetof(frame, r12),
                     offsetof(frame, r13),
                     offsetof(frame, r14),
                     offsetof(frame, r15),
                     offsetof(frame, rbp),
                     offsetof(frame, rbx),
                     offsetof(frame, rdi),
                     offsetof(frame, rsi),
                     offsetof(frame, rdx),
                     offsetof(frame, slot)})
        hash = (hash ^ static_cast<uint32_t>(n)) * 16777619;
    return hash;
}

} // namespace corun::waist

extern "C" const corun::waist::published corun_published;
