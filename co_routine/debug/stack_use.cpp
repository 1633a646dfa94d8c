// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/stack_use.h"

#include "co_routine/base/raw_sys.h"
#include "co_routine/base/sanitizer.h"
#include "co_routine/core/own_range.h"

namespace corun {
namespace {

constexpr size_t pages_at_once = 512;

using raw_word __attribute__((may_alias)) = uintptr_t;

// Live frames of others are read here, red zones included.
CO_NO_SANITIZE const char *first_used(const char *from, const char *to) {
    const char *at = from;
    while (at < to && *reinterpret_cast<const volatile raw_word *>(at) == 0)
        at += sizeof(raw_word);
    return at < to ? at : to;
}

size_t pages_between(const char *low, const char *high) {
    return (static_cast<size_t>(high - low) + page_size - 1) / page_size;
}

size_t larger(size_t a, size_t b) { return a > b ? a : b; }

size_t used_of_own_range(const coroutine *co) {
    open_range range(co);
    return bytes_ever_used(co->stack_low, co->stack_low + co->pool->stack_bytes());
}

} // namespace

open_range::open_range(const coroutine *co) : co_(co), shut_(co->tenancy.home->occupant != co) {
    if (shut_)
        open(co_->tenancy.range);
}
open_range::~open_range() {
    if (shut_)
        shut(co_->tenancy.range);
}

size_t bytes_ever_used(const char *low, const char *high) {
    san_any_reads dead_bytes_too;
    unsigned char resident[pages_at_once];
    for (const char *at = low; at < high;) {
        size_t pages = pages_between(at, high);
        if (pages > pages_at_once)
            pages = pages_at_once;
        // A page that was never touched must not be read: that would map the zero page there.
        if (sys::failed(sys::call(SYS_mincore, at, pages * page_size, resident)))
            return 0;
        for (size_t i = 0; i < pages; ++i, at += page_size) {
            if (!(resident[i] & 1))
                continue;
            const char *end = high - at < static_cast<ptrdiff_t>(page_size) ? high : at + page_size;
            const char *found = first_used(at, end);
            san_define(&found, sizeof found);
            if (found < end)
                return static_cast<size_t>(high - found);
        }
    }
    return 0;
}

size_t bytes_live(const coroutine *co) {
    if (co->state == co_state::fresh || co->state == co_state::ended || co->has(flag_root))
        return 0;
    const char *sp = static_cast<const char *>(coctx_sp(co->regs)), *high = co->high_end();
    if (co->env->running == co)
        sp = static_cast<const char *>(__builtin_frame_address(0));
    // A signal handler stands on a stack of its own.
    return sp >= co->low_end() && sp <= high ? static_cast<size_t>(high - sp) : 0;
}

size_t high_water_of(const coroutine *co) {
    if (co->has(flag_root))
        return 0; // the thread's own stack is not ours to measure
    size_t live = bytes_live(co);
    if (!co->shared_home())
        return larger(live, bytes_ever_used(co->stack_low, co->high_end()));
    if (co->pool)
        return larger(live, used_of_own_range(co));
    return larger(live, co->saved_high_water);
}

} // namespace corun

size_t co_stack_high_water(const stCoRoutine_t *co) { return co ? corun::high_water_of(co) : 0; }
