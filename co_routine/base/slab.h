// SPDX-License-Identifier: Apache-2.0
// Small blocks from pages of our own, for what is made and freed on paths where malloc may not be
// called: control blocks, save buffers, wait nodes. One pool per thread, used by that thread alone.
//
//     slab_pool pool;
//     void *p = pool.allocate(200);   // 16-byte aligned, 208 bytes
//     pool.release(p, 200);           // the same size again: blocks carry no header
//
// Blocks up to 4 KiB come in steps of 16 bytes, up to 32 KiB in steps of 512, each class from slabs
// of its own; larger ones are whole pages. The free list of a slab is LIFO because the block freed
// last is the one still in the cache. A slab that is wholly free goes back to the kernel but for one
// per class, kept so that a class that swings around zero does not map and unmap.
#pragma once

#include "co_routine/base/list.h"
#include "co_routine/base/raw_vector.h"

#include <cstddef>
#include <cstdint>

namespace corun {

class slab_pool {
  public:
    slab_pool() = default;
    slab_pool(const slab_pool &) = delete;
    slab_pool &operator=(const slab_pool &) = delete;
    ~slab_pool() { destroy(); }

    void *allocate(size_t bytes); // nullptr: no memory
    void release(void *block, size_t bytes);

    // What a request of so many bytes really gets.
    static size_t rounded(size_t bytes);

    size_t held_bytes() const { return held_bytes_; } // handed out now
    void destroy(); // unmaps all slabs; blocks above 32 KiB are their owners'

    static constexpr size_t small_limit = 4096, small_step = 16;

  private:
    static constexpr size_t medium_limit = 32768, medium_step = 512;
    static constexpr size_t small_slab = 64 * 1024, medium_slab = 512 * 1024;
    static constexpr unsigned small_classes = small_limit / small_step;
    static constexpr unsigned classes = small_classes + (medium_limit - small_limit) / medium_step;

    struct slab {
        list_node link; // in the class's list while it has a free block
        void *free_list;
        uint32_t used, fresh, capacity; // used now; never handed out start at fresh
    };
    struct size_class {
        list_head usable;
        unsigned empty_slabs = 0;
    };
    struct spare { // address space of one slab, returned to the kernel
        slab *start;
        size_t bytes;
    };

    static unsigned class_of(size_t bytes);
    static size_t block_bytes(unsigned c);
    static size_t slab_bytes(unsigned c) { return c < small_classes ? small_slab : medium_slab; }
    slab *add_slab(unsigned c);
    slab *take_space(size_t bytes);

    size_class classes_[classes];
    raw_vector<spare> spare_;
    raw_vector<spare> mapped_; // every mapping, for destroy
    size_t held_bytes_ = 0;
};

} // namespace corun
