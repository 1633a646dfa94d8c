// SPDX-License-Identifier: Apache-2.0
#include "co_routine/core/native.h"

#include <iterator>

namespace corun {

constinit thread_local native_marks tls_native;

namespace {

constexpr ptrdiff_t deepest_handler = 1 << 20; // bytes of stack that a handler uses at most

const coroutine *who_runs() {
    const co_env *env = env_or_null();
    return env ? env->running : nullptr;
}

// An alternate stack is none of the coroutine's own.
bool stands_below(const coroutine *co, const char *frame, const char *here) {
    if (here >= frame || frame - here > deepest_handler)
        return false;
    if (!co || !co->low_end())
        return true;
    auto on_its_stack = [co](const char *p) { return p >= co->low_end() && p < co->high_end(); };
    return on_its_stack(frame) == on_its_stack(here);
}

} // namespace

// The count comes first: a second handler, which may come at any instruction, takes the next place.
handler_mark::handler_mark(const void *frame) : former_(tls_native.handlers) {
    tls_native.handlers = former_ + 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (former_ < std::size(tls_native.handler))
        tls_native.handler[former_] = {who_runs(), static_cast<const char *>(frame)};
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

bool native_still_holds() {
    native_marks &m = tls_native;
    if (m.borrowed != 0)
        return true;
    const char *here = static_cast<const char *>(__builtin_frame_address(0));
    while (unsigned n = m.handlers) {
        const auto &last = m.handler[n - 1];
        if (n > std::size(m.handler) ||
            (last.running == who_runs() && stands_below(last.running, last.frame, here)))
            return true;
        m.handlers = n - 1;
    }
    return false;
}

} // namespace corun
