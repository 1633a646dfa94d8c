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

bool co_is_enable_sys_hook() { return symbols::hooks_are_on(); }

int co_accept(int fd, sockaddr *address, unsigned *length) {
    if (symbols::hooks_are_on())
        return symbols::to_libc<int>(calls::accept4(fd, address, length, 0));
    sys::word r = sys::call(SYS_accept4, fd, address, length, 0);
    if (!sys::failed(r))
        calls::note_accepted(static_cast<int>(r), fd, 0);
    return symbols::plain_result<int>(r);
}

void co_set_env_list(const char *name[], size_t cnt) { calls::list_own_variables(name, cnt); }
