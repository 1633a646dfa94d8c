// SPDX-License-Identifier: Apache-2.0
#include "co_routine/stack/shared_stack.h"

#include "co_routine/base/check.h"
#include "co_routine/base/sanitizer.h"

#include <cstring>
#include <emmintrin.h>

namespace corun {
namespace {

// So many saves in a row must need less before a buffer shrinks: a coroutine that swings between two
// depths keeps the larger one.
constexpr uint8_t loose_saves_limit = 32;

// Up to here a loop of 16-byte moves beats the call of memcpy.
constexpr size_t inline_copy_limit = 512;

// Stacks end at a multiple of 16, and so do save buffers; sp is rounded down, which adds bytes that
// nobody reads. So there are only whole, aligned 16-byte units.
CO_NO_SANITIZE inline void copy_units(char *to, const char *from, size_t bytes) {
#if CO_SANITIZED
    // The sanitizers' memcpy would report the red zones between the frames.
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
#else
    if (bytes > inline_copy_limit) {
        memcpy(to, from, bytes);
        return;
    }
    for (size_t i = 0; i < bytes; i += 16)
        _mm_store_si128(reinterpret_cast<__m128i *>(to + i),
                        _mm_load_si128(reinterpret_cast<const __m128i *>(from + i)));
#endif
}

// From here on memcpy uses rep movsb, which is two to three times slower unless both sides lie alike
// within a cache line (measured: 58 ns against 158 for 4 KiB). Stacks end at a page, so buffers of
// that size end at a multiple of 64, and what they hold stands at their end.
constexpr size_t aligned_copy_from = 1024;

size_t buffer_bytes(size_t bytes) {
    // Under AddressSanitizer the frames' red zones travel with them: the shadow stands in front.
    size_t needed = bytes + san_shadow_bytes(bytes);
    if (needed >= aligned_copy_from)
        needed = (needed + 63) & ~size_t{63};
    return slab_pool::rounded(needed);
}

char *place_in_buffer(const tenant *t, size_t bytes) {
    return t->saved + t->saved_capacity - bytes;
}

bool fit_buffer(tenant *t, uint8_t *loose_saves, size_t bytes, slab_pool *pool) {
    size_t needed = buffer_bytes(bytes);
    bool fits = needed <= t->saved_capacity;
    if (needed == t->saved_capacity || (fits && ++*loose_saves < loose_saves_limit)) {
        if (needed == t->saved_capacity)
            *loose_saves = 0;
        return true;
    }
    *loose_saves = 0;
    char *fresh = static_cast<char *>(pool->allocate(needed));
    if (!fresh)
        return fits; // keeps the larger one
    if (t->saved)
        pool->release(t->saved, t->saved_capacity);
    t->saved = fresh;
    t->saved_capacity = static_cast<uint32_t>(needed);
    return true;
}

} // namespace

bool save_live_bytes(tenant *t, uint8_t *loose_saves, char *sp, char *high, slab_pool *pool,
                     copy_counts *counts) {
    char *from = reinterpret_cast<char *>(reinterpret_cast<uintptr_t>(sp) & ~uintptr_t{15});
    size_t bytes = static_cast<size_t>(high - from);
    if (CO_UNLIKELY(buffer_bytes(bytes) != t->saved_capacity) &&
        !fit_buffer(t, loose_saves, bytes, pool))
        return false;
    copy_units(place_in_buffer(t, bytes), from, bytes);
    san_save_shadow(t->saved, from, bytes);
    t->saved_bytes = static_cast<uint32_t>(bytes);
    ++counts->copies;
    counts->bytes_copied += bytes;
    counts->bytes_saved += bytes;
    return true;
}

void restore_live_bytes(tenant *t, char *high, copy_counts *counts) {
    size_t bytes = t->saved_bytes;
    if (bytes == 0)
        return;
    san_restore_shadow(t->saved, high - bytes, bytes);
    copy_units(high - bytes, place_in_buffer(t, bytes), bytes);
    t->saved_bytes = 0;
    ++counts->copies;
    counts->bytes_copied += bytes;
    counts->bytes_saved -= bytes;
}

void drop_saved_bytes(tenant *t, slab_pool *pool, copy_counts *counts) {
    counts->bytes_saved -= t->saved_bytes;
    if (t->saved)
        pool->release(t->saved, t->saved_capacity);
    t->saved = nullptr;
    t->saved_bytes = t->saved_capacity = 0;
}

} // namespace corun

// Some stack has at most the average, so the search ends there; starting behind the last choice it
// rarely takes more than a step.
corun::shared_stack *stShareStack_t::least_crowded() {
    unsigned n = static_cast<unsigned>(count), average = tenants / n;
    for (unsigned i = 0; i < n; ++i) {
        unsigned at = (next + i) % n;
        if (stacks[at].tenants <= average) {
            next = (at + 1) % n;
            return &stacks[at];
        }
    }
    return &stacks[0]; // not reached: not all can be above the average
}
