// SPDX-License-Identifier: Apache-2.0
// Copying the live bytes of a stack. Stacks end at a multiple of 16, sp is rounded down (which adds
// bytes that nobody reads), and buffers are cut to the same measure: there are only whole, aligned
// units of 16 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <emmintrin.h>

namespace corun {

// Up to here a loop of 16-byte moves, four at a time, costs no more than the call of memcpy; above,
// memcpy's wider registers win (measured: 23 ns against 33 for an activation with 544 bytes).
inline constexpr size_t inline_copy_limit = 256;

// From here on `rep movsb`, as memcpy does it too, but begun at a line of the destination, where it is
// fast (measured for 16 KiB: 177 ns an activation against 213 with memcpy).
inline constexpr size_t string_copy_from = 4096;

inline void copy_units(char *to, const char *from, size_t bytes) {
    auto *t = reinterpret_cast<__m128i *>(to);
    auto *f = reinterpret_cast<const __m128i *>(from);
    if (bytes >= string_copy_from) {
        for (int i = 0; i < 3; ++i) // what stands before the line, and perhaps some of it
            _mm_store_si128(t + i, _mm_load_si128(f + i));
        size_t before_line = -reinterpret_cast<uintptr_t>(to) & 63;
        to += before_line;
        from += before_line;
        bytes -= before_line;
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
        return;
    }
    if (bytes > inline_copy_limit) {
        memcpy(to, from, bytes);
        return;
    }
    size_t units = bytes / 16;
    for (; units >= 4; units -= 4, t += 4, f += 4) {
        __m128i a = _mm_load_si128(f), b = _mm_load_si128(f + 1);
        __m128i c = _mm_load_si128(f + 2), d = _mm_load_si128(f + 3);
        _mm_store_si128(t, a);
        _mm_store_si128(t + 1, b);
        _mm_store_si128(t + 2, c);
        _mm_store_si128(t + 3, d);
    }
    for (; units; --units)
        _mm_store_si128(t++, _mm_load_si128(f++));
}

} // namespace corun
