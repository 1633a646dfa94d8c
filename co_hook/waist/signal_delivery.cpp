// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/signal_delivery.h"

#include "co_hook/waist/dump.h"
#include "co_hook/waist/idle_stacks.h"
#include "co_hook/waist/overflow.h"
#include "co_hook/waist/patch.h"
#include "co_hook/waist/preempt.h"
#include "co_hook/waist/signal_frame.h"
#include "co_hook/waist/signal_queue.h"
#include "co_hook/waist/signal_restart.h"
#include "co_hook/waist/signals.h"
#include "co_hook/waist/stats.h"

#include "co_routine/base/check.h"
#include "co_routine/base/user_memory.h"
#include "co_routine/loop/park.h"

#include <alloca.h>
#include <cerrno>
#include <sys/mman.h>

#pragma GCC visibility push(hidden)
extern "C" {
extern char __ehdr_start[], etext[];
// entry.S and leave.S: see there.
void waist_entry();
extern char waist_entry_passed[], waist_returning[], waist_returned[], waist_again[];
extern char waist_leave_end[], waist_enter_handler_end[];
[[noreturn]] void waist_enter_handler(const corun::waist::handler_entry *entry);
extern size_t waist_vector_bytes;
}
#pragma GCC visibility pop

namespace corun::waist {
namespace {

constexpr size_t stack_bytes = 64 * 1024;
char kick; // its address marks the signals by which sigreturn asks for one that is pending already

bool between(uintptr_t pc, const void *low, const void *high) {
    return pc >= reinterpret_cast<uintptr_t>(low) && pc < reinterpret_cast<uintptr_t>(high);
}

// Code of the program, as far as its signals are concerned: the slots are, and the calls that
// waist_entry passes on.
bool is_program(uintptr_t pc) {
    return !between(pc, __ehdr_start, etext) || is_slot(pc) ||
           between(pc, reinterpret_cast<void *>(&waist_entry), waist_entry_passed);
}

const char *vectors_below(const frame *f) {
    size_t bytes = waist_vector_bytes;
    if (f->vectors_kept() == WAIST_VECTORS_STORED)
        bytes = (f->vectors_in_use() & WAIST_WIDE ? WAIST_WIDE_BYTES : WAIST_NARROW_BYTES) +
                (f->vectors_in_use() & WAIST_UPPER ? WAIST_UPPER_BYTES : 0);
    auto high = reinterpret_cast<uintptr_t>(f);
    return reinterpret_cast<const char *>((high - bytes) & ~uintptr_t{63});
}

// The next one that has a handler, begun: masks are the handler's, *mask is what its frame is to bring
// back. False: there is none; what is to be ignored, or has its default action, is over.
bool begin_handler(thread *t, pending_signal *p, kernel_action *action, signal_set *mask) {
    thread_signals &mine = t->signals;
    while (take_pending(t, ~mine.blocked, p)) {
        int s = p->info.si_signo;
        if (is_ignored(s))
            continue;
        *action = actions[s];
        if (!action->has_handler()) {
            do_default_action(s);
            continue;
        }
        *mask = mine.has_former ? mine.former : mine.blocked;
        mine.has_former = false;
        set_blocked(t, mine.blocked | action->mask | (action->flags & SA_NODEFER ? 0 : bit_of(s)));
        if (action->flags & SA_RESETHAND) {
            actions[s].handler = 0;
            set_kernel_action(s);
        }
        mine.sets_ids = s == set_ids_signal;
        return true;
    }
    return false;
}

// A coroutine, because whoever is recorded for may be parked, and nobody else may come by.
void *dispatch_forever(void *) {
    constexpr static wait_kind kind{"signals", false, nullptr, nullptr, ended_by::runtime};
    for (;;) {
        give_out_signals();
        park(kind, {}, no_deadline);
    }
}

void post(const siginfo_t &info, const thread *t, machine *m) {
    if (!record_signal(info, t ? t->tid : 0))
        m->mask = all_signals & ~of_faults; // until there is room: the kernel keeps the rest
    the_worker.dispatcher.wake();
}

bool is_fault(const siginfo_t &info) {
    return (of_faults & bit_of(info.si_signo)) && info.si_code > 0;
}

[[gnu::cold]] void default_at_return(int s, machine *m) {
    kernel_action a{};
    sys::call(SYS_rt_sigaction, s, &a, nullptr, sys::sigset_bytes);
    m->mask &= ~bit_of(s); // it comes once more
    if (s == SIGTRAP || s == SIGSYS)
        sys::call(SYS_tgkill, sys::getpid(), sys::gettid(), s); // which were behind their cause
}

[[gnu::cold]] void fault_in_runtime(const siginfo_t &info, machine *m) {
    warn("signal %d in a system call: pc %p, address %p", info.si_signo,
         reinterpret_cast<void *>(m->at(REG_RIP)), info.si_addr);
    default_at_return(info.si_signo, m);
}

// The program was interrupted: everything of the runtime is at rest.
void deliver_to_program(thread *t, const siginfo_t &info, machine *m) {
    int s = info.si_signo;
    if (is_fault(info)) {
        if ((t->signals.blocked & bit_of(s)) || !actions[s].has_handler())
            return default_at_return(s, m);
        send_to(t, info);
    } else if (!(info.si_code == SI_QUEUE && info.si_value.sival_ptr == &kick)) {
        give_out(info, t->tid);
    }
    give_out_signals();
    t->signals.look = false;
    pending_signal p;
    kernel_action action;
    signal_set mask;
    while (begin_handler(t, &p, &action, &mask))
        if (!push_signal_frame(t, m, action, p.info, mask, UINTPTR_MAX))
            do_default_action(SIGSEGV);
}

// Between its last look for signals and the program's code. True: it is to look again.
bool send_back(const thread *t, machine *m, uintptr_t pc) {
    if (between(pc, waist_returning, waist_returned)) {
        m->set(REG_RBX, reinterpret_cast<uintptr_t>(t->at_call));
        m->set(REG_RSP, t->at_call->vectors
                            ? reinterpret_cast<uintptr_t>(vectors_below(t->at_call))
                            : reinterpret_cast<uintptr_t>(t->at_call) & ~uintptr_t{15});
        m->set(REG_RIP, reinterpret_cast<uintptr_t>(waist_again));
    } else if (between(pc, reinterpret_cast<void *>(&waist_leave), waist_leave_end)) {
        m->set(REG_RSP, (reinterpret_cast<uintptr_t>(t->at_call) & ~uintptr_t{15}) - 8);
        m->set(REG_RIP, reinterpret_cast<uintptr_t>(&waist_leave_late));
    } else {
        return false;
    }
    m->set(REG_RDI, reinterpret_cast<uintptr_t>(t->at_call));
    m->set(REG_RSI, reinterpret_cast<uintptr_t>(t));
    m->registers[REG_EFL] &= ~greg_t{0x400};
    return true;
}

// All is ready for the handler but the registers.
bool has_entered(const thread *t, machine *m, uintptr_t pc) {
    if (!between(pc, reinterpret_cast<void *>(&waist_enter_handler), waist_enter_handler_end))
        return false;
    const handler_entry &e = t->home->entering;
    m->set(REG_RSP, e.sp);
    m->set(REG_RIP, e.pc);
    m->set(REG_RDI, e.signal);
    m->set(REG_RSI, e.info);
    m->set(REG_RDX, e.context);
    m->set(REG_RAX, 0);
    m->registers[REG_EFL] &= ~greg_t{0x400};
    return true;
}

void on_signal(int s, siginfo_t *info, void *context) {
    auto *m = static_cast<machine *>(context);
    worker *w = &the_worker;
    coroutine *co = w->env->running;
    auto *t = co == &w->env->root ? nullptr : static_cast<thread *>(co->arg);
    uintptr_t fs = fs_base(), pc = m->at(REG_RIP);
    if (is_fault(*info))
        if (uintptr_t end = end_of_touch(pc))
            return m->set(REG_RIP, end);
    if (t && t->home->vfork.borrowed &&
        sys::getpid() != w->pid) { // the child of vfork, on our memory
        auto handler = reinterpret_cast<void (*)(int, siginfo_t *, void *)>(actions[s].handler);
        if (actions[s].has_handler())
            handler(s, info, context);
        return;
    }
    if (CO_UNLIKELY(is_dump_request(*info)))
        return request_dump(w);
    if (is_tick(*info)) {
        there_is_activity(w);
        if (t && fs == t->fs && is_program(pc)) {
            set_fs_base(w->fs);
            on_tick(w, t, m);
            set_fs_base(t->fs);
        }
        return;
    }
    bool entered = t && has_entered(t, m, pc);
    if (entered || (t && fs == t->fs && (is_program(pc) || is_fault(*info)))) {
        set_fs_base(w->fs);
        masks_go_to(&m->mask);
        m->mask = kernel_mask();
        if (is_fault(*info) && (bit_of(s) & of_touches))
            look_for_overflow(t, *m, reinterpret_cast<uintptr_t>(info->si_addr));
        deliver_to_program(t, *info, m);
        masks_go_to(nullptr);
        set_fs_base(t->fs);
        return;
    }
    if (is_fault(*info))
        return fault_in_runtime(*info, m);
    post(*info, t, m);
    if (t)
        send_back(t, m, pc);
}

[[noreturn]] void enter_handlers(thread *t, machine *m, pending_signal *p, kernel_action *action,
                                 signal_set mask) {
    // Each frame in a piece of this stack that is below everything that is alive.
    do {
        size_t bytes = signal_frame_bytes(*m);
        auto *room = static_cast<char *>(alloca(bytes));
        if (!push_signal_frame(t, m, *action, p->info, mask,
                               reinterpret_cast<uintptr_t>(room + bytes)))
            do_default_action(SIGSEGV);
        if (t->home->signals.arrived)
            give_out_signals();
    } while (begin_handler(t, p, action, &mask));
    t->home->entering = {t->fs,          m->at(REG_RSP), m->at(REG_RIP),
                         m->at(REG_RDI), m->at(REG_RSI), m->at(REG_RDX)};
    waist_enter_handler(&t->home->entering);
}

// Enters a handler if one is due; returns if none is.
void deliver_after_call(thread *t, frame *f, long nr, word result, interruption how) {
    pending_signal p;
    kernel_action action;
    signal_set mask;
    if (t->signals.deliverable() == 0 || !begin_handler(t, &p, &action, &mask))
        return;
    if (nr >= 0) { // of this call nobody comes back to waist_call
        t->call_nr = nr;
        call_ends(t);
    }
    bool restarts = how == interruption::restarts && (action.flags & SA_RESTART);
    f->rax = restarts ? static_cast<uint64_t>(nr)
                      : static_cast<uint64_t>(how == interruption::never ? result : -EINTR);
    auto *room = reinterpret_cast<char *>(
        (reinterpret_cast<uintptr_t>(alloca(vector_bytes() + 64)) + 63) & ~uintptr_t{63});
    machine m;
    machine_of_call(&m, f, room, f->vectors ? vectors_below(f) : nullptr);
    constexpr unsigned bytes_of_call = 5; // the slot's `call waist_entry`
    if (restarts)
        m.set(REG_RIP, m.at(REG_RIP) - bytes_of_call);
    enter_handlers(t, &m, &p, &action, mask);
}

} // namespace

bool signals_after_call(thread *t, frame *f, long nr, word *result) {
    interruption how = interruption::never;
    do {
        if (t->home->signals.arrived)
            give_out_signals();
        t->signals.look = false;
        bool interrupted = take_interruption(t);
        if (interrupted && *result == -ECANCELED) {
            how = interruption_of(nr, f);
            if (looks_once_more(nr)) {
                t->co->set(flag_cancel_errno);
                t->co->set(flag_cancel);
                *result = call_of_thread(t, f, nr);
                t->co->clear(flag_cancel);
                t->co->clear(flag_cancel_errno);
                if (*result != -ECANCELED)
                    how = interruption::never;
            }
        }
        t->call_nr = -1;
        if (how == interruption::never)
            restore_former_mask(t);
        deliver_after_call(t, f, nr, *result, how);
    } while (signals_to_see(t));
    t->call_nr = nr;
    return how == interruption::never; // else interrupted for what somebody else has got
}

void do_default_action(int s) {
    kernel_action none{};
    signal_set none_blocked = ~bit_of(s), former;
    sys::call(SYS_rt_sigaction, s, &none, nullptr, sys::sigset_bytes);
    sys::call(SYS_tgkill, sys::getpid(), sys::gettid(), s);
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &none_blocked, &former, sys::sigset_bytes);
    // It has only stopped us, and we go on.
    block_in_kernel(former);
    set_kernel_action(s);
}

