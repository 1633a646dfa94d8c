// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/thread.h"

#include "co_hook/calls/fd_state.h"
#include "co_hook/calls/futex.h"
#include "co_hook/calls/futex_owner.h"
#include "co_hook/waist/signals.h"
#include "co_hook/waist/stacks.h"
#include "co_hook/waist/stats.h"
#include "co_hook/waist/thread_names.h"
#include "co_hook/waist/worker.h"

#include "co_routine/base/at_fork.h"
#include "co_routine/base/check.h"
#include "co_routine/base/user_memory.h"
#include "co_routine/core/switch.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <linux/futex.h>
#include <linux/sched.h>

namespace corun::waist {
namespace {

// What both forms of clone say.
struct clone_request {
    uint64_t flags;
    uintptr_t stack_low; // 0: not known
    uintptr_t stack_top; // 0: the caller's stack
    int *parent_tid, *child_tid;
    uintptr_t tls;
};

clone_request request_of(long nr, const word (&a)[6]) {
    if (nr == SYS_clone3) {
        const auto *args = reinterpret_cast<const clone_args *>(a[0]);
        return {args->flags,
                static_cast<uintptr_t>(args->stack),
                static_cast<uintptr_t>(args->stack + args->stack_size),
                reinterpret_cast<int *>(args->parent_tid),
                reinterpret_cast<int *>(args->child_tid),
                static_cast<uintptr_t>(args->tls)};
    }
    if (nr == SYS_clone)
        return {static_cast<uint64_t>(a[0]),   0,
                static_cast<uintptr_t>(a[1]),  reinterpret_cast<int *>(a[2]),
                reinterpret_cast<int *>(a[3]), static_cast<uintptr_t>(a[4])};
    return {nr == SYS_vfork ? uint64_t{CLONE_VM | CLONE_VFORK} : 0, 0, 0, nullptr, nullptr, 0};
}

// Where the child of a clone goes on: as its parent, with 0, on its own stack.
frame *frame_for_child(const frame *f, uintptr_t stack_top) {
    auto *child = reinterpret_cast<frame *>(stack_top - WAIST_RED_ZONE - sizeof(frame));
    memcpy(child, f, sizeof *child);
    child->rax = 0;
    child->vectors = 0;
    return child;
}

void *thread_main(void *argument) {
    auto *t = static_cast<thread *>(argument);
    turn_begins(t);
    waist_leave(t->at_call, t->fs);
}

// Run by the loop: nothing stands on the thread's stack any more.
void finish_exit(co_env *, loop_task *task) {
    thread *t = CO_CONTAINER(task, thread, end_task);
    if (int *at = t->clear_child_tid) {
        if (can_write(at, sizeof *at))
            __atomic_store_n(at, 0, __ATOMIC_SEQ_CST);
        int operation = is_in_stack(at) ? FUTEX_WAKE_PRIVATE : FUTEX_WAKE;
        const word wake[6] = {sys::as_word(at), operation, 1, 0, 0, 0};
        calls::futex(wake, true, true);
    }
    free_thread(t);
}

word fork_process(thread *self, frame *f, const clone_request &r, const word (&a)[6]) {
    calls::note_all_shared();
    run_before_fork();
    signals_before_fork();
    leave_runtime(self);
    word pid = native(static_cast<long>(f->rax), a);
    enter_runtime(self);
    if (pid != 0) {
        signals_after_fork_in_parent();
        run_after_fork_in_parent();
        return pid;
    }
    after_fork_in_child(self->home, self);
    self->clear_child_tid = r.flags & CLONE_CHILD_CLEARTID ? r.child_tid : nullptr;
    if (r.stack_top) { // in the parent's image of this stack the frames of this call would stay
        frame *child = frame_for_child(f, r.stack_top);
        self->at_call = child;
        waist_leave(child, self->fs);
    }
    return 0;
}

// The kernel's own call, whose child begins on a stack of its own.
word clone_to(frame *child, long nr, const word (&a)[6]) {
    if (nr != SYS_clone3)
        return waist_clone(SYS_clone, a[0], sys::as_word(child), a[2], a[3], a[4]);
    clone_args args{};
    auto size = static_cast<size_t>(a[1]);
    if (size > sizeof args)
        return -E2BIG; // a field that is younger than this library
    if (!copy_from_user(&args, reinterpret_cast<const void *>(a[0]), size))
        return -EFAULT;
    args.stack_size = reinterpret_cast<uintptr_t>(child) - args.stack;
    return waist_clone(SYS_clone3, sys::as_word(&args), a[1], 0, 0, 0);
}

// The child runs on our memory until it is gone: it makes the kernel's own calls.
word borrow_memory(thread *self, frame *f, const clone_request &r, const word (&a)[6]) {
    if (!(r.flags & CLONE_VFORK))
        return -ENOSYS; // a process that shares our memory and runs beside us: nobody could keep them apart
    calls::note_all_shared();
    signals_before_vfork(self);
    self->home->vfork.borrowed = 1;
    leave_runtime(self);
    if (!r.stack_top) {
        self->home->vfork.registers = *f;
        self->home->vfork.sp = reinterpret_cast<uintptr_t>(f + 1);
        waist_vfork(&self->home->vfork);
    }
    word pid = clone_to(frame_for_child(f, r.stack_top), static_cast<long>(f->rax), a);
    self->home->vfork.borrowed = 0;
    enter_runtime(self);
    signals_after_vfork();
    return pid;
}

} // namespace

word clone_thread(thread *self, frame *f, const word (&a)[6]) {
    clone_request r = request_of(static_cast<long>(f->rax), a);
    constexpr uint64_t needed = CLONE_VM | CLONE_SIGHAND | CLONE_FS | CLONE_FILES | CLONE_SETTLS;
    if ((r.flags & needed) != needed || !r.stack_top || !r.tls)
        return -EINVAL; // threads that share less, or one thread-local storage: not glibc's
    worker *w = self->home;
    thread *t = new_thread(w);
    if (!t)
        return -EAGAIN;
    frame *child = frame_for_child(f, r.stack_top);
    auto *high = reinterpret_cast<char *>(reinterpret_cast<uintptr_t>(child) & ~uintptr_t{15});
    constexpr size_t assumed_bytes =
        4096; // what coctx_make_regs asks about: clone, unlike clone3, names no size
    t->co = create_elsewhere(w->env, high - assumed_bytes, high, thread_main, t);
    if (!t->co) {
        free_thread(t);
        return -EAGAIN;
    }
    t->fs = r.tls;
    t->stack_low = r.stack_low;
    t->stack_high = r.stack_low ? r.stack_top : 0;
    t->at_call = child;
    t->signals.blocked = self->signals.blocked;
    t->clear_child_tid = r.flags & CLONE_CHILD_CLEARTID ? r.child_tid : nullptr;
    inherit_name(self, t);
    if (r.flags & CLONE_PARENT_SETTID)
        user_write(r.parent_tid, t->tid);
    if (r.flags & CLONE_CHILD_SETTID)
        user_write(r.child_tid, t->tid);
    enlist_thread(t);
    thread_begins(t);
    count_new_thread(w);
    count_as_started(w->env, t->co);
    w->env->make_ready(t->co);
    return t->tid;
}

word clone_process(thread *self, frame *f, const word (&a)[6]) {
    clone_request r = request_of(static_cast<long>(f->rax), a);
    if (r.flags & CLONE_VM)
        return borrow_memory(self, f, r, a);
    return fork_process(self, f, r, a);
}

word clone_outside(thread *self, frame *f, const word (&a)[6]) {
    auto nr = static_cast<long>(f->rax);
    clone_request r = request_of(nr, a);
    if (r.stack_top && !(self && r.flags & CLONE_VM))
        return clone_to(frame_for_child(f, r.stack_top), nr, a);
    if (r.flags & CLONE_VM && self) {
        enter_runtime(self);
        word pid = borrow_memory(self, f, r, a);
        leave_runtime(self);
        return pid;
    }
    if (r.flags & CLONE_VM) // a child of vfork that makes another one: with memory of its own
        return sys::call6(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
    word pid = native(nr, a);
    if (pid == 0 && self) {
        self->tid = self->home->pid = static_cast<int>(sys::gettid());
        choose_tids(self->tid);
        stats_after_fork_in_child(self->home);
    }
    return pid;
}

void exit_thread(thread *self, int status) {
    worker *w = self->home;
    calls::give_up_owned(self->tid, self->robust_list);
    if (w->live == 1) {
        stats_at_end();
        sys::call(SYS_exit_group, status);
    }
    count_end_of_thread(self);
    self->link.unlink();
    --w->live;
    thread_ends(self);
    self->end_task.run = finish_exit;
    loop_post(w->env, &self->end_task);
    end_running(nullptr);
}

} // namespace corun::waist

using namespace corun::waist;

// The parent goes on, on the stack that its child has used.
extern "C" __attribute__((visibility("hidden"), noreturn)) void waist_vfork_over(vfork_save *save,
                                                                                 word pid) {
    thread *t = tls_thread;
    save->borrowed = 0;
    frame *f = reinterpret_cast<frame *>(save->sp) - 1;
    *f = save->registers;
    f->rax = static_cast<uint64_t>(pid);
    f->vectors = 0; // the child's stack lay there
    if (!t->home->active)
        waist_leave(f, t->fs);
    enter_runtime(t);
    signals_after_vfork();
    waist_leave_late(f, t);
}
