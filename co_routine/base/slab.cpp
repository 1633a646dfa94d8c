// SPDX-License-Identifier: Apache-2.0
#include "co_routine/base/slab.h"

#include "co_routine/base/check.h"
#include "co_routine/base/sanitizer.h"

#include <sys/mman.h>

namespace corun {
namespace {

constexpr size_t header_bytes = 64; // room for struct slab, and the first block is 64-aligned

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

} // namespace

size_t slab_pool::rounded(size_t bytes) {
    if (bytes <= small_limit)
        return bytes ? round_up(bytes, small_step) : small_step;
    return round_up(bytes, bytes <= medium_limit ? medium_step : page_size);
}

unsigned slab_pool::class_of(size_t bytes) {
    size_t n = rounded(bytes);
    if (n <= small_limit)
        return static_cast<unsigned>(n / small_step - 1);
    return static_cast<unsigned>(small_classes + (n - small_limit) / medium_step - 1);
}

size_t slab_pool::block_bytes(unsigned c) {
    return c < small_classes ? (c + 1) * small_step
                             : small_limit + (c - small_classes + 1) * medium_step;
}

// Slabs are aligned to their size: a block's slab is found by masking its address.
slab_pool::slab *slab_pool::take_space(size_t bytes) {
    for (size_t i = spare_.size(); i-- > 0;)
        if (spare_[i].bytes == bytes) {
            slab *s = spare_[i].start;
            spare_[i] = spare_.back();
            spare_.pop_back();
            return s;
        }
    constexpr size_t batch = 16;
    size_t whole = bytes * batch;
    if (!mapped_.reserve(mapped_.size() + 1) || !spare_.reserve(spare_.size() + batch))
        return nullptr;
    sys::word r = sys::mmap_anonymous(whole + bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE);
    if (sys::failed(r))
        return nullptr;
    uintptr_t start = static_cast<uintptr_t>(r), first = round_up(start, bytes);
    if (first != start)
        sys::munmap(reinterpret_cast<void *>(start), first - start);
    if (size_t tail = start + bytes - first)
        sys::munmap(reinterpret_cast<void *>(first + whole), tail);
    san_space_taken();
    san_add_root(reinterpret_cast<void *>(first), whole);
    mapped_.push_back({reinterpret_cast<slab *>(first), whole});
    for (size_t i = batch; i-- > 1;)
        spare_.push_back({reinterpret_cast<slab *>(first + i * bytes), bytes});
    return reinterpret_cast<slab *>(first);
}

slab_pool::slab *slab_pool::add_slab(unsigned c) {
    static_assert(sizeof(slab) <= header_bytes);
    slab *s = take_space(slab_bytes(c));
    if (!s)
        return nullptr;
    *s = slab{};
    s->capacity = static_cast<uint32_t>((slab_bytes(c) - header_bytes) / block_bytes(c));
    classes_[c].usable.push_front(&s->link);
    ++classes_[c].empty_slabs;
    return s;
}

void *slab_pool::allocate(size_t bytes) {
    size_t got = rounded(bytes);
    if (bytes > medium_limit) {
        sys::word r = sys::mmap_anonymous(got, PROT_READ | PROT_WRITE, 0);
        if (sys::failed(r))
            return nullptr;
        san_space_taken();
        san_add_root(reinterpret_cast<void *>(r), got);
        held_bytes_ += got;
        return reinterpret_cast<void *>(r);
    }
    unsigned c = class_of(bytes);
    list_node *n = classes_[c].usable.front();
    slab *s = n ? CO_CONTAINER(n, slab, link) : add_slab(c);
    if (!s)
        return nullptr;
    void *block = s->free_list;
    if (block)
        s->free_list = *static_cast<void **>(block);
    else
        block = reinterpret_cast<char *>(s) + header_bytes + s->fresh++ * block_bytes(c);
    if (s->used++ == 0)
        --classes_[c].empty_slabs;
    if (s->used == s->capacity)
        s->link.unlink();
    held_bytes_ += got;
    return block;
}

void slab_pool::release(void *block, size_t bytes) {
    held_bytes_ -= rounded(bytes);
    if (bytes > medium_limit) {
        san_remove_root(block, rounded(bytes));
        san_space_returned();
        sys::munmap(block, rounded(bytes));
        return;
    }
    unsigned c = class_of(bytes);
    slab *s = reinterpret_cast<slab *>(reinterpret_cast<uintptr_t>(block) & ~(slab_bytes(c) - 1));
    CO_DCHECK(s->used > 0);
    *static_cast<void **>(block) = s->free_list;
    s->free_list = block;
    if (s->used-- == s->capacity)
        classes_[c].usable.push_front(&s->link);
    if (s->used != 0)
        return;
    if (classes_[c].empty_slabs == 0 || !spare_.reserve(spare_.size() + 1)) {
        ++classes_[c].empty_slabs;
        return;
    }
    s->link.unlink();
    sys::madvise(s, slab_bytes(c), MADV_DONTNEED);
    spare_.push_back({s, slab_bytes(c)});
}

// Blocks above medium_limit that are still in use are their owners' to release first.
void slab_pool::destroy() {
    for (size_t i = 0; i < mapped_.size(); ++i) {
        san_remove_root(mapped_[i].start, mapped_[i].bytes);
        san_space_returned();
        sys::munmap(mapped_[i].start, mapped_[i].bytes);
    }
    mapped_.reset();
    spare_.reset();
    for (size_class &c : classes_) {
        c.usable.ring.next = c.usable.ring.prev = &c.usable.ring;
        c.empty_slabs = 0;
    }
    held_bytes_ = 0;
}

} // namespace corun
