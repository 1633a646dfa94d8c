// SPDX-License-Identifier: Apache-2.0
// co_alloc_sharestack and its end.
#include "co_routine/core/watched.h"

#include <cerrno>
#include <new>

using namespace corun;

namespace {

constexpr int largest_count = 1 << 20;
constexpr int largest_size = 1 << 30;

void release_stacks(stShareStack_t *group, int acquired) {
    for (int i = 0; i < acquired; ++i)
        group->stack_source->release(group->stacks[i].low);
}

bool acquire_stacks(stShareStack_t *group) {
    for (int i = 0; i < group->count; ++i) {
        stack_range range;
        if (!group->stack_source->acquire(&range)) {
            release_stacks(group, i);
            return false;
        }
        shared_stack *s = new (&group->stacks[i]) shared_stack;
        s->low = range.low;
        s->high = range.high;
        s->group = group;
        s->watched = bytes_are_watched(); // or its tenants get ranges of their own
    }
    return true;
}

size_t group_bytes(int count) {
    return sizeof(stShareStack_t) + static_cast<size_t>(count) * sizeof(shared_stack);
}

stShareStack_t *fail(int error) {
    errno = error;
    return nullptr;
}

} // namespace

stShareStack_t *co_alloc_sharestack(int count, int size) {
    if (count < 1 || count > largest_count || size < 1 || size > largest_size)
        return fail(EINVAL);
    co_env *env = current_env();
    if (!env)
        return fail(ENOMEM);
    size_t bytes = (static_cast<size_t>(size) + page_size - 1) / page_size * page_size;
    if (bytes < 4 * page_size)
        bytes = 4 * page_size;
    stack_pool *pool = env->pool_for(bytes, CO_GUARD_SIZE_DEFAULT);
    void *block = env->slab.allocate(group_bytes(count));
    if (!pool || !block || !env->shared.reserve(env->shared.size() + 1)) {
        if (block)
            env->slab.release(block, group_bytes(count));
        return fail(ENOMEM);
    }
    stShareStack_t *group = new (block) stShareStack_t{};
    group->owner = env;
    group->count = count;
    group->stack_bytes = bytes;
    group->stack_source = pool;
    group->stacks = reinterpret_cast<shared_stack *>(group + 1);
    if (!acquire_stacks(group)) {
        env->slab.release(block, group_bytes(count));
        return fail(ENOMEM);
    }
    env->shared.push_back(group);
    return group;
}

void corun::free_sharestack(co_env *env, stShareStack_t *group) {
    for (size_t i = 0; i < env->shared.size(); ++i)
        if (env->shared[i] == group) {
            env->shared[i] = env->shared.back();
            env->shared.pop_back();
            break;
        }
    release_stacks(group, group->count);
    env->slab.release(group, group_bytes(group->count));
}

int co_release_sharestack(stShareStack_t *group) {
    co_env *env = env_or_null();
    if (!group || group->owner != env)
        return EINVAL;
    if (group->tenants != 0)
        return EBUSY;
    free_sharestack(env, group);
    return 0;
}
