// SPDX-License-Identifier: Apache-2.0
// A lock for a few instructions, held across no park and no call of the user's. It is for the rare
// case that two threads meet on one object; after a short spin it gives the processor away, because
// the holder may have been descheduled.
#pragma once

#include "co_routine/base/raw_sys.h"

namespace corun {

// free_told: it was released in a process that ThreadSanitizer watches. So who takes it need not ask.
enum : unsigned { spin_free, spin_taken, spin_free_told };

inline bool spin_try(unsigned *word) {
    unsigned was = __atomic_exchange_n(word, spin_taken, __ATOMIC_ACQUIRE);
    if (__builtin_expect(was == spin_free, 1))
        return true;
    if (was == spin_taken)
        return false;
    san_acquire(word);
    return true;
}

inline void spin_acquire(unsigned *word) {
    for (unsigned spins = 0; !spin_try(word); ++spins) {
        if (spins < 64)
            __builtin_ia32_pause();
        else
            sys::call(SYS_sched_yield);
    }
}

inline void spin_release(unsigned *word) {
    unsigned free = spin_free;
    if (__builtin_expect(is_watched_by(watcher_tsan), 0)) {
        __tsan_release(word);
        free = spin_free_told;
    }
    __atomic_store_n(word, free, __ATOMIC_RELEASE);
}

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
