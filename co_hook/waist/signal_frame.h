// SPDX-License-Identifier: Apache-2.0
// The frame that the kernel builds for a handler, and that rt_sigreturn and unwinders read.
#pragma once

#include "co_hook/waist/signal_state.h"
#include "co_hook/waist/thread.h"

#include <ucontext.h>

// What a handler of ours returns to (leave.S): the kernel's frame stands there.
extern "C" __attribute__((visibility("hidden"))) void waist_restorer();

namespace corun::waist {

// The kernel's struct ucontext: glibc's has a larger signal set at its end.
struct machine {
    unsigned long flags;
    void *link;
    void *stack_low;
    int stack_flags, unused;
    size_t stack_bytes;
    greg_t registers[NGREG];
    char *vectors; // XSAVE area in the standard form, or nullptr
    uint64_t reserved[8];
    signal_set mask;

    uintptr_t at(int which) const { return static_cast<uintptr_t>(registers[which]); }
    void set(int which, uint64_t value) { registers[which] = static_cast<greg_t>(value); }
};
static_assert(sizeof(machine) == 304);
static_assert(offsetof(machine, registers) == offsetof(ucontext_t, uc_mcontext));
static_assert(offsetof(machine, mask) == offsetof(ucontext_t, uc_sigmask));

void learn_frame_size(); // before any of the others
size_t signal_frame_bytes(const machine &m);
size_t vector_bytes();

// The state of a thread at the end of its call, with room for the vector state (vector_bytes(), at a
// multiple of 64). saved: what entry.S has saved, or nullptr: it is in the registers.
void machine_of_call(machine *m, const frame *f, char *room, const char *saved);

// Puts a frame for the handler below the thread's stack pointer (and below limit, if it is that stack)
// or on its alternate stack, and m becomes the state in which the handler begins. mask: what the frame
// brings back. False: it does not fit.
bool push_signal_frame(thread *t, machine *m, const kernel_action &action, const siginfo_t &info,
                       signal_set mask, uintptr_t limit);

bool is_on(const alternate_stack &s, uintptr_t sp);

} // namespace corun::waist
