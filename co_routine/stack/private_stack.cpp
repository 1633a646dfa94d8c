// SPDX-License-Identifier: Apache-2.0
#include "co_routine/stack/private_stack.h"

#include "co_routine/base/check.h"
#include "co_routine/base/sanitizer.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

namespace corun {
namespace {

// Free stacks that may keep their touched pages; beyond that the oldest give them back.
constexpr size_t dirty_limit = 1024;
constexpr size_t first_slab_stacks = 16, largest_slab_stacks = 1024;
// i386 has 3 GiB for everything: a slab may not take a large share of it.
constexpr size_t largest_slab_bytes = sizeof(void *) == 8 ? size_t{1} << 30 : size_t{16} << 20;

constexpr size_t vmas_per_guard = 2; // the guard's own, and the half it splits off

bool said_unguarded;
size_t vma_budget_left = SIZE_MAX; // SIZE_MAX: not read yet

size_t read_max_map_count() {
    char text[24] = {};
    sys::word fd =
        sys::call(SYS_openat, AT_FDCWD, "/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC, 0);
    if (sys::failed(fd))
        return 65530; // the kernel's default
    sys::read(static_cast<int>(fd), text, sizeof text - 1);
    sys::close(static_cast<int>(fd));
    size_t n = 0;
    for (const char *p = text; *p >= '0' && *p <= '9'; ++p)
        n = n * 10 + static_cast<size_t>(*p - '0');
    return n;
}

// Three quarters for stacks: the program, its libraries and its heap need the rest.
bool take_vmas(size_t count) {
    size_t left = __atomic_load_n(&vma_budget_left, __ATOMIC_RELAXED);
    if (left == SIZE_MAX) {
        size_t budget = read_max_map_count() / 4 * 3;
        __atomic_compare_exchange_n(&vma_budget_left, &left, budget, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED);
        left = __atomic_load_n(&vma_budget_left, __ATOMIC_RELAXED);
    }
    while (left >= count)
        if (__atomic_compare_exchange_n(&vma_budget_left, &left, left - count, true,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return true;
    return false;
}

void give_back_vmas(size_t count) {
    if (count)
        __atomic_fetch_add(&vma_budget_left, count, __ATOMIC_RELAXED);
}

guard_kind probe_guard_kind() {
    sys::word r = sys::mmap_anonymous(page_size, PROT_READ | PROT_WRITE, 0);
    if (sys::failed(r))
        return guard_kind::mprotect_page;
    void *probe = reinterpret_cast<void *>(r);
    sys::word answer = sys::madvise(probe, page_size, MADV_GUARD_INSTALL);
    sys::munmap(probe, page_size);
    return answer == 0 ? guard_kind::guard_install : guard_kind::mprotect_page;
}

} // namespace

guard_kind kernel_guard_kind() {
    static uint8_t kind; // atomic: a guard_kind
    auto seen = static_cast<guard_kind>(__atomic_load_n(&kind, __ATOMIC_RELAXED));
    if (seen == guard_kind::unknown) {
        seen = probe_guard_kind();
        __atomic_store_n(&kind, static_cast<uint8_t>(seen), __ATOMIC_RELAXED);
    }
    return seen;
}

stack_pool::stack_pool(size_t stack_bytes, size_t guard_bytes)
    : stack_bytes_(stack_bytes), guard_bytes_(guard_bytes), stride_(stack_bytes + guard_bytes) {
    find_watchers(); // make_env has done so, unless the room is used by itself
}

stack_pool::~stack_pool() {
    for (size_t i = 0; i < slabs_.size(); ++i) {
        if (is_watched_by(watcher_lsan | byte_watchers))
            hide_slab(slabs_[i].start, i + 1 < slabs_.size() ? slabs_[i].stacks : next_);
        san_space_returned();
        sys::munmap(slabs_[i].start, slabs_[i].stacks * stride_);
    }
    for (size_t i = 0; i < registered_.size(); ++i)
        san_deregister_stack(registered_[i]);
    give_back_vmas(vmas_);
}

bool stack_pool::grow() {
    size_t stacks = slabs_.empty() ? first_slab_stacks : slabs_.back().stacks * 4;
    if (stacks > largest_slab_stacks)
        stacks = largest_slab_stacks;
    while (stacks > 1 && stacks > largest_slab_bytes / stride_) // on i386 a product may wrap
        stacks /= 2;
    // Room on the free list for every stack there is: release never allocates.
    if (!slabs_.reserve(slabs_.size() + 1) || !free_.reserve(counts_.mapped + stacks))
        return false;
    sys::word r;
    do
        r = sys::mmap_anonymous(stacks * stride_, PROT_READ | PROT_WRITE,
                                MAP_NORESERVE | MAP_STACK);
    while (sys::failed(r) && (stacks /= 2) > 0);
    if (sys::failed(r))
        return false;
    san_space_taken();
    char *start = reinterpret_cast<char *>(r);
    // A huge page would make every stack resident at once.
    sys::madvise(start, stacks * stride_, MADV_NOHUGEPAGE);
    slabs_.push_back({start, stacks});
    next_ = 0;
    counts_.mapped += stacks;
    counts_.bytes_mapped += stacks * stride_;
    return true;
}

void stack_pool::install_guard(char *stack_low) {
    if (guard_bytes_ == 0)
        return;
    if (kernel_guard_kind() == guard_kind::guard_install &&
        sys::madvise(stack_low - guard_bytes_, guard_bytes_, MADV_GUARD_INSTALL) == 0)
        return;
    if (take_vmas(vmas_per_guard)) {
        vmas_ += vmas_per_guard;
        if (sys::mprotect(stack_low - page_size, page_size, PROT_NONE) == 0)
            return;
    }
    ++counts_.unguarded;
    if (!__atomic_exchange_n(&said_unguarded, true, __ATOMIC_RELAXED))
        warn("stacks from now on have no guard: this kernel has no MADV_GUARD_INSTALL (Linux 6.13) "
             "and vm.max_map_count leaves no room for more mappings; raise it with sysctl");
}

// What sanitizers and Valgrind learn of a stack: at first that it is one. One by one: the guards between
// them cannot be read, and to Valgrind a switch within one stack is a frame that comes or goes.
void stack_pool::show(char *low) {
    san_add_root(low, stack_bytes_);
    if (is_watched_by(watcher_valgrind) && registered_.reserve(registered_.size() + 1))
        registered_.push_back(san_register_stack(low, low + stack_bytes_));
}

void stack_pool::hide_slab(char *start, size_t handed_out) {
    for (size_t i = 0; i < handed_out; ++i) {
        char *low = start + i * stride_ + guard_bytes_;
        san_remove_root(low, stack_bytes_);
        san_renew(low, stack_bytes_); // others' from here on
    }
}

bool stack_pool::acquire(stack_range *out) {
    char *low;
    if (!free_.empty()) {
        low = free_.back();
        free_.pop_back();
        if (clean_ > free_.size())
            clean_ = free_.size();
    } else {
        if ((slabs_.empty() || next_ == slabs_.back().stacks) && !grow())
            return false;
        low = slabs_.back().start + next_++ * stride_ + guard_bytes_;
        install_guard(low);
        show(low);
    }
    if (CO_UNLIKELY(is_watched_by(byte_watchers)))
        san_renew(low, stack_bytes_); // frames that were dropped there left red zones
    ++counts_.in_use;
    *out = {low, low + stack_bytes_};
    return true;
}

void stack_pool::release(char *low) {
    // Before this one joins the list: the caller may stand on it.
    if (free_.size() - clean_ >= dirty_limit)
        trim();
    free_.push_back(low);
    --counts_.in_use;
}

// The older half of the dirty stacks gives its pages back; the guards survive MADV_DONTNEED.
void stack_pool::trim() {
    size_t until = clean_ + dirty_limit / 2;
    for (; clean_ < until; ++clean_)
        sys::madvise(free_[clean_], stack_bytes_, MADV_DONTNEED);
}

stack_range stack_pool::find(uintptr_t address) const {
    for (size_t i = 0; i < slabs_.size(); ++i) {
        uintptr_t start = reinterpret_cast<uintptr_t>(slabs_[i].start);
        if (address - start >= slabs_[i].stacks * stride_)
            continue;
        char *low = slabs_[i].start + (address - start) / stride_ * stride_ + guard_bytes_;
        return {low, low + stack_bytes_};
    }
    return {};
}

} // namespace corun
