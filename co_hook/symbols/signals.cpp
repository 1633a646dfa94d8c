// SPDX-License-Identifier: Apache-2.0
// Waiting for signals, and installing handlers: the kernel is given ours in place of the program's,
// see calls/signals.h. What the program is told of its handlers is its own.
#include "co_hook/calls/signals.h"
#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/time_types.h"

#include <csignal>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_SIGNALS;

// ---- Waiting -------------------------------------------------------------------------------------

// libc folds the code of tkill, by which it raises signals itself.
word folded(word r, siginfo_t *info) {
    if (r > 0 && info)
        if (info->si_code == SI_TKILL)
            info->si_code = SI_USER;
    return r;
}

template <class T> word timed_wait(const sigset_t *set, siginfo_t *info, const T *timeout) {
    int64_t ns = -1;
    if (timeout && !to_ns(timeout, &ns))
        return -EINVAL;
    return folded(calls::sigtimedwait(set, info, ns), info);
}

template <class T> word raw_timed_wait(const sigset_t *set, siginfo_t *info, const T *timeout) {
    sys::kernel_timespec t{};
    if (timeout)
        t = {timeout->tv_sec, timeout->tv_nsec};
    return folded(
        sys::call(sys::nr_rt_sigtimedwait, set, info, timeout ? &t : nullptr, sys::sigset_bytes),
        info);
}

word wait_info(const sigset_t *set, siginfo_t *info) {
    return timed_wait(set, info, static_cast<const timespec64 *>(nullptr));
}
word raw_wait_info(const sigset_t *set, siginfo_t *info) {
    return raw_timed_wait(set, info, static_cast<const timespec64 *>(nullptr));
}

// sigwait gives the error instead of setting errno, and none for a handler that ran.
int sigwait_result(word r, int *signal) {
    if (sys::failed(r))
        return static_cast<int>(-r);
    *signal = static_cast<int>(r);
    return 0;
}
int raw_sigwait(const sigset_t *set, int *signal) {
    word r;
    do
        r = raw_wait_info(set, nullptr);
    while (r == -EINTR);
    return sigwait_result(r, signal);
}

word raw_suspend(const void *mask) { return sys::call(SYS_rt_sigsuspend, mask, sys::sigset_bytes); }

// The two older forms: BSD's takes the mask of the first signals, X/Open's one signal to let in.
uint64_t present_mask() {
    uint64_t mask = 0;
    sys::call(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, sys::sigset_bytes);
    return mask;
}
template <class F> word bsd_pause(int mask, F suspend) {
    uint64_t set = static_cast<uint32_t>(mask);
    return suspend(&set);
}
template <class F> word xopen_pause(int signal, F suspend) {
    if (signal < 1 || signal > calls::most_signals)
        return -EINVAL;
    uint64_t set = present_mask() & ~(uint64_t{1} << (signal - 1));
    return suspend(&set);
}
template <class F> word any_pause(int signal_or_mask, int is_signal, F suspend) {
    return is_signal ? xopen_pause(signal_or_mask, suspend) : bsd_pause(signal_or_mask, suspend);
}

} // namespace

CORUN_HOOK(int, sigtimedwait, (const sigset_t *set, siginfo_t *info, const timespec *timeout),
           (set, info, timeout), raw_timed_wait(set, info, timeout), timed_wait(set, info, timeout))
CORUN_HOOK(int, sigwaitinfo, (const sigset_t *set, siginfo_t *info), (set, info),
           raw_wait_info(set, info), wait_info(set, info))
#if defined(__i386__)
CORUN_HOOK(int, __sigtimedwait64, (const sigset_t *set, siginfo_t *info, const timespec64 *timeout),
           (set, info, timeout), raw_timed_wait(set, info, timeout), timed_wait(set, info, timeout))
#endif
CORUN_NATIVE(int, sigwait, (const sigset_t *set, int *signal), raw_sigwait(set, signal));
int hook_sigwait(const sigset_t *set, int *signal) {
    if (!hooks_are_on(family))
        return native_sigwait(set, signal);
    word r = calls::sigtimedwait(set, nullptr, -1);
    return sys::failed(r) ? leave_wait(static_cast<int>(-r)) : sigwait_result(r, signal);
}

CORUN_HOOK(int, pause, (), (), sys::ppoll(nullptr, 0, nullptr, nullptr),
           calls::wait_for_handler(nullptr))
CORUN_HOOK(int, sigsuspend, (const sigset_t *mask), (mask), raw_suspend(mask),
           mask ? calls::wait_for_handler(mask) : -EFAULT)
CORUN_HOOK_ALIAS(int, __sigsuspend, sigsuspend, (const sigset_t *));
CORUN_HOOK(int, sigpause, (int mask), (mask), bsd_pause(mask, raw_suspend),
           bsd_pause(mask, calls::wait_for_handler))
CORUN_HOOK(int, __xpg_sigpause, (int signal), (signal), xopen_pause(signal, raw_suspend),
           xopen_pause(signal, calls::wait_for_handler))
CORUN_HOOK(int, __sigpause, (int what, int is_signal), (what, is_signal),
           any_pause(what, is_signal, raw_suspend),
           any_pause(what, is_signal, calls::wait_for_handler))

// ---- Handlers ------------------------------------------------------------------------------------

