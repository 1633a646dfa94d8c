// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/decoder.h"

#include "co_routine/base/raw_sys.h"

#include <capstone/capstone.h>
#include <cerrno>
#include <cstdarg>
#include <sys/mman.h>

// libcapstone.a knows a dozen processors, and its table of them pulls in each one's decoder. These
// take their place: no machine but x86 is ever opened. (The list is that of capstone 4 and 5.)
#define CORUN_NO_DECODER(processor)                                                                \
    extern "C" cs_err processor##_global_init(void *) { return CS_ERR_ARCH; }                      \
    extern "C" cs_err processor##_option(void *, int, size_t) { return CS_ERR_ARCH; }
CORUN_NO_DECODER(ARM)
CORUN_NO_DECODER(AArch64)
CORUN_NO_DECODER(Mips)
CORUN_NO_DECODER(PPC)
CORUN_NO_DECODER(Sparc)
CORUN_NO_DECODER(SystemZ)
CORUN_NO_DECODER(XCore)
CORUN_NO_DECODER(M68K)
CORUN_NO_DECODER(TMS320C64x)
CORUN_NO_DECODER(M680X)
CORUN_NO_DECODER(EVM)
CORUN_NO_DECODER(MOS65XX)
CORUN_NO_DECODER(WASM)
CORUN_NO_DECODER(BPF)
CORUN_NO_DECODER(RISCV)
CORUN_NO_DECODER(SH)
CORUN_NO_DECODER(TRICORE)

