// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/own_fd.h"

#include "co_hook/calls/wait.h"

#include "co_routine/loop/fork_generation.h"
#include "co_routine/loop/loop.h"

#include <cerrno>
#include <new>

namespace corun::calls {
namespace {

// In memory of the pool: the loop follows it while the coroutine's stack may be away.
struct own_wait {
    loop_source source; // first: on_ready gets its address
    coroutine *co;
    uint32_t generation;
};

void on_readable(co_env *, loop_source *source, uint32_t) {
    unpark(reinterpret_cast<own_wait *>(source)->co);
}

void end_wait(co_env *env, own_wait *w) {
    // A forked child has copies of the descriptors, but its parent's epoll.
    if (w->generation == fork_generation())
        loop_remove_source(env, &w->source);
    else
        fd_reserve(w->source.fd, false);
    sys::close(w->source.fd);
}

} // namespace

int wait_for_own_fd(const wait_kind &kind, int fd, int64_t deadline_ns) {
    pool_block block(sizeof(own_wait));
    co_env *env = current_env();
    if (!env || !block.data()) {
        sys::close(fd);
        return -ENOMEM;
    }
    coroutine *co = env->running;
    auto *w = new (block.data()) own_wait{{nullptr, fd, on_readable}, co, fork_generation()};
    if (int error = loop_add_source(env, &w->source)) {
        sys::close(w->source.fd);
        return error;
    }
    co->wait_slot = w;
    int r = park(kind, {.object = w}, deadline_ns);
    co->wait_slot = nullptr;
    end_wait(env, w);
    return r;
}

void abandon_own_fd(coroutine *co) {
    if (co->wait_slot)
        end_wait(co->env, static_cast<own_wait *>(co->wait_slot));
    co->wait_slot = nullptr;
}

} // namespace corun::calls
