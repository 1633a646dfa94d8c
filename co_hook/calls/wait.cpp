// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/wait.h"

#include "co_routine/core/cancel.h"

#include <cerrno>
#include <new>

namespace corun::calls {

int fd_waiter::wait() {
    if (!began_) {
        if (int r = blocking_deadline(fd_, d_, &deadline_ns_))
            return r;
        began_ = true;
    }
    if (d_ == fd_read && fd_saw_end(fd_) && kind_of(known_bits(fd_)) == kind_message)
        return ended;
    int r = fd_wait(kind_, fd_, d_, deadline_ns_);
    return r == -ETIMEDOUT ? -EAGAIN : r;
}

word partial(size_t bytes, word error) {
    if (bytes == 0)
        return error;
    const coroutine *co = running_coroutine();
    if (error == -ECANCELED)
        if (co)
            if (!co->has(flag_cancel_errno))
                return error;
    return static_cast<word>(bytes);
}

pool_block::pool_block(size_t bytes) {
    co_env *env = current_env();
    if (!env || !extra_of(env->running))
        return;
    size_t all = sizeof(kept_block) + bytes;
    void *memory = env->slab.allocate(all);
    if (!memory)
        return;
    block_ = new (memory) kept_block{{}, all};
    env->running->extra->blocks.push_back(&block_->link);
}

pool_block::~pool_block() {
    if (!block_)
        return;
    block_->link.unlink();
    tls_env->slab.release(block_, block_->bytes);
}

int rest_of(const iovec *parts, int count, size_t from, iovec (&window)[window_parts]) {
    int filled = 0;
    for (int i = 0; i < count; ++i) {
        if (from >= parts[i].iov_len) {
            from -= parts[i].iov_len;
            continue;
        }
        if (filled == window_parts)
            break;
        window[filled].iov_base = static_cast<char *>(parts[i].iov_base) + from;
        window[filled].iov_len = parts[i].iov_len - from;
        from = 0;
        ++filled;
    }
    return filled;
}

size_t bytes_in(const iovec *parts, size_t count) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; ++i)
        bytes += parts[i].iov_len < most_bytes - bytes ? parts[i].iov_len : most_bytes - bytes;
    return bytes;
}

} // namespace corun::calls
