// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/fault_report.h"

#include "co_routine/base/check.h"
#include "co_routine/base/raw_sys.h"
#include "co_routine/debug/dump.h"
#include "co_routine/debug/stack_use.h"
#include "co_routine/debug/unwinder.h"

namespace corun {
namespace {

// A pointer or a frame may lie far below the guard, but not farther than the largest stack.
constexpr uintptr_t farthest_jump = uintptr_t{1} << 30;

struct found_stack {
    stack_range range;
    bool in_guard;
    explicit operator bool() const { return range.low != nullptr; }
};

uintptr_t as_number(const void *p) { return reinterpret_cast<uintptr_t>(p); }

found_stack find_stack(const co_env *env, uintptr_t address) {
    for (size_t i = 0; i < env->pools.size(); ++i)
        if (stack_range r = env->pools[i]->find(address); r.low)
            return {r, address < as_number(r.low)};
    return {};
}

// Who stands on the stack that begins at low; nullptr: nobody.
coroutine *owner_of(co_env *env, const char *low) {
    if (env->running->low_end() == low)
        return env->running;
    for (size_t i = 0; i < env->all.size(); ++i)
        if (env->all[i]->stack_low == low)
            return env->all[i];
    for (size_t i = 0; i < env->shared.size(); ++i)
        for (int k = 0; k < env->shared[i]->count; ++k)
            if (env->shared[i]->stacks[k].low == low)
                return env->shared[i]->stacks[k].occupant;
    return nullptr;
}

size_t stack_bytes_of(const coroutine *co) {
    return co->shared_home() ? co->tenancy.home->group->stack_bytes : co->pool->stack_bytes();
}

void say_overflow(const coroutine *co, uintptr_t address) {
    char who[description_bytes] = "";
    if (co->env->running != co) // else the line names it anyway
        describe(who, sizeof who, co);
    warn("%s%sstack overflow: its %s stack has %zu bytes, %zu of them used; %p was touched, %zu "
         "bytes below the end; raise %s",
         who, *who ? ": " : "", co->shared_home() ? "shared" : "private", stack_bytes_of(co),
         bytes_ever_used(co->low_end(), co->high_end()), reinterpret_cast<void *>(address),
         static_cast<size_t>(as_number(co->low_end()) - address),
         co->shared_home() ? "the size given to co_alloc_sharestack" : "attr.stack_size");
}

// The stack pointer has left the stack of the running coroutine at its lower end: whatever was
// touched there, in the guard or beyond a guard that a large frame has jumped over.
bool ran_off(const coroutine *co, uintptr_t address, uintptr_t sp) {
    uintptr_t low = as_number(co->low_end());
    return !co->has(flag_root) && sp < low && low - sp < farthest_jump && address < low &&
           address + page_size >= sp;
}

bool report_overflow(co_env *env, uintptr_t address, uintptr_t sp) {
    if (ran_off(env->running, address, sp)) {
        say_overflow(env->running, address);
        return true;
    }
    found_stack at = find_stack(env, address);
    if (!at || !at.in_guard)
        return false;
    coroutine *owner = owner_of(env, at.range.low);
    // A probe or a push touches the guard before the stack pointer gets there; and in the middle of
    // a switch the leaver is not the running one any more.
    bool in_reach = sp <= address || sp - address < farthest_jump; // no sum: i386 would wrap round
    if (owner && sp <= as_number(at.range.high) && in_reach &&
        (sp >= as_number(at.range.low) || owner == env->running)) {
        say_overflow(owner, address);
        return true;
    }
    char whose[description_bytes] = "nobody";
    if (owner)
        describe(whose, sizeof whose, owner);
    warn("touched %p in the guard below the stack of %s: a pointer that is off, not an overflow",
         reinterpret_cast<void *>(address), whose);
    return true;
}

} // namespace

bool report_fault(uintptr_t address, uintptr_t sp) {
    co_env *env = env_or_null();
    return env && (debug_flags() & CO_DEBUG_OVERFLOW) && report_overflow(env, address, sp);
}

void write_report_frames(void *const *pcs, int n, bool exact_first) {
    for (int i = 0; i < n && i < frames_shown; ++i) {
        char line[400] = "corun:   ";
        unsigned length =
            9 + format_frame(line + 9, sizeof line - 10, i, pcs[i], exact_first && i == 0);
        line[length++] = '\n';
        sys::write(2, line, length);
    }
}

} // namespace corun