namespace {

using plain = void (*)(int);
using calls::any_handler;

any_handler as_any(plain f) { return reinterpret_cast<any_handler>(f); }
bool is_function(plain f) { return f != SIG_DFL && f != SIG_IGN && f != SIG_ERR && f != SIG_HOLD; }
bool is_ours(plain f) {
    return f == calls::plain_handler ||
           as_any(f) == reinterpret_cast<any_handler>(calls::info_handler);
}
bool can_have_handler(int signal) { return signal >= 1 && signal <= calls::most_signals; }

// Without libc's, in a -static program. The kernel wants to be told how a handler returns.
#if defined(__x86_64__)
extern "C" void corun_restore_signal_frame() __attribute__((visibility("hidden")));
__asm__(".text\n"
        ".p2align 4\n"
        "nop\n" // unwinders look at the address before this one
        ".hidden corun_restore_signal_frame\n"
        ".type corun_restore_signal_frame, @function\n"
        "corun_restore_signal_frame:\n"
        "    movq $15, %rax\n" // rt_sigreturn; unwinders know these bytes
        "    syscall\n"
        ".size corun_restore_signal_frame, . - corun_restore_signal_frame\n");
#endif
int raw_sigaction(int signal, const struct sigaction *act, struct sigaction *old) {
    calls::kernel_action k{}, former{};
    if (act) {
        k.handler = act->sa_handler;
        k.flags = static_cast<unsigned>(act->sa_flags);
        __builtin_memcpy(&k.mask, &act->sa_mask, sizeof k.mask);
#if defined(__x86_64__)
        constexpr unsigned has_restorer = 0x04000000;
        k.flags |= has_restorer;
        k.restorer = corun_restore_signal_frame;
#endif
    }
    word r = sys::call(SYS_rt_sigaction, signal, act ? &k : nullptr, old ? &former : nullptr,
                       sys::sigset_bytes);
    if (r == 0 && old) {
        *old = {};
        old->sa_handler = former.handler;
        old->sa_flags = static_cast<int>(former.flags);
        __builtin_memcpy(&old->sa_mask, &former.mask, sizeof former.mask);
    }
    return plain_result<int>(r);
}
plain raw_signal(int signal, plain f, int flags) {
    struct sigaction act {};
    struct sigaction old;
    act.sa_handler = f;
    act.sa_flags = flags;
    return raw_sigaction(signal, &act, &old) == 0 ? old.sa_handler : SIG_ERR;
}

// Installs by native(f), which gives the former one, and tells of the program's own.
template <class Native> plain install(int signal, plain f, Native native) {
    if (!can_have_handler(signal))
        return native(f);
    bool ours = is_function(f) && !memory_is_borrowed();
    any_handler former = ours ? calls::set_handler(signal, as_any(f)) : calls::handler_of(signal);
    plain old = native(ours ? calls::plain_handler : f);
    if (old == SIG_ERR && ours)
        calls::set_handler(signal, former);
    return is_ours(old) ? reinterpret_cast<plain>(former) : old;
}

} // namespace

CORUN_NATIVE(int, sigaction, (int signal, const struct sigaction *act, struct sigaction *old),
             raw_sigaction(signal, act, old));
int hook_sigaction(int signal, const struct sigaction *act, struct sigaction *old) {
    if (!can_have_handler(signal) || (!act && !old))
        return native_sigaction(signal, act, old);
    struct sigaction given {};
    any_handler former = nullptr;
    // What a vfork child installs is its own, but the table is its parent's.
    bool ours = act && is_function(act->sa_handler) && !memory_is_borrowed();
    if (ours) {
        given = *act;
        if (act->sa_flags & SA_SIGINFO)
            given.sa_sigaction = calls::info_handler;
        else
            given.sa_handler = calls::plain_handler;
        former = calls::set_handler(signal, as_any(act->sa_handler));
    } else {
        former = calls::handler_of(signal);
    }
    int r = native_sigaction(signal, ours ? &given : act, old);
    if (r != 0 && ours)
        calls::set_handler(signal, former);
    if (r == 0 && old && is_ours(old->sa_handler))
        old->sa_handler = reinterpret_cast<plain>(former);
    return r;
}
CORUN_HOOK_ALIAS(int, __sigaction, sigaction, (int, const struct sigaction *, struct sigaction *));

#define CORUN_SIGNAL(name, flags)                                                                  \
    CORUN_NATIVE(plain, name, (int signal, plain f), raw_signal(signal, f, flags));                \
    plain hook_##name(int signal, plain f) {                                                       \
        return install(signal, f, [=](plain g) { return native_##name(signal, g); });              \
    }
CORUN_SIGNAL(signal, SA_RESTART)
CORUN_SIGNAL(sysv_signal, static_cast<int>(SA_RESETHAND | SA_NODEFER))
CORUN_SIGNAL(sigset, 0)
CORUN_HOOK_ALIAS(plain, bsd_signal, signal, (int, plain));
CORUN_HOOK_ALIAS(plain, ssignal, signal, (int, plain));
CORUN_HOOK_ALIAS(plain, __sysv_signal, sysv_signal, (int, plain));

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(sigtimedwait, E),
    CORUN_ENTRY(sigwaitinfo, E),
    CORUN_ENTRY(sigwait, E),
#if defined(__i386__)
    CORUN_ENTRY(__sigtimedwait64, E),
#endif
    CORUN_ENTRY(pause, P),
    CORUN_ENTRY(sigsuspend, P),
    CORUN_ALIAS_ENTRY(__sigsuspend, P),
    CORUN_ENTRY(sigpause, P),
    CORUN_ENTRY(__xpg_sigpause, P),
    CORUN_ENTRY(__sigpause, P),
    CORUN_ENTRY(sigaction, B),
    CORUN_ALIAS_ENTRY(__sigaction, B),
    CORUN_ENTRY(signal, B),
    CORUN_ALIAS_ENTRY(bsd_signal, B),
    CORUN_ALIAS_ENTRY(ssignal, B),
    CORUN_ENTRY(sysv_signal, B),
    CORUN_ALIAS_ENTRY(__sysv_signal, B),
    CORUN_ENTRY(sigset, B),
};

} // namespace

CORUN_TABLE(signal_table, entries);

} // namespace corun::symbols
