// SPDX-License-Identifier: Apache-2.0
// For libc's functions that hold a lock of libc's while a module of nsswitch.conf may call what is
// hooked: in this scope the running coroutine's calls are native, so that nobody parks with the lock.
#pragma once

#include "co_hook/symbols/hook.h"

namespace corun::symbols {

class without_hooks {
  public:
    without_hooks() {
        const co_env *env = env_or_null();
        if (env && env->running->has(flag_hooks)) {
            co_ = env->running;
            co_->clear(flag_hooks);
        }
    }
    ~without_hooks() {
        if (co_)
            co_->set(flag_hooks);
    }
    without_hooks(const without_hooks &) = delete;
    without_hooks &operator=(const without_hooks &) = delete;

  private:
    coroutine *co_ = nullptr;
};

} // namespace corun::symbols
