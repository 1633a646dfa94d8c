// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/worker.h"

#include "co_hook/calls/address_wait.h"
#include "co_hook/calls/futex.h"
#include "co_hook/waist/code_names.h"
#include "co_hook/waist/dump.h"
#include "co_hook/waist/holders.h"
#include "co_hook/waist/idle_stacks.h"
#include "co_hook/waist/numbers.h"
#include "co_hook/waist/own_signals.h"
#include "co_hook/waist/preempt.h"
#include "co_hook/waist/signal_frame.h"
#include "co_hook/waist/signal_queue.h"
#include "co_hook/waist/signals.h"
#include "co_hook/waist/stacks.h"
#include "co_hook/waist/stats.h"

#include "co_routine/base/at_fork.h"
#include "co_routine/base/check.h"
#include "co_routine/base/sparse_array.h"
#include "co_routine/debug/blocked.h"
#include "co_routine/debug/blocked_place.h"
#include "co_routine/debug/deadlock.h"
#include "co_routine/debug/unwinder.h"

#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <new>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>

namespace corun::waist {

constinit worker the_worker; // start.cpp uses it from a constructor, too
bool has_fsgsbase;
constinit thread_local thread *tls_thread = nullptr;

namespace {

constexpr size_t scheduler_stack_bytes = 128 * 1024;

// Numbers that no thread of any process has: above the kernel's, and below 2^30, where the bits of
// futexes begin. The first is the worker's own. Processes begin at different ones, because by them a lock
// that several share knows its owner; there is room for so many ranges, and where a process has more
// threads than fit in one, it goes on into those of the next process ids.
constexpr size_t most_tids = size_t{1} << 24, tids_apart = 32768, ranges = 29000;
int first_tid;

sparse_array<thread *> threads_by_tid;
size_t next_tid;

ptrdiff_t tls_thread_offset; // from a thread's FS base to its tls_thread

// What glibc keeps of a thread that the runtime relies on: struct pthread begins with these.
struct tcb_head {
    void *self;
    void *dtv;
    void *thread;
    uint64_t unused[2];
    uint64_t stack_guard, pointer_guard;
};

// The thread number in struct pthread, as the dynamic linker's recursive lock knows its owner by it:
// the place where the main thread has its own.
bool set_tid_of(char *tcb, const char *main_tcb) {
    constexpr size_t from = 0x200, to = 0x400;
    int tid = static_cast<int>(sys::gettid());
    for (size_t at = from; at < to; at += sizeof(int)) {
        int here;
        memcpy(&here, main_tcb + at, sizeof here);
        if (here != tid)
            continue;
        memcpy(tcb + at, &first_tid, sizeof first_tid);
        return true;
    }
    return false;
}

// A thread control block, with thread-local storage for everything that is loaded now.
const char *make_tcb(worker *w) {
    using allocate_tls = void *(*)(void *);
    auto allocate =
        reinterpret_cast<allocate_tls>(dlvsym(RTLD_DEFAULT, "_dl_allocate_tls", "GLIBC_PRIVATE"));
    auto *tcb = allocate ? static_cast<char *>(allocate(nullptr)) : nullptr;
    if (!tcb)
        return "this libc gives no thread-local storage (_dl_allocate_tls)";
    auto *mains = reinterpret_cast<const char *>(fs_base());
    auto *head = reinterpret_cast<tcb_head *>(tcb);
    auto *main_head = reinterpret_cast<const tcb_head *>(mains);
    head->self = head->thread = tcb;
    head->stack_guard = main_head->stack_guard;
    head->pointer_guard = main_head->pointer_guard;
    if (!set_tid_of(tcb, mains))
        return "this libc keeps the number of a thread where corun does not find it";
    w->fs = reinterpret_cast<uintptr_t>(tcb);
    return nullptr;
}

void *scheduler_main(void *env_argument, void *) {
    auto *env = static_cast<co_env *>(env_argument);
    for (;;)
        loop_turn(env, no_deadline);
}

const char *make_scheduler(worker *w) {
    sys::word low = sys::mmap_anonymous(scheduler_stack_bytes, PROT_READ | PROT_WRITE, MAP_STACK);
    if (sys::failed(low) ||
        sys::failed(sys::mprotect(reinterpret_cast<void *>(low), page_size, PROT_NONE)))
        return "no memory for the scheduler's stack";
    co_env *env = w->env;
    env->eh = nullptr; // the C++ runtime's state follows the FS base
    env->root.stack_low = reinterpret_cast<char *>(low) + page_size;
    env->root_stack_high = reinterpret_cast<char *>(low) + scheduler_stack_bytes;
    coctx_make_regs(env->root.regs, env->root.stack_low, scheduler_stack_bytes - page_size,
                    scheduler_main, env, nullptr);
    return nullptr;
}

bool give_tid(thread *t) {
    size_t range = tids_apart; // as the kernel's pid_max: a number comes back late
    while (range < most_tids && range - range / 8 < t->home->live)
        range *= 2;
    for (size_t tried = 0; tried < range; ++tried) {
        size_t n = next_tid;
        next_tid = n + 1 < range ? n + 1 : 1;
        thread **at = threads_by_tid.at(n);
        if (!at)
            return false;
        if (*at)
            continue;
        *at = t;
        t->tid = first_tid + static_cast<int>(n);
        return true;
    }
    return false;
}

const calls::futex_threads threads_of_futexes{
    [](const coroutine *co) { return static_cast<const thread *>(co->arg)->tid; },
    [](int tid) { return thread_of_tid(tid) != nullptr; },
    holder_of_coroutine,
    is_in_stack,
};

// All threads wait for each other, and the handler of a signal might wake one.
bool handles_a_signal(const co_env *) {
    constexpr signal_set harmless = bit_of(32) | bit_of(33); // libc's own
    for (int s = 1; s <= most_signals; ++s)
        if (actions[s].has_handler() && !(bit_of(s) & harmless))
            return true;
    return false;
}

void begin_debugging(worker *w) {
    constexpr unsigned of_corun_stacks = CO_DEBUG_STACKS | CO_DEBUG_OVERFLOW | CO_DEBUG_HOOKS;
    if (debug_flags() & of_corun_stacks)
        warn("CORUN_DEBUG: stacks, private, overflow and hooks say nothing here: the stacks are "
             "libc's, with "
             "its guards, and no function is replaced");
    deadlocks = {handles_a_signal, report_deadlock};
    code_info = info_of_code;
    places_by_stack = true;
    prepare_watch(w->env);
}

} // namespace

void choose_tids(int pid) {
    first_tid = sys::highest_tid + 1 + pid % int{ranges} * int{tids_apart};
    next_tid = 1;
}

const char *prepare_worker(worker *w) {
    constexpr unsigned long fsgsbase_bit = 2;
    has_fsgsbase = (getauxval(AT_HWCAP2) & fsgsbase_bit) != 0;
    choose_tids(static_cast<int>(sys::getpid()));
    if (const char *failed = make_tcb(w))
        return failed;
    thread *self = &w->main;
    self->home = w;
    self->fs = fs_base();
    self->tid = w->pid = static_cast<int>(sys::gettid());
    tls_thread_offset = reinterpret_cast<char *>(&tls_thread) - reinterpret_cast<char *>(self->fs);
    tls_thread = self;
    fork_handlers_are_mine();
    learn_frame_size();
    enter_runtime(self);
    w->env = make_env();
    const char *failed = w->env ? make_scheduler(w) : "no memory";
    leave_runtime(self);
    return failed;
}

int activate(worker *w) {
    int error = ENOMEM;
    if (!loop_of(w->env, &error))
        return error == ENOMEM ? -ENOMEM
                               : -EAGAIN; // no descriptors left, which clone does not know
    thread *self = &w->main;
    coroutine *co = create_elsewhere(w->env, nullptr, nullptr, nullptr, self);
    if (!co)
        return -ENOMEM;
    self->co = co;
    count_as_started(w->env, co);
    w->env->running = co;
    enlist_thread(self);
    w->pid = static_cast<int>(sys::getpid());
    hide_own_signals();
    if (int e = begin_signals(w))
        return e;
    show_own_signals();
    if (int e = begin_preemption(w))
        return e;
    if (!begin_trimming(w) || !begin_dumper(w) || !begin_own_signals(w))
        return -ENOMEM;
    w->active = true;
    sys::call(SYS_prctl, PR_GET_TID_ADDRESS,
              &self->clear_child_tid); // libc told the kernel, before us
    sys::call(SYS_get_robust_list, 0, &self->robust_list, &self->robust_list_bytes);
    calls::all_threads_are_coroutines = &threads_of_futexes;
    calls::all_wait_and_wake_on_one_thread = true; // while there is one worker
    claim_all_numbers();
    begin_stats(w);
    begin_debugging(w);
    return 0;
}

thread *running_thread() {
    coroutine *co = running_coroutine();
    return co ? static_cast<thread *>(co->arg) : nullptr;
}

thread *new_thread(worker *w) {
    void *block = w->env->slab.allocate(sizeof(thread));
    if (!block)
        return nullptr;
    auto *t = new (block) thread;
    t->home = w;
    if (give_tid(t))
        return t;
    w->env->slab.release(t, sizeof(thread));
    return nullptr;
}

void enlist_thread(thread *t) {
    t->home->threads.push_back(&t->link);
    ++t->home->live;
    auto *slot = reinterpret_cast<thread **>(t->fs + static_cast<uintptr_t>(tls_thread_offset));
    *slot = t;
}

void free_thread(thread *t) {
    drop_pending(t, 0); // what was sent to its number since it ended
    if (t->tid >= first_tid)
        *threads_by_tid.at(static_cast<size_t>(t->tid - first_tid)) = nullptr;
    if (t != &t->home->main)
        t->home->env->slab.release(t, sizeof(thread));
}

thread *thread_of_tid(int tid) {
    if (tid >= first_tid) {
        thread **at = threads_by_tid.find(static_cast<size_t>(tid - first_tid));
        return at ? *at : nullptr;
    }
    if (tid != the_worker.pid) // the only number of the kernel's that a thread has
        return nullptr;
    thread *main = &the_worker.main; // or whichever forked
    if (main->tid == tid && main->link.linked())
        return main;
    for (list_node *n = the_worker.threads.ring.next; n != &the_worker.threads.ring; n = n->next)
        if (CO_CONTAINER(n, thread, link)->tid == tid)
            return CO_CONTAINER(n, thread, link);
    return nullptr;
}

void after_fork_in_child(worker *w, thread *self) {
    run_after_fork_in_child();
    stacks_after_fork_in_child();
    list_node *next;
    for (list_node *n = w->threads.ring.next; n != &w->threads.ring; n = next) {
        next = n->next;
        thread *t = CO_CONTAINER(n, thread, link);
        if (t == self)
            continue;
        t->link.unlink();
        drop_pending(t, 0); // nothing is pending in a child: nobody else is to have it
        thread_ends(t);
        free_thread(t);
    }
    if (self->tid >= first_tid)
        *threads_by_tid.at(static_cast<size_t>(self->tid - first_tid)) = nullptr;
    self->tid = static_cast<int>(sys::gettid());
    w->pid = self->tid;
    choose_tids(w->pid);
    w->live = 1;
    stats_after_fork_in_child(w);
    if (w->active) {
        signals_after_fork_in_child(self);
        release_dump_signal();
        own_signals_after_fork_in_child(w);
        begin_preemption(w);
        begin_trimming(w);
        begin_dumper(w);
    }
}

} // namespace corun::waist
