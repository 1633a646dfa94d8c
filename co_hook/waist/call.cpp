// SPDX-License-Identifier: Apache-2.0
// A system call of the program that is ours: entry.S has saved the registers and calls waist_call on
// the thread's own stack and FS base.
#include "co_hook/calls/dispatch.h"
#include "co_hook/calls/futex.h"
#include "co_hook/calls/futex_owner.h"
#include "co_hook/waist/dump.h"
#include "co_hook/waist/loaded.h"
#include "co_hook/waist/numbers.h"
#include "co_hook/waist/own_signals.h"
#include "co_hook/waist/rights.h"
#include "co_hook/waist/signal_fds.h"
#include "co_hook/waist/signals.h"
#include "co_hook/waist/stacks.h"
#include "co_hook/waist/stats.h"
#include "co_hook/waist/thread_names.h"
#include "co_hook/waist/worker.h"

#include "co_routine/base/user_memory.h"

#include <cerrno>
#include <linux/sched.h>

namespace corun::waist {
namespace {

struct arguments {
    word a[6];
    explicit arguments(const frame *f)
        : a{static_cast<word>(f->rdi), static_cast<word>(f->rsi), static_cast<word>(f->rdx),
            static_cast<word>(f->r10), static_cast<word>(f->r8),  static_cast<word>(f->r9)} {}
};

constexpr size_t robust_list_bytes = 24; // the kernel's struct robust_list_head

bool is_clone(long nr) {
    return nr == SYS_clone || nr == SYS_clone3 || nr == SYS_fork || nr == SYS_vfork;
}

// Whether what clone3 is given can be a request at all: else the kernel says what is wrong.
bool is_request(long nr, const word (&a)[6]) {
    return nr != SYS_clone3 ||
           (static_cast<size_t>(a[1]) >= CLONE_ARGS_SIZE_VER0 &&
            can_read(reinterpret_cast<const void *>(a[0]), CLONE_ARGS_SIZE_VER0));
}

bool makes_thread(long nr, const word (&a)[6]) {
    if (nr == SYS_clone3)
        return reinterpret_cast<const clone_args *>(a[0])->flags & CLONE_THREAD;
    return nr == SYS_clone && (a[0] & CLONE_THREAD);
}

// The kernel's own calls, watched for objects that are being loaded.
word mmap(const word (&a)[6]) {
    word address = native(SYS_mmap, a);
    note_mapping(a, address);
    return address;
}

// A thread is named by its number; the kernel knows one of them, itself.
word about_thread(long nr, word (&a)[6], int which) {
    if (a[which] != 0 && !thread_of_tid(static_cast<int>(a[which])))
        return native(nr, a);
    a[which] = 0;
    return native(nr, a);
}

word arch_prctl(thread *self, const word (&a)[6]) {
    constexpr word arch_set_fs = 0x1002, arch_get_fs = 0x1003;
    if (a[0] == arch_set_fs)
        return self->fs = static_cast<uintptr_t>(a[1]), 0;
    if (a[0] == arch_get_fs)
        return user_write(reinterpret_cast<void *>(a[1]), self->fs) ? 0 : -EFAULT;
    return native(SYS_arch_prctl, a);
}

word prctl(thread *self, const word (&a)[6]) {
    word result;
    if (name_call(self, a, &result) || rights_call(self, SYS_prctl, a, &result))
        return result;
    return calls::dispatch(SYS_prctl, a, true, &result) ? result : native(SYS_prctl, a);
}

word robust_list_of(const word (&a)[6], thread *self) {
    const thread *t = a[0] == 0 ? self : thread_of_tid(static_cast<int>(a[0]));
    if (!t)
        return -ESRCH;
    bool told = user_write(reinterpret_cast<void *>(a[2]), t->robust_list_bytes) &&
                user_write(reinterpret_cast<void *>(a[1]), t->robust_list);
    return told ? 0 : -EFAULT;
}

bool is_known_to_kernel(const thread *t) { return t->tid == sys::getpid(); }

// The kernel will walk one list, that of the first thread.
void give_up_listed_locks(worker *w) {
    for (list_node *n = w->threads.ring.next; n != &w->threads.ring; n = n->next) {
        const thread *t = CO_CONTAINER(n, thread, link);
        if (!is_known_to_kernel(t))
            calls::give_up_listed(t->tid, t->robust_list);
    }
}

bool thread_call(thread *self, long nr, word (&a)[6], word *result) {
    switch (nr) {
    case SYS_mmap:
    case SYS_munmap:
    case SYS_mprotect:
    case SYS_pkey_mprotect:
    case SYS_mremap:
    case SYS_madvise:
        if (!stack_call(nr, a, result))
            *result = nr == SYS_mmap ? mmap(a) : native(nr, a);
        return true;
    case SYS_close:
        note_closing(static_cast<int>(a[0]));
        name_is_closing(static_cast<int>(a[0]));
        return false;
    case SYS_exit_group:
        give_up_listed_locks(self->home);
        stats_at_end();
        return false;
    case SYS_exit:
        exit_thread(self, static_cast<int>(a[0]));
    case SYS_gettid:
        return *result = self->tid, true;
    case SYS_set_tid_address:
        self->clear_child_tid = reinterpret_cast<int *>(a[0]);
        return *result = self->tid, true;
    case SYS_set_robust_list:
        if (static_cast<size_t>(a[1]) != robust_list_bytes)
            return *result = -EINVAL, true;
        self->robust_list = reinterpret_cast<void *>(a[0]);
        self->robust_list_bytes = static_cast<size_t>(a[1]);
        // For the end of the process the kernel knows one list, that of the first thread.
        return *result = is_known_to_kernel(self) ? native(nr, a) : 0, true;
    case SYS_get_robust_list:
        return *result = robust_list_of(a, self), true;
    case nr_futex_waitv: // would block every thread: programs go back to FUTEX_WAIT, as on older kernels
    case nr_futex_wake:
    case nr_futex_wait:
    case nr_futex_requeue:
        return *result = -ENOSYS, true;
    case SYS_rseq: // the area keeps saying that it is not registered: glibc then asks otherwise
        return *result = 0, true;
    case SYS_arch_prctl:
        return *result = arch_prctl(self, a), true;
    case SYS_prctl:
        return *result = prctl(self, a), true;
    case SYS_sched_getaffinity:
    case SYS_sched_setaffinity:
    case SYS_sched_getparam:
    case SYS_sched_setparam:
    case SYS_sched_getscheduler:
    case SYS_sched_setscheduler:
    case SYS_sched_rr_get_interval:
    case SYS_sched_getattr:
    case SYS_sched_setattr:
    case SYS_getpgid:
    case SYS_getsid:
    case SYS_prlimit64:
        return *result = about_thread(nr, a, 0), true;
    case SYS_getpriority:
    case SYS_setpriority:
        return *result = a[0] == 0 /* PRIO_PROCESS */ ? about_thread(nr, a, 1) : native(nr, a),
               true;
    default:
        return false;
    }
}

// A helper, the runtime itself, a child of vfork; or a process of one thread.
word call_outside(frame *f, thread *t, long nr) {
    arguments arg(f);
    bool of_program = t && !t->home->vfork.borrowed;
    if (of_program && nr == SYS_close)
        note_closing(static_cast<int>(arg.a[0]));
    if (of_program && nr == SYS_mmap)
        return mmap(arg.a);
    if (of_program && (nr == SYS_signalfd || nr == SYS_signalfd4))
        return make_signalfd(nr, arg.a);
    if (of_program && nr == SYS_exit_group)
        stats_at_end();
    if (!is_clone(nr) || !is_request(nr, arg.a)) {
        word result = native(nr, arg.a);
        if (of_program && nr == SYS_rt_sigaction && result == 0)
            own_signals_after_sigaction(arg.a);
        if (of_program && sets_filter(nr, arg.a) && !sys::failed(result))
            filter_is_set();
        return result;
    }
    if (of_program && makes_thread(nr, arg.a)) {
        load_for_dumps();
        enter_runtime(t);
        word r = activate(t->home);
        if (r == 0) {
            t->at_call = f;
            call_begins(t, nr);
            r = clone_thread(t, f, arg.a);
            call_ends(t);
        }
        leave_runtime(t);
        return r;
    }
    return clone_outside(of_program ? t : nullptr, f, arg.a);
}

} // namespace

word call_of_thread(thread *self, frame *f, long nr) {
    arguments arg(f);
    word result;
    if (nr == SYS_futex) // most calls of many programs, and short ones
        return calls::futex(arg.a, true, true);
    if (is_clone(nr) && is_request(nr, arg.a))
        return makes_thread(nr, arg.a) ? clone_thread(self, f, arg.a)
                                       : clone_process(self, f, arg.a);
    if (thread_call(self, nr, arg.a, &result) || signal_call(self, f, nr, arg.a, &result) ||
        rights_call(self, nr, arg.a, &result))
        return result;
    if (!calls::dispatch(nr, arg.a, true, &result))
        return native(nr, arg.a);
    if (CO_UNLIKELY(result == -ENOENT)) { // and the kernel has read the path
        if (nr == SYS_openat)
            return open_name(reinterpret_cast<const char *>(arg.a[1]), arg.a[2]);
        if (nr == SYS_open)
            return open_name(reinterpret_cast<const char *>(arg.a[0]), arg.a[1]);
    }
    return result;
}

} // namespace corun::waist

using namespace corun::waist;

// The FS base that the program goes on with; 0: it has not changed.
extern "C" __attribute__((visibility("hidden"))) uintptr_t waist_call(frame *f, thread *t) {
    auto nr = static_cast<long>(static_cast<int>(f->rax)); // as the kernel reads it
    if (CO_UNLIKELY(!t || t->home->vfork.borrowed || !t->home->active)) {
        f->rax = static_cast<uint64_t>(call_outside(f, t, nr));
        return 0;
    }
    enter_runtime(t);
    t->at_call = f;
    call_begins(t, nr);
    word result;
    do {
        signals_before_call();
        result = call_of_thread(t, f, nr);
    } while (CO_UNLIKELY(signals_to_see(t)) && !signals_after_call(t, f, nr, &result));
    f->rax = static_cast<uint64_t>(result);
    if (CO_UNLIKELY(nr == SYS_rt_sigaction) && result == 0)
        own_signals_after_sigaction(arguments(f).a);
    call_ends(t);
    return t->fs;
}
