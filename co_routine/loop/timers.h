// SPDX-License-Identifier: Apache-2.0
// Deadlines of parked coroutines: a heap with four children a node, which is half as deep as a
// binary one and keeps the children in one cache line. Any length, nothing ticks.
#pragma once

#include "co_routine/base/clock.h"
#include "co_routine/base/raw_vector.h"
#include "co_routine/core/coroutine.h"

namespace corun {

class timer_heap {
  public:
    bool empty() const { return entries_.empty(); }
    size_t size() const { return entries_.size(); }
    int64_t first_deadline() const { return empty() ? no_deadline : entries_[0].deadline_ns; }
    coroutine *first() { return entries_[0].co; }

    bool add(coroutine *co, int64_t deadline_ns); // false: no memory
    void remove(coroutine *co);                   // one that is in it
    void clear() { entries_.clear(); }
    bool is_valid() const;

  private:
    struct entry {
        int64_t deadline_ns; // beside the pointer: comparing touches no control block
        coroutine *co;
    };
    void put(size_t at, entry e) {
        entries_[at] = e;
        e.co->timer_index = static_cast<uint32_t>(at);
    }
    void sift_up(size_t at, entry e);
    void sift_down(size_t at, entry e);

    raw_vector<entry> entries_;
};

} // namespace corun
