// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/signal_frame.h"

#include <cpuid.h>
#include <cstring>

extern "C" __attribute__((visibility("hidden"))) uint64_t waist_vector_mask;

namespace corun::waist {
namespace {

// The last bytes of the legacy area: what the kernel says of the rest, and believes of a frame.
struct vector_notes {
    uint32_t magic;
    uint32_t all_bytes; // with the second magic number at the end
    uint64_t features;
    uint32_t bytes;
    uint32_t unused[7];
};
constexpr uint32_t first_magic = 0x46505853, second_magic = 0x46505845; // FP_XSTATE_MAGIC1, 2
constexpr size_t notes_at = 464, header_at = 512, control_at = 24 /* MXCSR */, legacy_bytes = 512;
constexpr uint64_t protection_keys = uint64_t{1} << 9;
constexpr uint32_t default_control = 0x1F80;

uint64_t features;    // of the frames that we build ourselves
size_t feature_bytes; // of their XSAVE area

struct signal_frame {
    uintptr_t restorer;
    machine context;
    siginfo_t info;
};
static_assert(sizeof(signal_frame) == 440);

vector_notes notes_of(const char *vectors) {
    vector_notes n;
    memcpy(&n, vectors + notes_at, sizeof n);
    return n;
}

size_t bytes_of(const char *vectors) {
    if (!vectors)
        return 0;
    vector_notes n = notes_of(vectors);
    return n.magic == first_magic ? n.all_bytes : legacy_bytes;
}

// A handler begins with the vector state that a program begins with; protection keys stay.
void reset_vectors(char *vectors) {
    if (!vectors)
        return;
    memcpy(vectors + control_at, &default_control, sizeof default_control);
    if (notes_of(vectors).magic != first_magic)
        return;
    uint64_t present;
    memcpy(&present, vectors + header_at, sizeof present);
    present &= protection_keys;
    memcpy(vectors + header_at, &present, sizeof present);
}

// One piece: between the two no instruction may use a vector register.
void load_and_save(const char *stored, unsigned in_use, char *room) {
    register unsigned low __asm__("r8") = static_cast<unsigned>(features);
    register auto high __asm__("r9") = static_cast<unsigned>(features >> 32);
    register char *to __asm__("r10") = room;
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\t"
                     "call waist_load_vectors\n\t"
                     "leaq 128(%%rsp), %%rsp\n\t"
                     "movl %[low], %%eax\n\t"
                     "movl %[high], %%edx\n\t"
                     "xsave64 (%[to])"
                     : "+D"(stored), "+S"(in_use)
                     : [low] "r"(low), [high] "r"(high), [to] "r"(to)
                     : "memory", "cc", "rax", "rcx", "rdx", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
                       "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
                       "xmm14", "xmm15");
}

uintptr_t align_down(uintptr_t at, uintptr_t to) { return at & ~(to - 1); }

} // namespace

void learn_frame_size() {
    constexpr uint64_t tiles = uint64_t{3} << 17; // AMX: too large for frames nobody has asked for
    unsigned low, high, a, b, c, d;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    features = (uint64_t{high} << 32 | low) & ~tiles;
    feature_bytes = legacy_bytes + 64;
    for (unsigned i = 2; i < 63; ++i) {
        if (!(features >> i & 1))
            continue;
        __cpuid_count(0xD, i, a, b, c, d); // a: bytes, b: where
        if (size_t{a} + b > feature_bytes)
            feature_bytes = size_t{a} + b;
    }
}

size_t vector_bytes() { return feature_bytes + sizeof second_magic; }

size_t signal_frame_bytes(const machine &m) {
    constexpr size_t lost_by_alignment = 64 + 16 + 8;
    return WAIST_RED_ZONE + bytes_of(m.vectors) + sizeof(signal_frame) + lost_by_alignment;
}

