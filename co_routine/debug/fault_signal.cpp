// SPDX-License-Identifier: Apache-2.0
// The signal side of fault_report.h: handler, alternate stacks, what was there before.
#include "co_routine/base/check.h"
#include "co_routine/base/raw_sys.h"
#include "co_routine/debug/backtrace.h"
#include "co_routine/debug/blocked.h"
#include "co_routine/debug/fault_report.h"
#include "co_routine/debug/stray_touch.h"
#include "co_routine/debug/unwinder.h"

#include <cerrno>
#include <csignal>
#include <sys/mman.h>
#include <ucontext.h>

namespace corun {
namespace {

// libunwind and dladdr take about 10 KiB, a frame with all vector registers up to 11 KiB.
constexpr size_t alternate_stack_bytes = 64 * 1024;
constexpr ptrdiff_t room_for_walk = 24 * 1024;

// The address of our mapping while the thread has it as its alternate stack.
thread_local char *alternate_stack;

bool installed; // atomic
struct sigaction previous_segv, previous_bus;
struct sigaction *previous_of(int signal) {
    return signal == SIGSEGV ? &previous_segv : &previous_bus;
}

uintptr_t stack_pointer_of(const ucontext_t *c) {
#if defined(__x86_64__)
    return static_cast<uintptr_t>(c->uc_mcontext.gregs[REG_RSP]);
#else
    return static_cast<uintptr_t>(c->uc_mcontext.gregs[REG_ESP]);
#endif
}

// Code, not data: it happens again whatever is accessible.
bool is_instruction_fetch(const ucontext_t *c) {
    constexpr greg_t fetch = 16; // of the processor's error code
    return (c->uc_mcontext.gregs[REG_ERR] & fetch) != 0;
}

// On an alternate stack, ours or the program's, or where the code that faulted was: then it had no overflow.
bool has_room_for_walk() {
    char *here = static_cast<char *>(__builtin_frame_address(0));
    stack_t now{};
    if (sigaltstack(nullptr, &now) == 0 && (now.ss_flags & SS_ONSTACK))
        return here - static_cast<char *>(now.ss_sp) >= room_for_walk;
    const coroutine *co = running_coroutine();
    return !co || here - co->low_end() >= room_for_walk;
}

// The line itself is out already, should this fault too.
void write_frames(ucontext_t *context) {
    void *pcs[frames_shown];
    walk_request request;
    request.signal_frame = true;
    forget_code();
    write_report_frames(pcs, walk_frames(context, request, pcs, frames_shown), true);
}

// A fault that comes from an instruction happens again when the handler returns; one that was sent,
// or that the kernel reported late, does not and is sent on.
bool happens_again(int signal, const siginfo_t *info) {
    return info->si_code > 0 && !(signal == SIGBUS && info->si_code == BUS_MCEERR_AO);
}

void send_on(int signal, siginfo_t *info) {
    sys::call(SYS_rt_tgsigqueueinfo, sys::getpid(), sys::gettid(), signal, info);
}

void pass_on(int signal, siginfo_t *info, void *context) {
    struct sigaction *was = previous_of(signal);
    if (was->sa_handler == SIG_IGN && !happens_again(signal, info))
        return;
    if (was->sa_handler == SIG_IGN || was->sa_handler == SIG_DFL) {
        sigaction(signal, was, nullptr);
        if (!happens_again(signal, info))
            send_on(signal, info); // blocked here: it arrives when the handler has returned
        return;
    }
    auto handler = *was;
    if (was->sa_flags & static_cast<int>(SA_RESETHAND))
        was->sa_handler = SIG_DFL;
    if (handler.sa_flags & SA_SIGINFO)
        handler.sa_sigaction(signal, info, context);
    else
        handler.sa_handler(signal);
}

void put_program_back() {
    sigaction(SIGSEGV, &previous_segv, nullptr);
    sigaction(SIGBUS, &previous_bus, nullptr);
}

// True: it is reported, or was before, and the fault happens again or not at all.
bool is_stray_touch(uintptr_t address, ucontext_t *c) {
    stray_touch touch;
    if (is_instruction_fetch(c) || !touch.find(address))
        return false;
    bool goes_on = touch.let_through();
    if (touch.is_news()) {
        touch.say();
        if (!goes_on)
            put_program_back();
        if (has_room_for_walk()) {
            write_frames(c);
            touch.write_owner();
        }
    }
    return true;
}

void on_fault(int signal, siginfo_t *info, void *context) {
    int saved_errno = errno;
    ucontext_t *c = static_cast<ucontext_t *>(context);
    uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
    bool of_an_address = info->si_code > 0 && info->si_code != SI_KERNEL;
    if (of_an_address && is_stray_touch(address, c)) {
        errno = saved_errno;
        return;
    }
    if (!of_an_address || !report_fault(address, stack_pointer_of(c))) {
        pass_on(signal, info, context);
        return;
    }
    put_program_back();
    if (has_room_for_walk())
        write_frames(c);
}

// As the program's own handler would be installed, but for the stack it runs on.
void install(int signal) {
    struct sigaction ours {};
    sigaction(signal, nullptr, previous_of(signal));
    ours.sa_sigaction = on_fault;
    ours.sa_mask = previous_of(signal)->sa_mask;
    ours.sa_flags =
        SA_SIGINFO | SA_ONSTACK | (previous_of(signal)->sa_flags & (SA_NODEFER | SA_RESTART));
    sigaction(signal, &ours, nullptr);
}

// A thread that has an alternate stack keeps it.
void give_alternate_stack() {
    stack_t now{};
    if (alternate_stack || sigaltstack(nullptr, &now) != 0 || !(now.ss_flags & SS_DISABLE))
        return;
    sys::word r = sys::mmap_anonymous(alternate_stack_bytes, PROT_READ | PROT_WRITE, MAP_STACK);
    if (sys::failed(r))
        return;
    stack_t ours{};
    ours.ss_sp = reinterpret_cast<void *>(r);
    ours.ss_size = alternate_stack_bytes;
    if (sigaltstack(&ours, nullptr) == 0)
        alternate_stack = static_cast<char *>(ours.ss_sp);
    else
        sys::munmap(ours.ss_sp, alternate_stack_bytes);
}

} // namespace

bool is_handled_here_alone(int signal) {
    struct sigaction now {};
    sigaction(signal, nullptr, &now);
    auto behind = previous_of(signal)->sa_handler;
    return now.sa_sigaction == on_fault && (behind == SIG_DFL || behind == SIG_IGN);
}

void prepare_debugging(co_env *env) {
    __atomic_store_n(&env->debugging_prepared, true, __ATOMIC_RELAXED);
    if (!(debug_flags() & ~unsigned{CO_DEBUG_HOOKS})) {
        end_watch(env); // co_set_debug took it back
        return;
    }
    prepare_backtraces(); // not in the handler
    give_alternate_stack();
    prepare_watch(env);
    if (!(debug_flags() & (CO_DEBUG_STACKS | CO_DEBUG_OVERFLOW)))
        return;
    if (!__atomic_exchange_n(&installed, true, __ATOMIC_ACQ_REL)) {
        install(SIGSEGV);
        install(SIGBUS);
    }
}

void end_debugging(co_env *env) {
    end_watch(env);
    if (!alternate_stack)
        return;
    stack_t now{};
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    // Somebody may have put another one in its place.
    if (sigaltstack(nullptr, &now) == 0 && now.ss_sp == alternate_stack &&
        sigaltstack(&none, nullptr) != 0)
        return;
    sys::munmap(alternate_stack, alternate_stack_bytes);
    alternate_stack = nullptr;
}

} // namespace corun