kernel_action action_of_ours(unsigned long flags_of_program) {
    constexpr unsigned long restorer = 0x04000000;
    constexpr unsigned long kept = SA_NOCLDSTOP | SA_NOCLDWAIT | SA_RESTART;
    return {reinterpret_cast<uintptr_t>(&on_signal),
            (flags_of_program & kept) | SA_SIGINFO | SA_ONSTACK | restorer,
            reinterpret_cast<uintptr_t>(&waist_restorer), all_signals};
}

bool take_alternate_stack(worker *w) {
    char *&stack = w->signals.handler_stack;
    if (!stack) {
        sys::word r = sys::mmap_anonymous(stack_bytes, PROT_READ | PROT_WRITE, 0);
        if (sys::failed(r))
            return false;
        stack = reinterpret_cast<char *>(r);
    }
    stack_t ours{stack, 0, stack_bytes}, former{};
    sys::call(SYS_sigaltstack, &ours, &former);
    w->main.signals.alternate = {reinterpret_cast<uintptr_t>(former.ss_sp),
                                 former.ss_flags & ~SS_ONSTACK, former.ss_size};
    return true;
}

bool begin_dispatcher(worker *w) { return w->dispatcher.start(w, dispatch_forever); }

} // namespace corun::waist

using namespace corun;
using namespace corun::waist;

