// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/helper_threads.h"

#include "co_hook/waist/worker.h"

#include "co_routine/base/spinlock.h"
#include "co_routine/loop/offload_helpers.h"

#include <linux/sched.h>
#include <sys/mman.h>

namespace corun::waist {
namespace {

// A mapping holds, from its lowest address: a guard, the stack, thread-local storage, and this, to
// which the FS base points. It is used again when the kernel says that its thread is gone.
struct block {
    block *self; // as in every thread control block of x86_64
    block *next;
    int tid; // 0: free. Zeroed by the kernel
    void *(*main)(void *);
    void *argument;
};

constexpr size_t stack_bytes = 64 * 1024; // system calls, and signal frames
size_t tls_bytes;                         // this library's variables lie so near to the FS base

block *blocks;
unsigned blocks_lock;

block *new_block() {
    size_t block_bytes = page_size + stack_bytes + tls_bytes + page_size;
    sys::word low = sys::mmap_anonymous(block_bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE);
    if (sys::failed(low))
        return nullptr;
    sys::mprotect(reinterpret_cast<void *>(low), page_size, PROT_NONE);
    auto *b = reinterpret_cast<block *>(static_cast<uintptr_t>(low) + block_bytes - page_size);
    b->self = b;
    b->next = blocks;
    blocks = b;
    return b;
}

block *take_block() {
    spin_guard guard(&blocks_lock);
    for (block *b = blocks; b; b = b->next)
        if (__atomic_load_n(&b->tid, __ATOMIC_ACQUIRE) == 0) {
            __builtin_memset(reinterpret_cast<char *>(b) - tls_bytes, 0, tls_bytes);
            b->tid = -1; // taken
            return b;
        }
    block *b = new_block();
    if (b)
        b->tid = -1;
    return b;
}

[[noreturn]] void begin(block *b) {
    b->main(b->argument);
    for (;;)
        sys::call(SYS_exit, 0);
}

bool start(void *(*main)(void *), void *argument) {
    block *b = take_block();
    if (!b)
        return false;
    b->main = main;
    b->argument = argument;
    // Popped by the child: it begins in `begin` as if that had been called.
    char *top = reinterpret_cast<char *>(b) - tls_bytes - 64;
    auto at = (reinterpret_cast<uintptr_t>(top - sizeof(frame)) & ~uintptr_t{15}) - 8;
    auto *f = reinterpret_cast<frame *>(at); // begin is entered as if it had been called
    *f = {};
    f->rdi = reinterpret_cast<uint64_t>(b);
    f->flags = 0x202;
    f->slot = reinterpret_cast<uint64_t>(&begin);
    constexpr long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                           CLONE_SYSVSEM | CLONE_SETTLS | CLONE_CHILD_CLEARTID;
    // Nothing at all comes here, glibc's own neither: it does not know this thread, and what on_signal
    // records is the worker's. A fault of its own the kernel lets nobody block.
    signal_set former;
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &all_signals, &former, sys::sigset_bytes);
    long tid =
        waist_clone(SYS_clone, flags, sys::as_word(f), 0, sys::as_word(&b->tid), sys::as_word(b));
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &former, nullptr, sys::sigset_bytes);
    if (tid < 0)
        __atomic_store_n(&b->tid, 0, __ATOMIC_RELEASE);
    return tid > 0;
}

} // namespace

void make_helpers_without_libc() {
    uintptr_t lowest = fs_base() - reinterpret_cast<uintptr_t>(&tls_thread);
    tls_bytes = (lowest + page_size) / page_size * page_size + page_size; // some lie lower
    start_helper_thread = start;
}

} // namespace corun::waist
