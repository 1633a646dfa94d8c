// SPDX-License-Identifier: Apache-2.0
// A lock for a few instructions, held across no park and no call of the user's. It is for the rare
// case that two threads meet on one object; after a short spin it gives the processor away, because
// the holder may have been descheduled.
#pragma once

#include "co_routine/base/raw_sys.h"

namespace corun {

inline void spin_acquire(unsigned *word) {
    for (unsigned spins = 0; __atomic_exchange_n(word, 1U, __ATOMIC_ACQUIRE) != 0; ++spins) {
        if (spins < 64)
            __builtin_ia32_pause();
        else
            sys::call(SYS_sched_yield);
    }
}

inline void spin_release(unsigned *word) { __atomic_store_n(word, 0U, __ATOMIC_RELEASE); }

class spin_guard {
  public:
    explicit spin_guard(unsigned *word) : word_(word) { spin_acquire(word_); }
    ~spin_guard() { spin_release(word_); }
    spin_guard(const spin_guard &) = delete;
    spin_guard &operator=(const spin_guard &) = delete;

  private:
    unsigned *word_;
};

} // namespace corun
