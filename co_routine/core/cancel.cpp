// SPDX-License-Identifier: Apache-2.0
#include "co_routine/core/cancel.h"

#include "co_routine/base/check.h"
#include "co_routine/core/switch.h"
#include "co_routine/core/watched.h"

#include <dlfcn.h>
#include <new>
#include <unwind.h>

// Present in every C++ program; a C program has libgcc_s loaded for it, as glibc does for
// pthread_cancel.
extern "C" __attribute__((weak)) _Unwind_Reason_Code _Unwind_ForcedUnwind(_Unwind_Exception *,
                                                                          _Unwind_Stop_Fn, void *);
extern "C" __attribute__((weak)) _Unwind_Ptr _Unwind_GetRegionStart(_Unwind_Context *);

namespace std {
using terminate_handler = void (*)();
__attribute__((weak)) terminate_handler set_terminate(terminate_handler) noexcept;
} // namespace std

namespace corun {
namespace {

using forced_unwind_function = _Unwind_Reason_Code (*)(_Unwind_Exception *, _Unwind_Stop_Fn,
                                                       void *);
using region_start_function = _Unwind_Ptr (*)(_Unwind_Context *);
forced_unwind_function forced_unwind;
region_start_function region_start;
std::terminate_handler former_terminate;
bool terminate_installed;

constexpr _Unwind_Exception_Class cancel_class = 0x636F72756E434E4CULL; // "corunCNL"

// A destructor or a noexcept function was in the way: the C++ runtime calls std::terminate, which
// would not say whose fault it is.
void on_terminate() {
    const coroutine *co = running_coroutine();
    if (co && co->has(flag_cancel) && co->has(flag_unwinding))
        fatal("the cancel met a destructor or a noexcept function that may not be unwound; use "
              "co_cancel_mode(CO_CANCEL_ERRNO) there");
    if (former_terminate)
        former_terminate();
}

// Somebody's catch (...) ended without rethrowing.
void on_swallowed(_Unwind_Reason_Code, _Unwind_Exception *) {
    fatal("the cancel was swallowed by a catch (...): rethrow it there");
}

[[noreturn]] void end_cancelled(bool stopped_early) {
    tls_env->counts.unwind_stopped += stopped_early;
    end_running(CO_CANCELED);
}

// Called for each frame, innermost first, before it is unwound.
_Unwind_Reason_Code on_frame(int, _Unwind_Action actions, _Unwind_Exception_Class,
                             _Unwind_Exception *, _Unwind_Context *context, void *) {
    if (region_start(context) == reinterpret_cast<_Unwind_Ptr>(&coroutine_entry))
        end_cancelled(false);
    if (actions & _UA_END_OF_STACK)
        end_cancelled(true);
    return _URC_NO_REASON;
}

} // namespace

bool prepare_unwinder() {
    if (__atomic_load_n(&forced_unwind, __ATOMIC_ACQUIRE))
        return true;
    forced_unwind_function found = _Unwind_ForcedUnwind;
    region_start_function start = _Unwind_GetRegionStart;
    if (!found || !start) {
        void *lib = dlopen("libgcc_s.so.1", RTLD_NOW);
        if (!lib)
            return false;
        found = reinterpret_cast<forced_unwind_function>(dlsym(lib, "_Unwind_ForcedUnwind"));
        start = reinterpret_cast<region_start_function>(dlsym(lib, "_Unwind_GetRegionStart"));
    }
    if (!found || !start)
        return false;
    __atomic_store_n(&region_start, start, __ATOMIC_RELAXED);
    if (std::set_terminate && !__atomic_exchange_n(&terminate_installed, true, __ATOMIC_ACQ_REL))
        former_terminate = std::set_terminate(on_terminate);
    __atomic_store_n(&forced_unwind, found, __ATOMIC_RELEASE); // last: it says that all is there
    return true;
}

namespace {

// A yield has nothing to do after its switch, not even to look whether it was cancelled meanwhile:
// one that is found suspended in a yield is sent here first.
void on_resumed_cancelled(void **return_slot) {
    coroutine *co = tls_env->running;
    *return_slot = co->wait_slot;
    co->wait_slot = nullptr;
    if (must_leave_waits(co) && !co->has(flag_cancel_errno)) {
        arrive_watched(co);
        unwind_running();
    }
}

bool is_suspended_in_yield(const coroutine *co) {
    return co->has(flag_ran) && !co->waiting &&
           (co->state == co_state::yielded || co->state == co_state::ready);
}

} // namespace

int request_cancel(coroutine *co) {
    co_env *env = co->env;
    if (co->has(flag_root))
        return EINVAL;
    if (co->state == co_state::ended)
        return ESRCH;
    if (co->has(flag_cancel))
        return 0;
    if (!prepare_unwinder() && !co->has(flag_cancel_errno))
        return ENOTSUP;
    co->set(flag_cancel);
    if (is_suspended_in_yield(co))
        co->wait_slot = coctx_detour(co->regs, on_resumed_cancelled);
    if (co->state == co_state::fresh) {
        co->state = co_state::ended;
        co->result = CO_CANCELED;
        ++env->counts.ended;
        ++env->counts.cancelled;
        wake_joiners(co);
    } else if (co->state == co_state::yielded || co->state == co_state::parked) {
        env->make_ready(co);
    }
    return 0;
}

void unwind_running() {
    coroutine *co = tls_env->running;
    co->set(flag_unwinding);
    // Not on this stack: the destructors that run write over the frames that are gone.
    co_extra *extra = extra_of(co);
    static_assert(sizeof(_Unwind_Exception) <= sizeof extra->unwind_exception);
    if (extra) {
        auto *exception = new (extra->unwind_exception) _Unwind_Exception{};
        exception->exception_class = cancel_class;
        exception->exception_cleanup = on_swallowed;
        forced_unwind(exception, on_frame, nullptr);
    }
    end_cancelled(true); // a frame without unwind data: what lies above it cannot be unwound
}

} // namespace corun
