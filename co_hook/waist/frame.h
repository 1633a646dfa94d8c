// SPDX-License-Identifier: Apache-2.0
// What entry.S keeps of a thread that makes a system call, and where: read by entry.S and by C++.
//
// A slot (slots.S) has stepped over the red zone and called waist_entry; from its return address
// downwards:
//
//     frame.slot     where the slot goes on; above it the red zone, then the thread's own stack
//     frame.rax      the system call's number, and then its result
//     ...            the other registers. rcx and r11 are not kept: the kernel keeps neither
//     frame.vectors  <- frame. The vector state lies below, at a multiple of 64: an XSAVE area, or the
//                    registers as store_vectors has left them; or there is none to keep (sites.h: plain)
#ifndef CORUN_CO_HOOK_WAIST_FRAME_H
#define CORUN_CO_HOOK_WAIST_FRAME_H

#define WAIST_RED_ZONE 128
/* Offsets, in bytes. */
#define WAIST_FRAME_VECTORS 0
#define WAIST_FRAME_R15 8
#define WAIST_FRAME_R14 16
#define WAIST_FRAME_R13 24
#define WAIST_FRAME_R12 32
#define WAIST_FRAME_RBP 40
#define WAIST_FRAME_RBX 48
#define WAIST_FRAME_FLAGS 56
#define WAIST_FRAME_R10 64
#define WAIST_FRAME_R9 72
#define WAIST_FRAME_R8 80
#define WAIST_FRAME_RDI 88
#define WAIST_FRAME_RSI 96
#define WAIST_FRAME_RDX 104
#define WAIST_FRAME_RAX 112
#define WAIST_FRAME_SLOT 120
#define WAIST_FRAME_BYTES 128

/* frame.vectors, below which they lie: not at all, an XSAVE area, or stored by hand, with the components
   that were in use. */
#define WAIST_VECTORS_NONE 0
#define WAIST_VECTORS_XSAVED 1
#define WAIST_VECTORS_STORED 2
#define WAIST_FRAME_VECTORS_IN_USE 4
#define WAIST_X87 0x01
#define WAIST_WIDE 0x44  /* more of registers 0 to 15 than xmm */
#define WAIST_UPPER 0xA0 /* registers 16 to 31, and masks */
#define WAIST_NARROW_BYTES 256
#define WAIST_WIDE_BYTES 1024
#define WAIST_UPPER_BYTES 1088

/* Kinds of numbers in waist_table. */
#define WAIST_PASSES 0
#define WAIST_IS_OURS 1
#define WAIST_SIGRETURN 2

/* What a parent in vfork goes on from: the child overwrites its stack. */
#define WAIST_VFORK_SP 128
#define WAIST_VFORK_BORROWED 136

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
    uint64_t vectors, r15, r14, r13, r12, rbp, rbx, flags, r10, r9, r8, rdi, rsi, rdx, rax;
    uint64_t slot;

    unsigned vectors_kept() const { return static_cast<unsigned>(vectors); }
    unsigned vectors_in_use() const { return static_cast<unsigned>(vectors >> 32); }
    // The thread's own stack pointer, at its system call.
    uintptr_t sp() const { return reinterpret_cast<uintptr_t>(this + 1) + WAIST_RED_ZONE; }
};
static_assert(offsetof(frame, vectors) == WAIST_FRAME_VECTORS);
static_assert(offsetof(frame, r15) == WAIST_FRAME_R15);
static_assert(offsetof(frame, r14) == WAIST_FRAME_R14);
static_assert(offsetof(frame, r13) == WAIST_FRAME_R13);
static_assert(offsetof(frame, r12) == WAIST_FRAME_R12);
static_assert(offsetof(frame, rbp) == WAIST_FRAME_RBP);
static_assert(offsetof(frame, rbx) == WAIST_FRAME_RBX);
static_assert(offsetof(frame, flags) == WAIST_FRAME_FLAGS);
static_assert(offsetof(frame, r10) == WAIST_FRAME_R10);
static_assert(offsetof(frame, r9) == WAIST_FRAME_R9);
static_assert(offsetof(frame, r8) == WAIST_FRAME_R8);
static_assert(offsetof(frame, rdi) == WAIST_FRAME_RDI);
static_assert(offsetof(frame, rsi) == WAIST_FRAME_RSI);
static_assert(offsetof(frame, rdx) == WAIST_FRAME_RDX);
static_assert(offsetof(frame, rax) == WAIST_FRAME_RAX);
static_assert(offsetof(frame, slot) == WAIST_FRAME_SLOT);
static_assert(sizeof(frame) == WAIST_FRAME_BYTES);

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
