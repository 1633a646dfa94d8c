// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/backtrace.h"

#include "co_routine/core/switch.h"
#include "co_routine/debug/stack_use.h"
#include "co_routine/debug/unwinder.h"

#include <cerrno>

namespace corun {
namespace {

// dlopen of a small library was measured at about 10 KiB; a preloaded malloc may take more.
constexpr size_t room_for_dlopen = 48 * 1024;
constexpr int loader_stack_bytes = 256 * 1024;

bool has_room_here(const coroutine *running) {
    if (running->has(flag_root))
        return true;
    uintptr_t here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    uintptr_t low = reinterpret_cast<uintptr_t>(running->low_end());
    return here - low >= room_for_dlopen; // also where it stands on no stack of ours
}

void *load_on_this_stack(void *) {
    load_libunwind();
    return nullptr;
}

} // namespace

void prepare_backtraces() {
    if (libunwind_was_sought())
        return;
    co_env *env = env_or_null();
    if (!env || has_room_here(env->running)) {
        load_libunwind();
        return;
    }
    stCoRoutineAttr_t roomy;
    roomy.stack_size = loader_stack_bytes;
    coroutine *loader;
    if (create_coroutine(&loader, &roomy, load_on_this_stack, nullptr) != 0)
        return; // frame pointers this time
    loader->set(flag_started);
    ++env->live;
    resume(env, loader);
    free_coroutine(loader);
}

bool stack_is_in_place(const coroutine *co) {
    return !co->shared_home() || co->tenancy.home->occupant == co;
}

bool has_frames(const coroutine *co) {
    if (co->state == co_state::fresh || co->state == co_state::ended)
        return false;
    if (co->env->running == co || co->has(flag_root))
        return true;
    return co->has(flag_ran); // else made ready by co_go and not begun
}

namespace {

int backtrace_running(const coroutine *co, void *caller, void **pcs, int max) {
    if (int n = walk_own_frames(caller, pcs, max))
        return n;
    alignas(64) void *regs[COCTX_LIVE_REGS];
    coctx_swap_regs(regs, regs); // to itself: nothing happens but that the registers are saved
    ucontext_t context;
    context_of_registers(&context, regs);
    walk_request request;
    request.first_pc = caller;
    // A signal handler may stand on a stack of its own, from where libunwind finds back; frame
    // pointers do not.
    char *sp = static_cast<char *>(coctx_sp(regs));
    if (!co->has(flag_root) && sp >= co->low_end() && sp < co->high_end() && !libunwind_loaded())
        request.stack = {sp, co->high_end(), sp};
    return walk_frames(&context, request, pcs, max);
}

int backtrace_suspended(const coroutine *co, void **pcs, int max) {
    if (co->has(flag_root))
        return walk_suspended(co->regs, {}, pcs, max);
    const char *sp = static_cast<char *>(coctx_sp(co->regs)), *high = co->high_end();
    bool in_place = stack_is_in_place(co);
    if (!in_place && co->pool) { // CO_DEBUG_STACKS: in a range of its own, which is shut
        open_range range(co);
        return walk_suspended(co->regs, {.stack = {sp, high, sp}}, pcs, max);
    }
    const tenant &t = co->tenancy;
    const char *bytes = in_place ? sp : t.saved + t.saved_capacity - (high - sp);
    return walk_suspended(co->regs, {.stack = {sp, high, bytes}}, pcs, max);
}

int fail(int error) {
    errno = error;
    return -1;
}

} // namespace
} // namespace corun

using namespace corun;

int corun::frames_of(const coroutine *co, void *caller, void **pcs, int max) {
    san_any_reads dead_bytes_too;
    // First: in the middle of a switch the running one's state is not yet, or no longer, "running".
    if (co->env->running == co)
        return backtrace_running(co, caller, pcs, max);
    return has_frames(co) ? backtrace_suspended(co, pcs, max) : 0;
}

// Not inlined: its return address is the first one reported.
__attribute__((noinline)) int co_backtrace(stCoRoutine_t *co, void **pcs, int max) {
    if (!co || max < 0 || (max > 0 && !pcs))
        return fail(EINVAL);
    if (co->env != env_or_null())
        return fail(EINVAL);
    prepare_backtraces();
    if (co->env->running != co)
        forget_code();
    return max == 0 ? 0 : frames_of(co, __builtin_return_address(0), pcs, max);
}
