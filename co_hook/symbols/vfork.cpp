// SPDX-License-Identifier: Apache-2.0
// Children that run on their parent's memory until they exec or end: vfork, and clone with CLONE_VM
// and CLONE_VFORK. What they call is native and notes nothing (core/native.h), so their closing of
// their own copies of descriptors costs the parent nothing.
//
// vfork returns twice on one stack: whatever the child's calls write below the frame of its caller
// the parent finds there, so the return address is in a register meanwhile. A function in C cannot
// do that. libc's own is the same system call, so it is made here.
//
// A CLONE_VM child that runs beside its parent, with the parent's thread pointer, is not told apart:
// it may call nothing of libc.
#include "co_hook/calls/fd_state.h"
#include "co_hook/symbols/hook.h"

#include <cstdarg>
#include <sched.h>

// ASan's, where it watches the program.
extern "C" __attribute__((weak, visibility("default"))) void __asan_handle_no_return();

extern "C" {
__attribute__((visibility("hidden"), used)) void corun_before_vfork() {
    corun::calls::note_all_shared();
    corun::begin_borrowing();
}

// In the parent: r is the child's number, or -errno.
__attribute__((visibility("hidden"), used)) int corun_after_vfork(long r) {
    corun::end_borrowing();
    if (__asan_handle_no_return)
        __asan_handle_no_return(); // the child's frames left red zones behind
    return corun::symbols::plain_result<int>(r);
}
int __clone(int (*f)(void *), void *stack, int flags, void *argument, ...);
}

#if defined(__x86_64__)
__asm__(".text\n"
        ".globl vfork\n"
        ".type vfork, @function\n"
        ".p2align 4\n"
        "vfork:\n"
        ".cfi_startproc\n"
        "    endbr64\n"
        "    subq $8, %rsp\n"
        ".cfi_adjust_cfa_offset 8\n"
        "    call corun_before_vfork\n"
        "    addq $8, %rsp\n"
        ".cfi_adjust_cfa_offset -8\n"
        "    popq %rdi\n"
        ".cfi_adjust_cfa_offset -8\n"
        ".cfi_register %rip, %rdi\n"
        "    movl $58, %eax\n"
        "    syscall\n"
        "    pushq %rdi\n"
        ".cfi_adjust_cfa_offset 8\n"
        ".cfi_rel_offset %rip, 0\n"
        "    testq %rax, %rax\n"
        "    je .Lin_the_child\n"
        "    movq %rax, %rdi\n"
        "    subq $8, %rsp\n"
        ".cfi_adjust_cfa_offset 8\n"
        "    call corun_after_vfork\n"
        "    addq $8, %rsp\n"
        ".cfi_adjust_cfa_offset -8\n"
        ".Lin_the_child:\n"
        "    ret\n"
        ".cfi_endproc\n"
        ".size vfork, . - vfork\n"
        ".globl __vfork\n"
        ".type __vfork, @function\n"
        ".set __vfork, vfork\n");
#else
__asm__(".text\n"
        ".globl vfork\n"
        ".type vfork, @function\n"
        ".p2align 4\n"
        "vfork:\n"
        ".cfi_startproc\n"
        "    endbr32\n"
        "    subl $12, %esp\n"
        ".cfi_adjust_cfa_offset 12\n"
        "    call corun_before_vfork\n"
        "    addl $12, %esp\n"
        ".cfi_adjust_cfa_offset -12\n"
        "    popl %ecx\n"
        ".cfi_adjust_cfa_offset -4\n"
        ".cfi_register %eip, %ecx\n"
        "    movl $190, %eax\n"
        "    int $0x80\n"
        "    pushl %ecx\n"
        ".cfi_adjust_cfa_offset 4\n"
        ".cfi_rel_offset %eip, 0\n"
        "    testl %eax, %eax\n"
        "    je .Lin_the_child\n"
        "    subl $8, %esp\n"
        ".cfi_adjust_cfa_offset 8\n"
        "    pushl %eax\n"
        ".cfi_adjust_cfa_offset 4\n"
        "    call corun_after_vfork\n"
        "    addl $12, %esp\n"
        ".cfi_adjust_cfa_offset -12\n"
        ".Lin_the_child:\n"
        "    ret\n"
        ".cfi_endproc\n"
        ".size vfork, . - vfork\n"
        ".globl __vfork\n"
        ".type __vfork, @function\n"
        ".set __vfork, vfork\n");
#endif

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_CHILDREN;

using child_function = int (*)(void *);

} // namespace

extern "C" {
pid_t hook_vfork() __asm__("vfork");
pid_t hook___vfork() __asm__("__vfork");
}

// The three words that may follow are passed on whether or not they were given, as libc does.
static int (*native_clone)(child_function, void *, int, void *, ...) = __clone;
CORUN_EXPORTED int hook_clone(child_function f, void *stack, int flags, void *argument,
                              ...) __asm__("clone");
int hook_clone(child_function f, void *stack, int flags, void *argument, ...) {
    va_list list;
    va_start(list, argument);
    void *parent_tid = va_arg(list, void *);
    void *tls = va_arg(list, void *);
    void *child_tid = va_arg(list, void *);
    va_end(list);
    bool borrows = (flags & (CLONE_VM | CLONE_VFORK | CLONE_THREAD)) == (CLONE_VM | CLONE_VFORK);
    if (borrows)
        begin_borrowing();
    int r = native_clone(f, stack, flags, argument, parent_tid, tls, child_tid);
    if (borrows)
        end_borrowing();
    return r;
}

namespace {

const hook_entry entries[] = {
    CORUN_ALIAS_ENTRY(vfork, B),
    CORUN_ALIAS_ENTRY(__vfork, B),
    CORUN_ENTRY(clone, B),
};

} // namespace

CORUN_TABLE(vfork_table, entries);

} // namespace corun::symbols
