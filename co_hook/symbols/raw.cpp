// SPDX-License-Identifier: Apache-2.0
// syscall(). std::atomic::wait and what stands on it, std::future, std::call_once's kin and the
// guards of static locals come this way to their futexes; on i386 all that a sanitizer's runtime asks of the kernel.
#include "co_hook/calls/dispatch.h"
#include "co_hook/symbols/hook.h"

#include <linux/futex.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_RAW;

// Outside coroutines a thread's waits are libc's own call.
bool only_waits(long nr, long operation) {
    if (nr != SYS_futex && nr != sys::nr_futex)
        return false;
    int command = static_cast<int>(operation) & FUTEX_CMD_MASK;
    return command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET;
}

} // namespace

// The function takes all the words there can be, whatever the caller has passed, as libc's does.
CORUN_NATIVE(long, syscall, (long nr, long a, long b, long c, long d, long e, long f),
             plain_result<long>(sys::call(nr, a, b, c, d, e, f)));
long hook_syscall(long nr, long a, long b, long c, long d, long e, long f) {
    bool on = hooks_are_on_for_program(family);
    word result;
    if ((on || !only_waits(nr, b)) && calls::dispatch(nr, {a, b, c, d, e, f}, on, &result))
        return plain_result<long>(result); // noexcept: a cancel is reported, and acts elsewhere
    return native_syscall(nr, a, b, c, d, e, f);
}

namespace {

const hook_entry entries[] = {CORUN_ENTRY(syscall, P)};

} // namespace

CORUN_TABLE(raw_table, entries);

} // namespace corun::symbols
