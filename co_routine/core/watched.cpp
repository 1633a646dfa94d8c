// SPDX-License-Identifier: Apache-2.0
#include "co_routine/core/watched.h"

#include "co_routine/base/check.h"

#include <pthread.h>

namespace corun {
namespace {

void add_fiber(coroutine *co, void (*make)(san_fiber *)) {
    co_extra *extra = extra_of(co);
    CO_CHECK(extra, "no memory for what the sanitizer wants of a coroutine");
    make(&extra->fiber);
    if (!co->tenancy.home)
        co->tenancy.home = &co->env->gate;
}

} // namespace

void watch(coroutine *co) { add_fiber(co, san_begin_fiber); }

void watch_root(co_env *env) {
    env->gate.watched = true;
    add_fiber(&env->root, san_adopt_fiber);
    pthread_attr_t attributes;
    void *low = nullptr;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        pthread_attr_getstack(&attributes, &low, &size);
        pthread_attr_destroy(&attributes);
    }
    env->root.stack_low = static_cast<char *>(low);
    env->root_stack_high = env->root.stack_low + size;
}

// TSan: a fiber may not be destroyed while it runs, and one that ends still does: it goes with the next.
void stop_watching(co_env *env, coroutine *co) {
    if (!is_watched_by(watcher_tsan))
        return;
    if (env->buried_fiber)
        __tsan_destroy_fiber(env->buried_fiber);
    env->buried_fiber = co->extra->fiber.tsan;
}

void stop_watching_thread(co_env *env) {
    if (env->courier && is_watched_by(watcher_tsan))
        __tsan_destroy_fiber(env->courier->extra->fiber.tsan);
    if (env->buried_fiber)
        __tsan_destroy_fiber(env->buried_fiber);
}

void watch_again(coroutine *co) {
    if (is_watched_by(watcher_tsan))
        __tsan_destroy_fiber(co->extra->fiber.tsan);
    san_begin_fiber(&co->extra->fiber); // the fake stack of its former life went with its end
    if (co->stack_low)                  // a shared stack is cleaned when it is brought in
        san_renew(co->stack_low, static_cast<size_t>(co->high_end() - co->stack_low));
}

} // namespace corun
