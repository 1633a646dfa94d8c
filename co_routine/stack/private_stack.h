// SPDX-License-Identifier: Apache-2.0
// Private stacks: slabs of equal stacks, each with a guard below it, reused last in, first out,
// because the stack freed last is the one whose top is still in the cache.
//
//     slab  | guard | stack 0 | guard | stack 1 | ...      one mapping, lowest address first
//
// The guard is the run of pages below a stack that faults when touched. Where the kernel has
// MADV_GUARD_INSTALL (Linux 6.13) it costs no VMA, so 200,000 guarded stacks fit the default
// vm.max_map_count. Elsewhere one page is mprotect'ed, which splits the mapping in two more VMAs:
// that is done only while the process's VMA budget lasts; what stays unguarded is counted and said
// once. A slab is never unmapped before its pool: a handle may still stand in a finished stack.
#pragma once

#include "co_routine/base/raw_vector.h"

#include <cstddef>
#include <cstdint>

namespace corun {

// How guards are made on this kernel: asked once.
enum class guard_kind : uint8_t { unknown, guard_install, mprotect_page };
guard_kind kernel_guard_kind();

// [low, high): the guard lies below low.
struct stack_range {
    char *low = nullptr, *high = nullptr;
    size_t bytes() const { return static_cast<size_t>(high - low); }
};

struct stack_counts {
    size_t mapped = 0, in_use = 0, unguarded = 0, bytes_mapped = 0;
};

// Stacks of one size and guard size.
class stack_pool {
  public:
    stack_pool(size_t stack_bytes, size_t guard_bytes);
    stack_pool(const stack_pool &) = delete;
    stack_pool &operator=(const stack_pool &) = delete;
    ~stack_pool();

    bool acquire(stack_range *out); // false: no memory
    // The caller may still be standing on it: nothing in it is written or given back to the kernel
    // before the next call.
    void release(char *low);

    size_t stack_bytes() const { return stack_bytes_; }
    size_t guard_bytes() const { return guard_bytes_; }
    const stack_counts &counts() const { return counts_; }
    // The stack whose stack or guard holds the address, low == nullptr when none of ours does.
    stack_range find(uintptr_t address) const;

  private:
    struct slab {
        char *start;
        size_t stacks;
    };
    bool grow();
    void install_guard(char *stack_low);
    void show(char *low);
    void hide_slab(char *start, size_t handed_out);
    void trim();

    size_t stack_bytes_, guard_bytes_, stride_;
    raw_vector<slab> slabs_;
    raw_vector<char *> free_; // LIFO; entries below clean_ hold no pages but their guard's
    size_t clean_ = 0;
    size_t next_ = 0;                 // first stack of the newest slab that was never handed out
    size_t vmas_ = 0;                 // taken from the process's budget for mprotect guards
    raw_vector<unsigned> registered_; // Valgrind's numbers of the stacks
    stack_counts counts_;
};

} // namespace corun
