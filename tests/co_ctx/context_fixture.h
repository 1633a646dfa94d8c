// SPDX-License-Identifier: Apache-2.0
/*
 * context_fixture.h - what the tests of co_ctx share: a context with a stack of its own, a call of
 * coctx_swap that knows what must stand in every register, and unwinding from a signal handler.
 */
#ifndef CORUN_TESTS_CO_CTX_CONTEXT_FIXTURE_H
#define CORUN_TESTS_CO_CTX_CONTEXT_FIXTURE_H

#include "co_ctx/coctx.h"

#include <cstdint>
#include <cstdlib>

#include <sys/mman.h>
#include <ucontext.h>
#include <unwind.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

// The first frame of every context; hidden in the library, reachable in libcorun.a.
extern "C" const char coctx_start_frame[];

namespace co_ctx_test {

// A context on a mapped stack, freed with it.
struct context {
    static constexpr size_t default_size_bytes = 256 * 1024;

    explicit context(size_t size_bytes = default_size_bytes) {
        void *p =
            mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            abort();
        coctx_init(&ctx);
        ctx.ss_sp = static_cast<char *>(p);
        ctx.ss_size = size_bytes;
    }
    ~context() {
#if defined(__SANITIZE_ADDRESS__)
        // The frames on it never returned: their red zones would await the next mapping here.
        __asan_unpoison_memory_region(ctx.ss_sp, ctx.ss_size);
#endif
        munmap(ctx.ss_sp, ctx.ss_size);
    }
    context(const context &) = delete;
    context &operator=(const context &) = delete;

    int make(coctx_pfn_t pfn, const void *s = nullptr, const void *s1 = nullptr) {
        return coctx_make(&ctx, pfn, s, s1);
    }
    // The byte above the top included: there the stack pointer stands while nothing is pushed.
    bool holds(const void *p) const {
        const char *c = static_cast<const char *>(p);
        return c >= ctx.ss_sp && c <= ctx.ss_sp + ctx.ss_size;
    }

