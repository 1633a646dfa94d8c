// SPDX-License-Identifier: Apache-2.0
// An array over every possible descriptor number that costs memory only where it is used: a
// directory of chunks, reserved and not committed. at(i) makes the chunk, find(i) does not. Elements
// start as all zero bytes and never move, so other threads may read them while it grows.
#pragma once

#include "co_routine/base/raw_sys.h"

#include <sys/mman.h>

namespace corun {

template <class T> class sparse_array {
  public:
    static constexpr size_t chunk_elements = 1024;
    static constexpr size_t limit = size_t{1} << 30; // the kernel's own ceiling for fs.nr_open

    sparse_array() = default;
    sparse_array(const sparse_array &) = delete;
    sparse_array &operator=(const sparse_array &) = delete;
    // No destructor: those of the process are asked until its very end, by calls that the destructors of
    // others make. Whoever has one for a shorter time calls reset.

    // The element, or nullptr when its chunk was never made. Lock-free, any thread.
    T *find(size_t i) const {
        T **directory = __atomic_load_n(&directory_, __ATOMIC_ACQUIRE);
        if (!directory || i >= limit)
            return nullptr;
        T *chunk = __atomic_load_n(&directory[i / chunk_elements], __ATOMIC_ACQUIRE);
        return chunk ? chunk + i % chunk_elements : nullptr;
    }

    // The element; nullptr when there is no memory or i is no descriptor number.
    T *at(size_t i) {
        T *found = find(i);
        return found || i >= limit ? found : make(i);
    }

    // Calls f(index, element) for each element of each chunk that exists.
    template <class F> void for_each(F f) {
        for (size_t c = 0; directory_ && c < limit / chunk_elements; ++c)
            if (T *chunk = directory_[c])
                for (size_t k = 0; k < chunk_elements; ++k)
                    f(c * chunk_elements + k, chunk[k]);
            else if (c > highest_)
                break;
    }

    void reset() {
        if (!directory_)
            return;
        for (size_t c = 0; c <= highest_; ++c)
            if (directory_[c])
                sys::munmap(directory_[c], chunk_elements * sizeof(T));
        sys::munmap(directory_, directory_bytes);
        directory_ = nullptr;
        highest_ = 0;
    }

  private:
    static constexpr size_t directory_bytes = limit / chunk_elements * sizeof(T *);

    // Several threads may make the same piece at once: the first one's stays.
    template <class P> static P *install(P **slot, size_t bytes) {
        sys::word r = sys::mmap_anonymous(bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE);
        if (sys::failed(r))
            return nullptr;
        P *fresh = reinterpret_cast<P *>(r), *expected = nullptr;
        if (__atomic_compare_exchange_n(slot, &expected, fresh, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return fresh;
        sys::munmap(fresh, bytes);
        return expected;
    }

    T *make(size_t i) {
        T **directory = __atomic_load_n(&directory_, __ATOMIC_ACQUIRE);
        if (!directory && !(directory = install(&directory_, directory_bytes)))
            return nullptr;
        size_t c = i / chunk_elements;
        T *chunk = install(&directory[c], chunk_elements * sizeof(T));
        if (!chunk)
            return nullptr;
        size_t seen = __atomic_load_n(&highest_, __ATOMIC_RELAXED);
        while (c > seen && !__atomic_compare_exchange_n(&highest_, &seen, c, false,
                                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        }
        return chunk + i % chunk_elements;
    }

    T **directory_ = nullptr;
    size_t highest_ = 0; // highest chunk made: where walks may end
};

} // namespace corun
