// SPDX-License-Identifier: Apache-2.0
// The public functions that need no loop: create, resume, yield, release. co_routine.h says what
// each one promises.
#include "co_routine/base/check.h"
#include "co_routine/core/cancel.h"
#include "co_routine/core/switch.h"

#include <cerrno>
#include <cstring>

using namespace corun;

namespace {

[[noreturn]] __attribute__((cold)) void misuse(const char *function, const coroutine *co,
                                               const char *what) {
    fatal("%s: %s %s", function, description(co).text, what);
}

void check_own_thread(const char *function, const coroutine *co) {
    CO_CHECK(co != nullptr, "%s: the coroutine is NULL", function);
    if (CO_UNLIKELY(co->env != tls_env))
        misuse(function, co, "belongs to another thread");
}

[[noreturn]] __attribute__((cold)) void refuse_resume(const coroutine *co) {
    if (co->state == co_state::ended)
        misuse("co_resume", co, "has ended");
    misuse("co_resume", co,
           co->state == co_state::running ? "is running"
                                          : "has resumed another one and waits for it to yield");
}

[[noreturn]] __attribute__((noinline, cold)) void refuse_yield(const coroutine *co) {
    misuse("co_yield", co, "was resumed by nobody: there is nobody to yield to");
}

inline void yield_running(co_env *env, coroutine *co) {
    constexpr uint16_t rare = flag_wake_permit | flag_cancel;
    if (CO_UNLIKELY(co->caller == nullptr))
        refuse_yield(co);
    co_state next = co_state::yielded;
    if (CO_UNLIKELY(co->flags & rare)) {
        leave_wait(co->has(flag_cancel) ? ECANCELED : 0);
        if (co->take(flag_wake_permit)) {
            env->make_ready(co);
            co->set(flag_woken); // a wake-up that comes before it runs is the same one
            next = co_state::ready;
        }
    }
    co->state = next;
    yield_to_caller(env);
}

} // namespace

int co_create(stCoRoutine_t **co, const stCoRoutineAttr_t *attr, pfn_co_routine_t routine,
              void *arg) {
    return co ? create_coroutine(co, attr, routine, arg) : EINVAL;
}

void co_resume(stCoRoutine_t *co) {
    check_own_thread("co_resume", co);
    co_env *env = co->env;
    co_state s = co->state;
    if (CO_UNLIKELY(s != co_state::yielded)) {
        if (co->has(flag_root))
            misuse("co_resume", co, "is no coroutine");
        if (s == co_state::running || s == co_state::resuming || s == co_state::ended)
            refuse_resume(co);
        if (!co->has(flag_started)) {
            co->set(flag_started);
            ++env->live;
        }
        co->clear(flag_woken);
    }
    resume(env, co);
}

void co_yield_to_resumer(stCoRoutine_t *co) {
    check_own_thread("co_yield", co);
    if (CO_UNLIKELY(co->env->running != co))
        misuse("co_yield", co, "is not the running one");
    yield_running(co->env, co);
}

// co_yield is a keyword in C++20, the language of this file: the symbol gets its name here.
extern "C" __attribute__((visibility("default"), alias("co_yield_to_resumer"))) void
co_yield_symbol(stCoRoutine_t *co) __asm__("co_yield");

void co_yield_ct() {
    co_env *env = tls_env;
    CO_CHECK(env != nullptr, "co_yield_ct: this thread has no coroutine");
    yield_running(env, env->running);
}

void co_release(stCoRoutine_t *co) {
    if (!co)
        return;
    check_own_thread("co_release", co);
    if (co->has(flag_root))
        misuse("co_release", co, "is no coroutine");
    if (co->state == co_state::running)
        misuse("co_release", co, "is running");
    if (co->state == co_state::resuming)
        misuse("co_release", co, "has resumed another one and waits for it to yield");
    if (co->extra && !co->extra->joiners.empty())
        misuse("co_release", co, "is being joined: the joiner would wait for ever");
    free_coroutine(co);
}

void co_reset(stCoRoutine_t *co) {
    check_own_thread("co_reset", co);
    if (reset_coroutine(co) != 0)
        misuse("co_reset", co, "has begun and not ended");
}

stCoRoutine_t *co_self() {
    co_env *env = env_or_null();
    return env ? env->running : nullptr;
}

int co_set_name(stCoRoutine_t *co, const char *name) {
    check_own_thread("co_set_name", co);
    if (!name && !co->extra)
        return 0;
    co_extra *extra = extra_of(co);
    if (!extra)
        return ENOMEM;
    strncpy(extra->name, name ? name : "", sizeof extra->name - 1);
    return 0;
}

const char *co_get_name(const stCoRoutine_t *co) {
    return co && co->extra && co->extra->name[0] ? co->extra->name : nullptr;
}

int co_cancel_mode(int mode) {
    co_env *env = current_env();
    if (!env || (mode != CO_CANCEL_UNWIND && mode != CO_CANCEL_ERRNO))
        return -1;
    coroutine *co = env->running;
    int former = co->has(flag_cancel_errno) ? CO_CANCEL_ERRNO : CO_CANCEL_UNWIND;
    mode == CO_CANCEL_ERRNO ? co->set(flag_cancel_errno) : co->clear(flag_cancel_errno);
    return former;
}