#pragma GCC visibility push(hidden)
extern "C" {
uintptr_t waist_call_late(frame *f, thread *t) {
    enter_runtime(t);
    auto result = static_cast<word>(f->rax);
    signals_after_call(t, f, -1, &result);
    t->call_nr = -1;
    return t->fs;
}

void waist_leave_late(frame *f, thread *t) {
    enter_runtime(t);
    t->at_call = f;
    auto result = static_cast<word>(f->rax);
    signals_after_call(t, f, -1, &result);
    t->call_nr = -1;
    waist_leave(f, t->fs);
}

// At a handler's end, before the kernel's own rt_sigreturn: which is of the thread's mask, while the
// mask that it brings back is the kernel thread's. What has become deliverable by it comes right after
// it, for the kernel is asked to send it then.
void waist_sigreturn(machine *m, thread *t) {
    if (!t || t->home->vfork.borrowed || !t->home->active)
        return;
    block_in_kernel(all_signals);
    enter_runtime(t);
    signal_set of_kernel;
    masks_go_to(&of_kernel);
    thread_signals &mine = t->signals;
    set_blocked(t, m->mask);
    if (m->stack_flags & auto_disarm)
        mine.alternate = {reinterpret_cast<uintptr_t>(m->stack_low), m->stack_flags,
                          m->stack_bytes};
    give_out_signals();
    masks_go_to(nullptr);
    while (signal_set some = mine.deliverable()) {
        int s = __builtin_ctzll(some) + 1;
        if (actions[s].has_handler() || !is_ignored(s)) {
            siginfo_t info{};
            info.si_signo = s;
            info.si_code = SI_QUEUE;
            info.si_value.sival_ptr = &kick;
            if (!actions[s].has_handler()) {
                do_default_action(s);
                drop_pending(t, s);
                continue;
            }
            sys::call(SYS_rt_tgsigqueueinfo, sys::getpid(), sys::gettid(), s, &info);
            break;
        }
        drop_pending(t, s);
    }
    m->mask = kernel_mask();
    m->stack_low = t->home->signals.handler_stack;
    m->stack_flags = 0;
    m->stack_bytes = stack_bytes;
    leave_runtime(t);
}
}
#pragma GCC visibility pop