namespace corun::waist {
namespace {

// ---- Memory for capstone: handed out, never taken back -------------------------------------------

constexpr size_t pool_bytes = 1 << 20; // it takes 60 KiB of it

struct {
    uintptr_t next;
    uintptr_t end;
} pool;

void *pool_take(size_t bytes) {
    size_t needed = (bytes + 31) & ~size_t{15}; // the size stands in front, for pool_again
    if (needed < bytes || needed > pool.end - pool.next)
        return nullptr;
    auto *size = reinterpret_cast<size_t *>(pool.next);
    pool.next += needed;
    *size = bytes;
    return size + 2;
}

// The pages are fresh, so they hold zeros.
void *pool_take_zeroed(size_t count, size_t bytes) {
    return bytes && count > pool_bytes / bytes ? nullptr : pool_take(count * bytes);
}

void pool_return(void *) {}

void *pool_again(void *old, size_t bytes) {
    void *taken = pool_take(bytes);
    if (!taken || !old)
        return taken;
    size_t had = *(static_cast<size_t *>(old) - 2);
    __builtin_memcpy(taken, old, had < bytes ? had : bytes);
    return taken;
}

// Nobody reads the text of an instruction.
int write_nothing(char *out, size_t size, const char *, va_list) {
    if (size)
        *out = 0;
    return 0;
}

struct {
    csh handle;
    cs_insn *current;
} decoder;

// ---- What an instruction is ----------------------------------------------------------------------

// The processor's number of the register that `r` is a part of.
int register_number(unsigned r) {
    static constexpr uint8_t by_part[][16] = {
        {X86_REG_RAX, X86_REG_RCX, X86_REG_RDX, X86_REG_RBX, X86_REG_RSP, X86_REG_RBP, X86_REG_RSI,
         X86_REG_RDI, X86_REG_R8, X86_REG_R9, X86_REG_R10, X86_REG_R11, X86_REG_R12, X86_REG_R13,
         X86_REG_R14, X86_REG_R15},
        {X86_REG_EAX, X86_REG_ECX, X86_REG_EDX, X86_REG_EBX, X86_REG_ESP, X86_REG_EBP, X86_REG_ESI,
         X86_REG_EDI, X86_REG_R8D, X86_REG_R9D, X86_REG_R10D, X86_REG_R11D, X86_REG_R12D,
         X86_REG_R13D, X86_REG_R14D, X86_REG_R15D},
        {X86_REG_AX, X86_REG_CX, X86_REG_DX, X86_REG_BX, X86_REG_SP, X86_REG_BP, X86_REG_SI,
         X86_REG_DI, X86_REG_R8W, X86_REG_R9W, X86_REG_R10W, X86_REG_R11W, X86_REG_R12W,
         X86_REG_R13W, X86_REG_R14W, X86_REG_R15W},
        {X86_REG_AL, X86_REG_CL, X86_REG_DL, X86_REG_BL, X86_REG_SPL, X86_REG_BPL, X86_REG_SIL,
         X86_REG_DIL, X86_REG_R8B, X86_REG_R9B, X86_REG_R10B, X86_REG_R11B, X86_REG_R12B,
         X86_REG_R13B, X86_REG_R14B, X86_REG_R15B},
        {X86_REG_AH, X86_REG_CH, X86_REG_DH, X86_REG_BH},
    };
    static_assert(X86_REG_ENDING < 256);
    for (const auto &part : by_part)
        for (int number = 0; number < 16; ++number)
            if (part[number] != X86_REG_INVALID && part[number] == r)
                return number;
    return no_register;
}

// Kinds of instruction that do not mean the same elsewhere, or whose frame CFI describes.
const char *pinned_by_kind(const cs_insn &i) {
    switch (i.id) {
    case X86_INS_PUSH:
    case X86_INS_PUSHF:
    case X86_INS_PUSHFQ:
    case X86_INS_POP:
    case X86_INS_POPF:
    case X86_INS_POPFQ:
    case X86_INS_ENTER:
    case X86_INS_LEAVE:
        return "changes rsp";
    case X86_INS_SYSCALL:
    case X86_INS_SYSENTER:
    case X86_INS_INT:
    case X86_INS_INT3:
    case X86_INS_UD2:
    case X86_INS_HLT:
        return "enters the kernel";
    case X86_INS_XBEGIN:
    case X86_INS_XABORT:
    case X86_INS_XEND:
        return "is part of a transaction";
    }
    static constexpr uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
    if (i.size == sizeof endbr64 && !__builtin_memcmp(i.bytes, endbr64, sizeof endbr64))
        return "is an indirect branch's target";
    for (unsigned g = 0; g < i.detail->groups_count; ++g)
        switch (i.detail->groups[g]) {
        case CS_GRP_CALL:
            return "is a call";
        case CS_GRP_RET:
        case CS_GRP_IRET:
            return "is a return";
        case CS_GRP_INT:
            return "enters the kernel";
        case CS_GRP_JUMP:
            return "is an indirect jump";
        }
    return nullptr;
}

// Fills in what it reads and writes; returns why it is pinned, or nullptr.
const char *describe_registers(const cs_insn &i, instruction *out) {
    cs_regs read, written;
    uint8_t reads = 0, writes = 0;
    if (cs_regs_access(decoder.handle, &i, read, &reads, written, &writes) != CS_ERR_OK)
        return "has unknown operands";
    for (unsigned k = 0; k < writes; ++k)
        if (int number = register_number(written[k]); number != no_register)
            out->written |= static_cast<uint16_t>(1u << number);
    // The first operand is the one written, or none is.
    const cs_x86 &x = i.detail->x86;
    if (x.op_count && x.operands[0].type == X86_OP_REG &&
        register_number(x.operands[0].reg) == rsp && i.id != X86_INS_CMP && i.id != X86_INS_TEST)
        return "changes rsp";
    if (out->written & 1u << rsp)
        return "changes rsp";
    if (out->written & 1u << rbp)
        for (unsigned k = 0; k < reads; ++k)
            if (register_number(read[k]) == rsp && (i.id == X86_INS_LEA || !x.encoding.disp_offset))
                return "sets up a frame";
    return nullptr;
}

// mov $constant, register; xor register, register; mov register, register
void describe_moves(const cs_insn &i, instruction *out) {
    const cs_x86 &x = i.detail->x86;
    if (x.op_count != 2 || x.operands[0].type != X86_OP_REG || x.operands[0].size < 4)
        return;
    int to = register_number(x.operands[0].reg);
    const cs_x86_op &from = x.operands[1];
    if (i.id == X86_INS_MOV && from.type == X86_OP_IMM) {
        out->constant_to = to;
        out->constant = static_cast<uint32_t>(from.imm);
    } else if (i.id == X86_INS_XOR && from.type == X86_OP_REG && from.reg == x.operands[0].reg) {
        out->constant_to = to;
        out->constant = 0;
    } else if (i.id == X86_INS_MOV && from.type == X86_OP_REG) {
        out->copied_to = to;
        out->copied_from = register_number(from.reg);
    }
}

// The operand whose address is reckoned from the instruction's end.
const char *describe_memory(const cs_insn &i, instruction *out) {
    const cs_x86 &x = i.detail->x86;
    for (unsigned k = 0; k < x.op_count; ++k) {
        if (x.operands[k].type != X86_OP_MEM)
            continue;
        if (x.operands[k].mem.base == X86_REG_EIP)
            return "is relative to eip";
        if (x.operands[k].mem.base != X86_REG_RIP)
            continue;
        if (x.encoding.disp_size != 4 || !x.encoding.disp_offset)
            return "has an unknown form";
        out->relative_field = x.encoding.disp_offset;
    }
    return nullptr;
}

bool is_prefix(uint8_t byte) {
    switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3:
        return true;
    }
    return (byte & 0xf0) == 0x40; // REX
}

int32_t load32(const uint8_t *from) {
    int32_t value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

} // namespace

int open_decoder() {
    if (decoder.current)
        return 0;
    if (!pool.next) {
        sys::word r = sys::mmap_anonymous(pool_bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE);
        if (sys::failed(r))
            return static_cast<int>(r);
        pool = {static_cast<uintptr_t>(r), static_cast<uintptr_t>(r) + pool_bytes};
    }
    cs_opt_mem memory = {pool_take, pool_take_zeroed, pool_again, pool_return, write_nothing};
    if (cs_option(0, CS_OPT_MEM, reinterpret_cast<size_t>(&memory)) != CS_ERR_OK ||
        cs_open(CS_ARCH_X86, CS_MODE_64, &decoder.handle) != CS_ERR_OK ||
        cs_option(decoder.handle, CS_OPT_DETAIL, CS_OPT_ON) != CS_ERR_OK)
        return -ENOMEM;
    decoder.current = cs_malloc(decoder.handle);
    return decoder.current ? 0 : -ENOMEM;
}

unsigned instruction_length(const uint8_t *bytes, size_t room, uintptr_t address) {
    uint64_t at = address;
    if (room > longest_instruction)
        room = longest_instruction;
    return cs_disasm_iter(decoder.handle, &bytes, &room, &at, decoder.current)
               ? decoder.current->size
               : 0;
}

bool decode(const uint8_t *bytes, size_t room, uintptr_t address, instruction *out) {
    *out = {};
    out->constant_to = out->copied_to = out->copied_from = no_register;
    out->bytes = instruction_length(bytes, room, address);
    if (!out->bytes)
        return false;
    const cs_insn &i = *decoder.current;
    const char *by_registers = describe_registers(i, out);
    const char *by_memory = describe_memory(i, out);
    describe_moves(i, out);
    relative_branch(bytes, out->bytes, address, out);
    if (out->branch == branch_kind::call)
        out->pinned = "is a call";
    else if (out->branch == branch_kind::counting)
        out->pinned = "is a branch with no long form";
    else if (out->branch == branch_kind::none)
        out->pinned = pinned_by_kind(i);
    if (!out->pinned)
        out->pinned = by_registers ? by_registers : by_memory;
    return true;
}

bool relative_branch(const uint8_t *bytes, unsigned n, uintptr_t address, instruction *out) {
    unsigned at = 0;
    bool short_operand = false;
    while (at < n && is_prefix(bytes[at]))
        short_operand |= bytes[at++] == 0x66;
    unsigned left = n - at;
    uint8_t opcode = left ? bytes[at] : 0;
    uintptr_t end = address + n;
    if (left == 2) {
        out->target = end + static_cast<uintptr_t>(static_cast<int8_t>(bytes[at + 1]));
        out->branch = (opcode & 0xf0) == 0x70   ? branch_kind::conditional
                      : opcode == 0xeb          ? branch_kind::jump
                      : (opcode & 0xfc) == 0xe0 ? branch_kind::counting
                                                : branch_kind::none;
    } else if (left == 5 && !short_operand) {
        out->target = end + static_cast<uintptr_t>(load32(bytes + at + 1));
        out->branch = opcode == 0xe9   ? branch_kind::jump
                      : opcode == 0xe8 ? branch_kind::call
                                       : branch_kind::none;
    } else if (left == 6 && opcode == 0x0f && (bytes[at + 1] & 0xf0) == 0x80) {
        out->target = end + static_cast<uintptr_t>(load32(bytes + at + 2));
        out->branch = branch_kind::conditional;
        opcode = bytes[at + 1];
    } else {
        out->branch = branch_kind::none;
    }
    out->condition = opcode & 0x0f;
    return out->branch != branch_kind::none;
}

bool may_use_vectors(const uint8_t *bytes, unsigned n) {
    unsigned i = 0;
    while (i < n && is_prefix(bytes[i]))
        ++i;
    if (i < n && (bytes[i] & 0xf0) == 0x40) // REX
        ++i;
    if (i + 1 >= n)
        return false; // one byte: no operand, or general registers
    uint8_t opcode = bytes[i];
    if (opcode == 0xc4 || opcode == 0xc5 ||
        opcode == 0x62) // VEX, EVEX: BMI's general registers too
        return true;
    if (opcode != 0x0f)
        return false;
    uint8_t second = bytes[i + 1];
    return (second >= 0x10 && second < 0x18) || (second >= 0x28 && second < 0x30) ||
           second == 0x38 || second == 0x3a || (second >= 0x50 && second < 0x80) ||
           second == 0xc2 || (second >= 0xc4 && second < 0xc7) || second >= 0xd0;
}

unsigned relocate(const uint8_t *bytes, unsigned n, uintptr_t from, uint8_t *out, unsigned room,
                  uintptr_t to) {
    unsigned written = 0;
    for (unsigned at = 0; at < n;) {
        instruction i;
        if (!decode(bytes + at, n - at, from + at, &i) || i.pinned)
            return 0;
        bool is_branch = i.branch != branch_kind::none;
        unsigned takes = !is_branch ? i.bytes : i.branch == branch_kind::jump ? 5 : 6;
        if (written + takes > room || (is_branch && at + i.bytes != n))
            return 0;
        uint8_t *here = out + written;
        unsigned field = i.relative_field;
        uintptr_t goal = from + at + i.bytes;
        if (!is_branch) {
            __builtin_memcpy(here, bytes + at, takes);
            goal += field ? static_cast<uintptr_t>(load32(bytes + at + field)) : 0;
        } else {
            field = takes - 4;
            goal = i.target;
            here[0] = i.branch == branch_kind::jump ? 0xe9 : 0x0f;
            here[1] = 0x80 | i.condition;
        }
        written += takes;
        at += i.bytes;
        if (!field)
            continue;
        auto distance = static_cast<intptr_t>(goal - (to + written));
        auto narrow = static_cast<int32_t>(distance);
        if (narrow != distance)
            return 0;
        __builtin_memcpy(here + field, &narrow, sizeof narrow);
    }
    return written;
}

} // namespace corun::waist
