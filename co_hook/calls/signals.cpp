// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/signals.h"

#include "co_hook/calls/back_off.h"
#include "co_hook/calls/own_fd.h"
#include "co_hook/calls/signal_mask.h"

#include "co_routine/core/native.h"
#include "co_routine/loop/inbox.h"

#include <cerrno>
#include <new>
#include <sys/signalfd.h>

namespace corun::calls {
namespace {

any_handler handlers[most_signals + 1]; // atomic

// What handlers tell those that wait for one, on this thread. Made when somebody waits: thread-local
// storage is part of every thread's stack, and under door 2 of each of the program's.
struct handler_watch {
    uint32_t ran[most_signals + 1] = {};
    list_node waiters;   // a ring of wait_links; nothing yet: nullptr
    bool busy = false;   // the list is being changed: a handler may not follow it
    bool missed = false; // and one would have
};
struct watch_of_env {
    co_env *env; // in whose slab it lies
    handler_watch *at;
};
constinit thread_local watch_of_env made __attribute__((tls_model("initial-exec"))) = {};

handler_watch *watch_or_null() { return made.env && made.env == env_or_null() ? made.at : nullptr; }

handler_watch *watch_for(co_env *env) {
    if (handler_watch *there = watch_or_null())
        return there;
    void *block = env->slab.allocate(sizeof(handler_watch));
    if (!block)
        return nullptr;
    made.at = new (block) handler_watch;
    __atomic_signal_fence(__ATOMIC_SEQ_CST); // a handler finds all of it, or nothing
    made.env = env;
    return made.at;
}

uint64_t handlers_ran(const handler_watch *w, uint64_t held_back) {
    uint64_t n = 0;
    for (int s = 1; s <= most_signals; ++s)
        if (!(held_back >> (s - 1) & 1))
            n += __atomic_load_n(&w->ran[s], __ATOMIC_RELAXED);
    return n;
}

// In the handler. The inbox may be posted to from anywhere, whatever was interrupted.
void tell_waiters(handler_watch *w) {
    if (__atomic_load_n(&w->busy, __ATOMIC_RELAXED)) {
        w->missed = true;
        return;
    }
    const list_node *ring = &w->waiters;
    for (list_node *n = ring->next; n && n != ring; n = n->next)
        inbox_post(CO_CONTAINER(n, coroutine, wait_link), pending_unpark);
}

template <class F> void change_waiters(handler_watch *w, F f) {
    __atomic_store_n(&w->busy, true, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (!w->waiters.next)
        w->waiters.next = w->waiters.prev = &w->waiters;
    f();
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&w->busy, false, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (w->missed) {
        w->missed = false;
        tell_waiters(w);
    }
}

void leave_waiters(coroutine *co) {
    handler_watch *w = watch_or_null();
    if (!w)
        return;
    change_waiters(w, [co] {
        if (co->wait_link.linked())
            co->wait_link.unlink();
    });
}

void abandon_handler_wait(coroutine *co) {
    leave_waiters(co);
    abandon_own_fd(co);
}

constexpr wait_kind handler_kind{"a signal handler", false, abandon_handler_wait};
constexpr wait_kind signal_kind{"sigwait", false, abandon_own_fd};

sys::word open_signalfd(const uint64_t *set) {
    return sys::call(SYS_signalfd4, -1, set, sys::sigset_bytes, SFD_CLOEXEC | SFD_NONBLOCK);
}

template <class F> void begin_handler(int signal, const void *frame, F call) {
    handler_mark mark(frame);
    handler_watch *w = watch_or_null();
    if (signal >= 1 && signal <= most_signals) {
        if (w)
            __atomic_store_n(&w->ran[signal], w->ran[signal] + 1, __ATOMIC_RELAXED);
        if (any_handler f = __atomic_load_n(&handlers[signal], __ATOMIC_ACQUIRE))
            call(f);
    }
    if (w)
        tell_waiters(w);
}

} // namespace

word sigtimedwait(const void *set, siginfo_t *info, int64_t timeout_ns) {
    int64_t deadline_ns = timeout_ns < 0 ? no_deadline : deadline_in(timeout_ns);
    back_off pauses;
    for (;;) {
        word r = sys::call(sys::nr_rt_sigtimedwait, set, info, &sys::at_once, sys::sigset_bytes);
        if (r != -EAGAIN)
            return r;
        if (timeout_ns == 0 || now_ns() >= deadline_ns)
            return -EAGAIN;
        sys::word fd = open_signalfd(static_cast<const uint64_t *>(set));
        int e = sys::failed(fd) ? pauses.wait(signal_kind, {}, deadline_ns)
                                : wait_for_own_fd(signal_kind, static_cast<int>(fd), deadline_ns);
        if (e != 0 && e != -ETIMEDOUT)
            return e;
    }
}

word wait_for_handler(const void *mask) {
    co_env *env = current_env();
    handler_watch *w = env ? watch_for(env) : nullptr;
    if (!w)
        return -ENOMEM;
    coroutine *co = env->running;
    uint64_t held_back = 0, blocked = 0;
    if (mask)
        __builtin_memcpy(&held_back, mask, sizeof held_back);
    uint64_t before = handlers_ran(w, held_back);
    for (;;) {
        if (mask) {
            word r = sys::ppoll(nullptr, 0, &sys::at_once, &held_back);
            if (r != 0)
                return r;
        }
        change_waiters(w, [w, co] { list_head::insert_before(&w->waiters, &co->wait_link); });
        int e = 0;
        // One that ran until here was counted; one that comes later finds us in the list.
        if (handlers_ran(w, held_back) == before) {
            sys::call(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &blocked, sys::sigset_bytes);
            uint64_t let_in = mask ? blocked & ~held_back : 0;
            sys::word fd = let_in ? open_signalfd(&let_in) : -1;
            if (!sys::failed(fd)) {
                e = wait_for_own_fd(handler_kind, static_cast<int>(fd), no_deadline);
            } else {
                co->wait_slot = nullptr;
                e = park(handler_kind, {},
                         let_in ? deadline_in(mask_beat_ns) : no_deadline); // no descriptor left
            }
        }
        leave_waiters(co);
        if (handlers_ran(w, held_back) != before)
            return -EINTR;
        if (e != 0 && e != -ETIMEDOUT)
            return e;
    }
}

any_handler set_handler(int signal, any_handler f) {
    return __atomic_exchange_n(&handlers[signal], f, __ATOMIC_ACQ_REL);
}

any_handler handler_of(int signal) { return __atomic_load_n(&handlers[signal], __ATOMIC_ACQUIRE); }

void plain_handler(int signal) {
    begin_handler(signal, __builtin_frame_address(0),
                  [=](any_handler f) { reinterpret_cast<void (*)(int)>(f)(signal); });
}

void info_handler(int signal, siginfo_t *info, void *context) {
    begin_handler(signal, __builtin_frame_address(0), [=](any_handler f) {
        reinterpret_cast<void (*)(int, siginfo_t *, void *)>(f)(signal, info, context);
    });
}

} // namespace corun::calls
