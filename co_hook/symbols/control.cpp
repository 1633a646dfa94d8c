// SPDX-License-Identifier: Apache-2.0
// The public functions that belong to hooks. co_routine.h says what each one promises.
#include "co_hook/calls/calls.h"
#include "co_hook/calls/environment.h"
#include "co_hook/calls/fd_state.h"
#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/table.h"

#include "co_routine/co_routine.h"

using namespace corun;

// On the thread's own stack hooks stay off: there is nobody to let run instead, but the loop itself.
void co_enable_hook_sys() {
    symbols::check_hooks_once();
    if (coroutine *co = running_coroutine())
        co->set(flag_hooks);
}

void co_disable_hook_sys() {
    if (coroutine *co = running_coroutine())
        co->clear(flag_hooks);
}

bool co_is_enable_sys_hook() {
    const coroutine *co = running_coroutine();
    return co && co->has(flag_hooks);
}

namespace corun::symbols {

unsigned process_families = CO_HOOK_ALL;

unsigned families_of(const coroutine *co) {
    return co->has(flag_hook_choice) ? co->extra->hook_families : unsigned{CO_HOOK_DEFAULT};
}

} // namespace corun::symbols

int co_hook_set_families(unsigned families) {
    coroutine *co = running_coroutine();
    if (!co)
        return EPERM;
    if (families & ~unsigned{CO_HOOK_ALL})
        return EINVAL;
    co_extra *extra = extra_of(co);
    if (!extra)
        return ENOMEM;
    extra->hook_families = families;
    co->set(flag_hook_choice);
    return 0;
}

unsigned co_hook_get_families() {
    const coroutine *co = running_coroutine();
    return co ? symbols::families_of(co) : 0;
}

int co_hook_set_process_families(unsigned families) {
    if (families & ~unsigned{CO_HOOK_ALL})
        return EINVAL;
    __atomic_store_n(&symbols::process_families, families, __ATOMIC_RELAXED);
    return 0;
}

unsigned co_hook_get_process_families() {
    return __atomic_load_n(&symbols::process_families, __ATOMIC_RELAXED);
}

int co_accept(int fd, sockaddr *address, unsigned *length) {
    if (symbols::hooks_are_on(CO_HOOK_DESCRIPTORS))
        return symbols::to_libc<int>(calls::accept4(fd, address, length, 0));
    sys::word r = sys::call(SYS_accept4, fd, address, length, 0);
    if (!sys::failed(r))
        calls::note_accepted(static_cast<int>(r), fd, 0);
    return symbols::plain_result<int>(r);
}

void co_set_env_list(const char *name[], size_t cnt) { calls::list_own_variables(name, cnt); }
