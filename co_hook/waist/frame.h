// SPDX-License-Identifier: Apache-2.0
// What entry.S keeps of a thread that makes a system call, and where: read by entry.S and by C++.
//
// A slot (slots.S) has stepped over the red zone and called waist_entry; from its return address
// downwards:
//
//     frame.slot     where the slot goes on; above it the red zone, then the thread's own stack
//     frame.rax      the system call's number, and then its result
//     ...            the other registers. rcx and r11 are not kept: the kernel keeps neither
//     frame.r15      <- frame
//     vector state   XSAVE area, 64-aligned; its size is the processor's
#ifndef CORUN_CO_HOOK_WAIST_FRAME_H
#define CORUN_CO_HOOK_WAIST_FRAME_H

#define WAIST_RED_ZONE 128
#define WAIST_FRAME_REGISTERS 14 /* words before frame.slot */
#define WAIST_FRAME_SLOT 112
#define WAIST_FRAME_RAX 104

/* Kinds of numbers in waist_table. */
#define WAIST_PASSES 0
#define WAIST_IS_OURS 1
#define WAIST_SIGRETURN 2

/* What a parent in vfork goes on from: the child overwrites its stack. */
#define WAIST_VFORK_SP 120
#define WAIST_VFORK_BORROWED 128

/* handler_entry (signal_state.h). */
#define WAIST_ENTRY_FS 0
#define WAIST_ENTRY_SP 8
#define WAIST_ENTRY_PC 16
#define WAIST_ENTRY_SIGNAL 24
#define WAIST_ENTRY_INFO 32
#define WAIST_ENTRY_CONTEXT 40

#ifndef __ASSEMBLER__
#include <cstddef>
#include <cstdint>

namespace corun::waist {

struct frame {
    uint64_t r15, r14, r13, r12, rbp, rbx, flags, r10, r9, r8, rdi, rsi, rdx, rax;
    uint64_t slot;

    // The thread's own stack pointer, at its system call.
    uintptr_t sp() const { return reinterpret_cast<uintptr_t>(this + 1) + WAIST_RED_ZONE; }
};
static_assert(offsetof(frame, slot) == WAIST_FRAME_SLOT);
static_assert(offsetof(frame, rax) == WAIST_FRAME_RAX);
static_assert(sizeof(frame) == (WAIST_FRAME_REGISTERS + 1) * 8);

struct vfork_save {
    frame registers;
    uint64_t sp; // after the slot's call has returned
    uint64_t borrowed;
};
static_assert(offsetof(vfork_save, sp) == WAIST_VFORK_SP);
static_assert(offsetof(vfork_save, borrowed) == WAIST_VFORK_BORROWED);

} // namespace corun::waist
#endif
#endif