void machine_of_call(machine *m, const frame *f, char *room, const char *saved) {
    memset(m, 0, sizeof *m);
    m->flags = 7; // UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS
    const struct {
        int which;
        uint64_t value;
    } registers[] = {
        {REG_R8, f->r8},     {REG_R9, f->r9},     {REG_R10, f->r10},
        {REG_R11, f->flags}, {REG_R12, f->r12},   {REG_R13, f->r13},
        {REG_R14, f->r14},   {REG_R15, f->r15},   {REG_RDI, f->rdi},
        {REG_RSI, f->rsi},   {REG_RBP, f->rbp},   {REG_RBX, f->rbx},
        {REG_RDX, f->rdx},   {REG_RAX, f->rax},   {REG_RCX, f->slot},
        {REG_RIP, f->slot},  {REG_EFL, f->flags}, {REG_CSGSFS, 0x33 | uint64_t{0x2B} << 48}};
    for (const auto &r : registers)
        m->set(r.which, r.value);
    m->set(REG_RSP, reinterpret_cast<uintptr_t>(f + 1));
    m->vectors = room;
    memset(room, 0, vector_bytes());
    auto low = static_cast<unsigned>(features), high = static_cast<unsigned>(features >> 32);
    auto kept_low = static_cast<unsigned>(waist_vector_mask),
         kept_high = static_cast<unsigned>(waist_vector_mask >> 32);
    if (saved && f->vectors_kept() == WAIST_VECTORS_STORED)
        load_and_save(saved, f->vectors_in_use(), room);
    else if (saved)
        __asm__ volatile("xrstor64 (%[saved])\n\t"
                         "movl %[low], %%eax\n\t"
                         "movl %[high], %%edx\n\t"
                         "xsave64 (%[room])"
                         : "+&a"(kept_low), "+&d"(kept_high)
                         : [saved] "r"(saved), [room] "r"(room), [low] "r"(low), [high] "r"(high)
                         : "memory");
    else
        __asm__ volatile("xsave64 (%[room])" : : [room] "r"(room), "a"(low), "d"(high) : "memory");
    auto bytes = static_cast<uint32_t>(feature_bytes);
    vector_notes n{first_magic, static_cast<uint32_t>(vector_bytes()), features, bytes, {}};
    memcpy(room + notes_at, &n, sizeof n);
    memcpy(room + feature_bytes, &second_magic, sizeof second_magic);
}

bool is_on(const alternate_stack &s, uintptr_t sp) {
    return !(s.flags & auto_disarm) && sp > s.low && sp - s.low <= s.bytes;
}

bool push_signal_frame(thread *t, machine *m, const kernel_action &action, const siginfo_t &info,
                       signal_set mask, uintptr_t limit) {
    alternate_stack &other = t->signals.alternate;
    uintptr_t sp = m->at(REG_RSP);
    uintptr_t at = sp - WAIST_RED_ZONE;
    bool was_there = is_on(other, sp);
    bool there = was_there;
    if ((action.flags & SA_ONSTACK) && other.bytes != 0 && !was_there) {
        at = other.low + other.bytes;
        there = true;
        limit = at;
    }
    if (was_there && !is_on(other, limit))
        limit = at; // what is alive stands on another stack
    if (at > limit)
        at = limit;
    size_t bytes = bytes_of(m->vectors);
    uintptr_t vectors = align_down(at - bytes, 64);
    at = align_down(vectors - sizeof(signal_frame), 16) - 8;
    if (there && (at < other.low || at > vectors))
        return false;
    auto *f = reinterpret_cast<signal_frame *>(at);
    f->restorer = action.restorer;
    f->context = *m;
    f->context.mask = mask;
    f->context.link = nullptr;
    f->context.stack_low = reinterpret_cast<void *>(other.low);
    f->context.stack_flags = other.flags;
    f->context.stack_bytes = other.bytes;
    f->info = info;
    if (m->vectors) {
        f->context.vectors = reinterpret_cast<char *>(vectors);
        memcpy(f->context.vectors, m->vectors, bytes);
        reset_vectors(m->vectors);
    }
    if (other.flags & auto_disarm && there)
        other = {};
    constexpr greg_t direction_resume_trap = 0x400 | 0x10000 | 0x100;
    m->registers[REG_EFL] &= ~direction_resume_trap;
    m->set(REG_RSP, at);
    m->set(REG_RIP, action.handler);
    m->set(REG_RDI, static_cast<uint64_t>(info.si_signo));
    m->set(REG_RSI, reinterpret_cast<uintptr_t>(&f->info));
    m->set(REG_RDX, reinterpret_cast<uintptr_t>(&f->context));
    m->set(REG_RAX, 0);
    return true;
}

} // namespace corun::waist
