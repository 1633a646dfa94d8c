// SPDX-License-Identifier: Apache-2.0
// What the finder must know of an instruction: how long it is, where it may branch to, and whether it
// means the same when it stands somewhere else. capstone decodes; this asks it, and adds nothing but
// caution: what it does not know may not be moved.
//
// There is one decoder in the process, on memory of its own (no malloc), and it is never closed:
// capstone keeps tables between uses. One caller at a time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace corun::waist {

constexpr unsigned longest_instruction = 15;

// General registers by the number that the processor gives them: rax 0, rcx 1, rdx 2, rbx 3, rsp 4...
constexpr int no_register = -1;
constexpr int rax = 0;
constexpr int rsp = 4;
constexpr int rbp = 5;

enum class branch_kind : uint8_t {
    none,
    jump,        // jmp rel8, rel32
    conditional, // jcc rel8, rel32
    counting,    // loop, jrcxz: rel8 only
    call,        // call rel32
};

struct instruction {
    unsigned bytes;
    const char *pinned;     // why it may not stand elsewhere; nullptr: it may
    branch_kind branch;     // a relative one
    uint8_t condition;      // of a conditional one: the low four bits of its opcode
    uintptr_t target;       // of a branch
    uint8_t relative_field; // where the distance from its end to its operand stands, 0: nowhere
    uint16_t written;       // general registers, a bit each
    int constant_to;        // the register that it sets to `constant`
    int copied_to;          // the register that it sets to `copied_from`
    int copied_from;
    uint32_t constant;
};

// 0, or -ENOMEM and the like. Any number of calls; the first one does it.
int open_decoder();

// The length of the instruction at `bytes`, of which `room` are there; 0: not one that capstone knows.
unsigned instruction_length(const uint8_t *bytes, size_t room, uintptr_t address);

// The whole of it. False: not an instruction.
bool decode(const uint8_t *bytes, size_t room, uintptr_t address, instruction *out);

// The relative branch that an instruction of n bytes is (branch, condition and target are set), or
// false. Reads the bytes alone, without capstone.
bool relative_branch(const uint8_t *bytes, unsigned n, uintptr_t address, instruction *out);

// Whether it reads or writes MMX, SSE, AVX or AVX-512 registers; true where the bytes alone do not tell.
bool may_use_vectors(const uint8_t *bytes, unsigned n);

// Writes instructions that were decoded from `from` to `out`, to run at `to`: distances are set anew,
// a relative branch becomes the long form. Only the last one may be a branch. Returns the bytes
// written, or 0: a distance does not fit into 32 bits, or they take more than `room`.
unsigned relocate(const uint8_t *bytes, unsigned n, uintptr_t from, uint8_t *out, unsigned room,
                  uintptr_t to);

} // namespace corun::waist
