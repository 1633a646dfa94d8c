// SPDX-License-Identifier: Apache-2.0
#include "co_routine/loop/timers.h"

#include "co_routine/base/check.h"

namespace corun {

bool timer_heap::add(coroutine *co, int64_t deadline_ns) {
    entry e{deadline_ns, co};
    if (!entries_.push_back(e))
        return false;
    sift_up(entries_.size() - 1, e);
    CO_DCHECK_SLOW(is_valid());
    return true;
}

void timer_heap::remove(coroutine *co) {
    size_t at = co->timer_index;
    CO_DCHECK(entries_[at].co == co);
    co->timer_index = no_timer;
    entry last = entries_.back();
    entries_.pop_back();
    if (last.co == co)
        return;
    if (at > 0 && last.deadline_ns < entries_[(at - 1) / 4].deadline_ns)
        sift_up(at, last);
    else
        sift_down(at, last);
    CO_DCHECK_SLOW(is_valid());
}

void timer_heap::sift_up(size_t at, entry e) {
    while (at > 0) {
        size_t parent = (at - 1) / 4;
        if (entries_[parent].deadline_ns <= e.deadline_ns)
            break;
        put(at, entries_[parent]);
        at = parent;
    }
    put(at, e);
}

void timer_heap::sift_down(size_t at, entry e) {
    for (;;) {
        size_t child = at * 4 + 1, end = child + 4 < entries_.size() ? child + 4 : entries_.size();
        if (child >= entries_.size())
            break;
        size_t least = child;
        for (size_t c = child + 1; c < end; ++c)
            if (entries_[c].deadline_ns < entries_[least].deadline_ns)
                least = c;
        if (e.deadline_ns <= entries_[least].deadline_ns)
            break;
        put(at, entries_[least]);
        at = least;
    }
    put(at, e);
}

bool timer_heap::is_valid() const {
    for (size_t i = 0; i < entries_.size(); ++i) {
        if (i > 0 && entries_[(i - 1) / 4].deadline_ns > entries_[i].deadline_ns)
            return false;
        if (entries_[i].co->timer_index != i)
            return false;
    }
    return true;
}

} // namespace corun