    coctx_t ctx;
};

// The thread's own stack, as a place to come back to.
struct here_context {
    here_context() { coctx_init(&ctx); }
    coctx_t ctx;
};

/* ---- coctx_swap with known registers ------------------------------------------------------------
 * canary_swap(from, to, seed, flags, coctx_swap) sets every register that a callee keeps to seed + 1,
 * seed + 2 and so on, ors `flags` into the flags register (0, or the trap flag: one SIGTRAP after
 * every instruction until canary_swap comes back somewhere), swaps, clears the trap flag and returns
 * the number of registers that have changed. Weak, so that the compiler believes nothing about it. */
constexpr uintptr_t trap_flag = 0x100;

#if defined(__x86_64__)
constexpr int canary_count = 6;
constexpr int canary_dwarf[canary_count] = {3, 6, 12, 13, 14, 15}; // rbx rbp r12 r13 r14 r15

extern "C" __attribute__((naked, noinline, weak)) int
canary_swap(coctx_t *, coctx_t *, uintptr_t, uintptr_t, void (*)(coctx_t *, coctx_t *)) {
    asm(R"(
        pushq %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        pushq %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        pushq %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r12, 0
        pushq %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r13, 0
        pushq %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r14, 0
        pushq %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r15, 0
        pushq %rdx
        .cfi_adjust_cfa_offset 8
        leaq 1(%rdx), %rbx
        leaq 2(%rdx), %rbp
        leaq 3(%rdx), %r12
        leaq 4(%rdx), %r13
        leaq 5(%rdx), %r14
        leaq 6(%rdx), %r15
        testq %rcx, %rcx
        je 1f
        pushfq
        .cfi_adjust_cfa_offset 8
        orq %rcx, (%rsp)
        popfq
        .cfi_adjust_cfa_offset -8
    1:  call *%r8
        pushfq
        .cfi_adjust_cfa_offset 8
        testq $0x100, (%rsp)
        je 2f
        andq $~0x100, (%rsp)
        popfq
        pushfq
    2:  addq $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq %rdx
        .cfi_adjust_cfa_offset -8
        xorl %eax, %eax
        subq %rdx, %rbx
        cmpq $1, %rbx
        setne %cl
        addb %cl, %al
        subq %rdx, %rbp
        cmpq $2, %rbp
        setne %cl
        addb %cl, %al
        subq %rdx, %r12
        cmpq $3, %r12
        setne %cl
        addb %cl, %al
        subq %rdx, %r13
        cmpq $4, %r13
        setne %cl
        addb %cl, %al
        subq %rdx, %r14
        cmpq $5, %r14
        setne %cl
        addb %cl, %al
        subq %rdx, %r15
        cmpq $6, %r15
        setne %cl
        addb %cl, %al
        popq %r15
        .cfi_adjust_cfa_offset -8
        .cfi_same_value %r15
        popq %r14
        .cfi_adjust_cfa_offset -8
        .cfi_same_value %r14
        popq %r13
        .cfi_adjust_cfa_offset -8
        .cfi_same_value %r13
        popq %r12
        .cfi_adjust_cfa_offset -8
        .cfi_same_value %r12
        popq %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_same_value %rbp
        popq %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_same_value %rbx
        ret
    )");
}
inline void *interrupted_pc(const ucontext_t *uc) {
    return reinterpret_cast<void *>(uc->uc_mcontext.gregs[REG_RIP]);
}
inline void *interrupted_sp(const ucontext_t *uc) {
    return reinterpret_cast<void *>(uc->uc_mcontext.gregs[REG_RSP]);
}

#else
constexpr int canary_count = 4;
constexpr int canary_dwarf[canary_count] = {3, 5, 6, 7}; // ebx ebp esi edi

extern "C" __attribute__((naked, noinline, weak)) int
canary_swap(coctx_t *, coctx_t *, uintptr_t, uintptr_t, void (*)(coctx_t *, coctx_t *)) {
    asm(R"(
        pushl %ebx
        .cfi_adjust_cfa_offset 4
        .cfi_rel_offset %ebx, 0
        pushl %ebp
        .cfi_adjust_cfa_offset 4
        .cfi_rel_offset %ebp, 0
        pushl %esi
        .cfi_adjust_cfa_offset 4
        .cfi_rel_offset %esi, 0
        pushl %edi
        .cfi_adjust_cfa_offset 4
        .cfi_rel_offset %edi, 0
        movl 28(%esp), %edx
        movl 32(%esp), %ecx
        leal 1(%edx), %ebx
        leal 2(%edx), %ebp
        leal 3(%edx), %esi
        leal 4(%edx), %edi
        subl $4, %esp
        .cfi_adjust_cfa_offset 4
        movl 40(%esp), %eax
        pushl 28(%esp)
        .cfi_adjust_cfa_offset 4
        pushl 28(%esp)
        .cfi_adjust_cfa_offset 4
        testl %ecx, %ecx
        je 1f
        pushfl
        .cfi_adjust_cfa_offset 4
        orl %ecx, (%esp)
        popfl
        .cfi_adjust_cfa_offset -4
    1:  call *%eax
        pushfl
        .cfi_adjust_cfa_offset 4
        testl $0x100, (%esp)
        je 2f
        andl $~0x100, (%esp)
        popfl
        pushfl
    2:  addl $16, %esp
        .cfi_adjust_cfa_offset -16
        movl 28(%esp), %edx
        xorl %eax, %eax
        subl %edx, %ebx
        cmpl $1, %ebx
        setne %cl
        addb %cl, %al
        subl %edx, %ebp
        cmpl $2, %ebp
        setne %cl
        addb %cl, %al
        subl %edx, %esi
        cmpl $3, %esi
        setne %cl
        addb %cl, %al
        subl %edx, %edi
        cmpl $4, %edi
        setne %cl
        addb %cl, %al
        popl %edi
        .cfi_adjust_cfa_offset -4
        .cfi_same_value %edi
        popl %esi
        .cfi_adjust_cfa_offset -4
        .cfi_same_value %esi
        popl %ebp
        .cfi_adjust_cfa_offset -4
        .cfi_same_value %ebp
        popl %ebx
        .cfi_adjust_cfa_offset -4
        .cfi_same_value %ebx
        ret
    )");
}
inline void *interrupted_pc(const ucontext_t *uc) {
    return reinterpret_cast<void *>(uc->uc_mcontext.gregs[REG_EIP]);
}
inline void *interrupted_sp(const ucontext_t *uc) {
    return reinterpret_cast<void *>(uc->uc_mcontext.gregs[REG_ESP]);
}
#endif

// The canary that canary_swap(seed) leaves in the i-th register of canary_dwarf.
inline uintptr_t canary(uintptr_t seed, int i) { return seed + static_cast<uintptr_t>(i) + 1; }

/* ---- Functions and frames ----------------------------------------------------------------------- */

template <class Function> void *address_of(Function *f) { return reinterpret_cast<void *>(f); }

// The function whose unwind table covers pc, or null.
inline void *function_at(void *pc) { return _Unwind_FindEnclosingFunction(pc); }

using swap_function = void (*)(coctx_t *, coctx_t *);

// The bytes of a function, by its unwind table.
struct code_range {
    const char *low, *high;
    bool holds(const void *pc) const {
        return static_cast<const char *>(pc) >= low && static_cast<const char *>(pc) < high;
    }
};
inline code_range code_of(swap_function f) {
    const char *low = static_cast<const char *>(address_of(f)), *high = low;
    // The function finds the one before its argument, which it takes for a return address.
    while (function_at(const_cast<char *>(high + 1)) == low)
        high++;
    return {low, high};
}
inline code_range swap_code() {
    static const code_range range = code_of(coctx_swap);
    return range;
}

// A stack as _Unwind_Backtrace sees it. `start` of a frame is its function; canaries are what stands
// in the callee-saved registers while the frame is the running one.
struct trace {
    static constexpr int limit = 64;
    struct frame {
        void *pc, *start;
        uintptr_t canaries[canary_count];
    };
    frame frames[limit];
    int depth = 0;
    bool ended = false; // the unwinder says that this was all, and not that it lost its way

    // The index of the frame that a signal interrupted at pc, or -1.
    int find_pc(const void *pc) const {
        for (int i = 0; i < depth; i++) {
            if (frames[i].pc == pc)
                return i;
        }
        return -1;
    }
    void *outermost() const { return depth ? frames[depth - 1].start : nullptr; }
};

inline _Unwind_Reason_Code add_frame(_Unwind_Context *context, void *arg) {
    trace *t = static_cast<trace *>(arg);
    int before = 0;
    void *pc = reinterpret_cast<void *>(_Unwind_GetIPInfo(context, &before));
    if (!pc)
        return _URC_NO_REASON; // gcc reports the undefined return address of the last frame too
    if (t->depth == trace::limit)
        return _URC_NORMAL_STOP;
    trace::frame &f = t->frames[t->depth++];
    f.pc = pc;
    f.start = reinterpret_cast<void *>(_Unwind_GetRegionStart(context));
    for (int i = 0; i < canary_count; i++)
        f.canaries[i] = _Unwind_GetGR(context, canary_dwarf[i]);
    return _URC_NO_REASON;
}

__attribute__((noinline)) inline void unwind_here(trace &t) {
    t.depth = 0;
    t.ended = _Unwind_Backtrace(add_frame, &t) == _URC_END_OF_STACK;
}

} // namespace co_ctx_test

#endif
