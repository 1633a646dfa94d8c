// SPDX-License-Identifier: Apache-2.0
// The public functions that need the loop. co_routine.h says what each one promises.
#include "co_routine/base/check.h"
#include "co_routine/core/cancel.h"
#include "co_routine/core/switch.h"
#include "co_routine/loop/fd_events.h"
#include "co_routine/loop/inbox.h"
#include "co_routine/loop/loop.h"

#include <cerrno>
#include <cstdarg>
#include <cstdio>

using namespace corun;

namespace {

void abandon_join(coroutine *co) {
    if (co->wait_link.linked())
        co->wait_link.unlink();
}

constexpr wait_kind sleep_kind{"sleep", false, nullptr};
unsigned describe_joined(char *out, unsigned size, const void *joined) {
    return format_line(out, size, ", of #%u", static_cast<const coroutine *>(joined)->id);
}
holder_key joined(const coroutine *co) {
    return co->has(flag_joined) ? 0 : key_of(static_cast<const coroutine *>(co->subject.object));
}
constexpr wait_kind join_kind{"join", false, abandon_join, describe_joined, ended_by::program,
                              joined};
constexpr wait_kind poll_kind{"poll", false, abandon_poll_wait};

constexpr int64_t callback_beat_ns = ns_per_ms; // libco's

co_env *env_with_loop(const char *function) {
    co_env *env = current_env();
    int error = ENOMEM;
    if (!env || !loop_of(env, &error))
        fatal("%s: the loop cannot be made: errno %d", function, error);
    CO_CHECK(env->running == &env->root,
             "%s: called in a coroutine; the loop runs on the thread's own stack", function);
    return env;
}

// From another thread, where it may end at this moment: a look at one byte that its own thread
// writes without ceremony, thousands of times more often than anybody asks.
__attribute__((noinline, no_sanitize("thread"))) bool seems_ended(const coroutine *co) {
    const volatile co_state *state = &co->state;
    return *state == co_state::ended;
}

int join(coroutine *co, void **result) {
    if (co->state == co_state::ended) {
        *result = co->result;
        return 0;
    }
    coroutine *self = tls_env->running;
    co_extra *extra = extra_of(co);
    if (!extra)
        return ENOMEM;
    extra->joiners.push_back(&self->wait_link);
    int r = 0;
    while (r == 0 && !self->has(flag_joined))
        r = park(join_kind, {.object = co}, no_deadline);
    if (self->wait_link.linked())
        self->wait_link.unlink();
    *result = self->wait_slot;
    return self->take(flag_joined) ? 0 : -r;
}

} // namespace

int co_go(stCoRoutine_t **out, const stCoRoutineAttr_t *attr, pfn_co_routine_t fn, void *arg) {
    coroutine *co;
    if (int error = create_coroutine(&co, attr, fn, arg))
        return error;
    if (out)
        *out = co;
    else
        co->set(flag_detached);
    count_as_started(co->env, co);
    co->env->make_ready(co);
    return 0;
}

void co_run() {
    co_env *env = env_with_loop("co_run");
    env->event_loop->until_all_ended = true;
    while (env->live > 0)
        loop_turn(env, no_deadline);
    env->event_loop->until_all_ended = false;
}

void co_eventloop(stCoEpoll_t *, pfn_co_eventloop_t pfn, void *arg) {
    co_env *env = env_with_loop("co_eventloop");
    for (;;) {
        loop_turn(env, pfn ? deadline_in(callback_beat_ns) : no_deadline);
        if (pfn && pfn(arg) == -1)
            return;
    }
}

stCoEpoll_t *co_get_epoll_ct() {
    co_env *env = current_env();
    int error = ENOMEM;
    loop *l = env ? loop_of(env, &error) : nullptr;
    if (!l)
        errno = error;
    return reinterpret_cast<stCoEpoll_t *>(l);
}

int co_poll(stCoEpoll_t *, pollfd fds[], nfds_t nfds, int timeout_ms) {
    int r = wait_for_poll(poll_kind, fds, nfds, deadline_in_ms(timeout_ms));
    if (r >= 0)
        return r;
    errno = leave_wait(-r);
    return -1;
}

int co_join(stCoRoutine_t *co, void **ret) {
    CO_CHECK(co != nullptr, "co_join: the coroutine is NULL");
    co_env *env = current_env();
    CO_CHECK(co->env == env, "co_join: %s belongs to another thread", description(co).text);
    if (co == env->running || co->has(flag_root))
        return EDEADLK;
    void *result;
    if (int error = join(co, &result))
        return leave_wait(error);
    if (ret)
        *ret = result;
    return 0;
}

int co_cancel(stCoRoutine_t *co) {
    CO_CHECK(co != nullptr, "co_cancel: the coroutine is NULL");
    if (co->env == tls_env)
        return request_cancel(co);
    if (seems_ended(co))
        return ESRCH;
    prepare_unwinder(); // here there is room for it; its thread says what it means if there is none
    inbox_post(co, pending_cancel);
    return 0;
}

int co_wake(stCoRoutine_t *co) {
    CO_CHECK(co != nullptr, "co_wake: the coroutine is NULL");
    if (co->env == tls_env)
        return wake_yielded(co);
    if (seems_ended(co))
        return ESRCH;
    inbox_post(co, pending_wake);
    return 0;
}

void co_yield_now() {
    co_env *env = current_env();
    CO_CHECK(env != nullptr, "co_yield_now: no memory");
    coroutine *co = env->running;
    if (co == &env->root) {
        if ((env->ready_first || env->event_loop) && loop_of(env)) {
            co->state = co_state::ready; // so the turn does not sleep, and polls when it is time
            loop_turn(env, no_deadline);
            co->state = co_state::running;
        }
        return;
    }
    if (CO_UNLIKELY(co->has(flag_cancel)))
        leave_wait(must_leave_waits(co) ? ECANCELED : 0);
    env->make_ready(co);
    yield_to_caller(env);
}

int co_sleep_ms(long ms) {
    if (ms < 0)
        return EINVAL;
    if (!current_env())
        return ENOMEM;
    int64_t deadline_ns = deadline_in_ms(ms);
    int r;
    do
        r = park(sleep_kind, {}, deadline_ns);
    while (r == 0);
    return r == -ETIMEDOUT ? 0 : leave_wait(-r);
}

void co_log_err(const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text - 1, fmt, args);
    va_end(args);
    if (n < 0)
        return;
    size_t length =
        static_cast<size_t>(n) < sizeof text - 2 ? static_cast<size_t>(n) : sizeof text - 2;
    text[length] = '\n';
    sys::write(2, text, length + 1);
}
