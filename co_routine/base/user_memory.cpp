// SPDX-License-Identifier: Apache-2.0
#include "co_routine/base/user_memory.h"

#include <cerrno>

// Of the first two nothing can fault but the touch. Called directly alone: there is no endbr.
#if defined(__x86_64__)
#define TOUCHED "%rdi"
#define LOAD_ARGUMENT
#else
#define TOUCHED "%eax"
#define LOAD_ARGUMENT "movl 4(%esp), %eax\n\t"
#endif
#define FUNCTION(name)                                                                             \
    ".globl " name "\n\t.hidden " name "\n\t.type " name ", @function\n" name ":\n\t"              \
    ".cfi_startproc\n\t"
#define FUNCTION_END(name) ".cfi_endproc\n\t.size " name ", . - " name "\n\t"

__asm__(".text\n\t.p2align 4\n\t" FUNCTION("corun_touch_to_read") LOAD_ARGUMENT
        "testb $0, (" TOUCHED ")\n\t"
        "movl $1, %eax\n\t"
        "ret\n\t" FUNCTION_END("corun_touch_to_read") FUNCTION("corun_touch_to_write") LOAD_ARGUMENT
        "lock orb $0, (" TOUCHED ")\n\t"
        "movl $1, %eax\n\t"
        "ret\n\t" FUNCTION_END("corun_touch_to_write")
            FUNCTION("corun_touch_failed") "xorl %eax, %eax\n\t"
                                           "ret\n\t" FUNCTION_END("corun_touch_failed"));

namespace corun {

bool touches_are_caught;

namespace {

template <class Touch> bool each_page(uintptr_t low, size_t bytes, Touch touch) {
    if (bytes == 0)
        return true;
    uintptr_t last;
    if (__builtin_add_overflow(low, bytes - 1, &last) ||
        cannot_be_mapped(reinterpret_cast<void *>(low)))
        return false;
    for (uintptr_t at = low;;) {
        if (!touch(reinterpret_cast<void *>(at)))
            return false;
        uintptr_t next = (at & -page_size) + page_size;
        if (next > last || next == 0)
            return true;
        at = next;
    }
}

// False: not done, because forbidden. *all: done, and with every byte.
bool copied_by_kernel(long nr, void *ours, const void *users, size_t bytes, bool *all) {
    iovec local{ours, bytes}, remote{const_cast<void *>(users), bytes};
    sys::word done = sys::call(nr, sys::gettid(), &local, 1, &remote, 1, 0);
    *all = done >= 0 && static_cast<size_t>(done) == bytes;
    return done != -EPERM && done != -ENOSYS && done != -EACCES;
}

} // namespace

bool can_read_pages(const void *at, size_t bytes) {
    return each_page(reinterpret_cast<uintptr_t>(at), bytes,
                     [](void *page) { return corun_touch_to_read(page); });
}

bool can_write_pages(void *at, size_t bytes) {
    return each_page(reinterpret_cast<uintptr_t>(at), bytes,
                     [](void *page) { return corun_touch_to_write(page); });
}

bool copy_from_user(void *ours, const void *users, size_t bytes) {
    bool all;
    if (!touches_are_caught && copied_by_kernel(SYS_process_vm_readv, ours, users, bytes, &all))
        return all;
    if (!can_read(users, bytes))
        return false;
    memcpy(ours, users, bytes);
    return true;
}

bool copy_to_user(void *users, const void *ours, size_t bytes) {
    bool all;
    if (!touches_are_caught &&
        copied_by_kernel(SYS_process_vm_writev, const_cast<void *>(ours), users, bytes, &all))
        return all;
    if (!can_write(users, bytes))
        return false;
    memcpy(users, ours, bytes);
    return true;
}

} // namespace corun
