// SPDX-License-Identifier: Apache-2.0
// A co_key that is made when it is first needed, by whichever thread comes first.
//
//     constinit late_key key{drop};                 // drop(value): at the coroutine's end
//     if (!key.make()) ...                          // no key is left
//     key.set(value); ... = key.get();              // the running coroutine's
#pragma once

#include "co_routine/base/raw_sys.h"
#include "co_routine/co_routine.h"

namespace corun::symbols {

class late_key {
  public:
    explicit constexpr late_key(void (*drop)(void *)) : drop_(drop) {}

    bool make() {
        uint32_t state = unmade;
        if (__atomic_compare_exchange_n(&state_, &state, being_made, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_ACQUIRE)) {
            bool made_it = co_key_create(&key_, drop_) == 0;
            __atomic_store_n(&state_, made_it ? made : unmade, __ATOMIC_RELEASE);
            return made_it;
        }
        while (state == being_made) {
            sys::call(SYS_sched_yield);
            state = __atomic_load_n(&state_, __ATOMIC_ACQUIRE);
        }
        return state == made;
    }
    // nullptr: nothing was set.
    void *get() const {
        return __atomic_load_n(&state_, __ATOMIC_ACQUIRE) == made ? co_key_get(key_) : nullptr;
    }
    int set(void *value) { return co_key_set(key_, value); }

  private:
    static constexpr uint32_t unmade = 0, being_made = 1, made = 2;
    void (*drop_)(void *);
    co_key_t key_{};
    uint32_t state_ = unmade; // atomic
};

} // namespace corun::symbols
