// SPDX-License-Identifier: Apache-2.0
#include "perf/stackmem/live_bytes.h"

#include <alloca.h>

namespace stackmem {
namespace {

live_shape shape;

// A frame's own words beside its live bytes, and what libc keeps at the top of a thread's stack.
constexpr long frame_words = 256, besides = 8 * 1024;

unsigned char pattern(uintptr_t number, long i) {
    return static_cast<unsigned char>(number * 31 + static_cast<uintptr_t>(i) * 7 + 1);
}

// How much of the live bytes lies in this frame: the first ones have one more where it does not divide.
long share_of(long frame) {
    return shape.bytes / shape.depth + (frame < shape.bytes % shape.depth ? 1 : 0);
}

template <typename F> void each_written(long length, F f) {
    if (shape.touched == touch::all)
        for (long i = 0; i < length; i++)
            f(i);
    if (shape.touched == touch::ends && length > 0) {
        f(0);
        f(length - 1);
    }
}

__attribute__((noinline)) long frame_with_bytes(uintptr_t number, long frame,
                                                void (*wait)(uintptr_t)) {
    long length = share_of(frame);
    auto *live = static_cast<volatile unsigned char *>(alloca(static_cast<size_t>(length)));
    uintptr_t seed = number + static_cast<uintptr_t>(frame) * 13;
    each_written(length, [&](long i) { live[i] = pattern(seed, i); });
    long changed = 0;
    if (frame + 1 < shape.depth)
        changed = frame_with_bytes(number, frame + 1, wait);
    else
        wait(number);
    each_written(length, [&](long i) { changed += live[i] != pattern(seed, i); });
    return changed;
}

} // namespace

void set_live_bytes(const live_shape &s) { shape = s; }

long with_live_bytes(uintptr_t number, void (*wait)(uintptr_t)) {
    return frame_with_bytes(number, 0, wait);
}

long stack_needed(const live_shape &s) { return s.bytes + s.depth * frame_words + besides; }

} // namespace stackmem
