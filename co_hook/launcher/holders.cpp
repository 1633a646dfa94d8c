// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/threads.h"

#include "co_hook/waist/holders.h"

#include <algorithm>
#include <sys/syscall.h>

namespace corun::launcher {

namespace {

// The row of that number; nullptr: it is no thread's.
thread_row *row_of(const thread_list &list, int tid) {
    thread_row *end = list.rows + list.count;
    thread_row *r = std::lower_bound(
        list.rows, end, tid, [](const thread_row &row, int number) { return row.tid < number; });
    return r != end && r->tid == tid ? r : nullptr;
}

thread_row *next(const thread_list &list, const thread_row *r) {
    bool waits = !r->has_limit && r->holder != 0 && r->holder != r->tid;
    return waits ? row_of(list, r->holder) : nullptr;
}

} // namespace

void read_holder(const attached &p, const waist::thread &t, thread_row *r) {
    waist::frame f{};
    waist::mutex_words m{};
    if (t.call_nr != SYS_futex || t.at_call == nullptr || !read_memory(p, t.at_call, &f, sizeof f))
        return;
    const waist::futex_wait w(f);
    if (read_memory(p, reinterpret_cast<const void *>(w.at), &m, sizeof m))
        r->holder = waist::holder_in(w, m);
    if (r->holder == 0 && w.is_plain() && m.lock == w.value) {
        r->holder = static_cast<int>(w.value);
        r->joins = true;
    }
}

void find_deadlocks(const thread_list &list) {
    for (size_t i = 0; i < list.count; i++) {
        thread_row &r = list.rows[i];
        const thread_row *holder = row_of(list, r.holder);
        if (holder == nullptr || (r.joins && holder->ends_at != r.object)) {
            r.holder = 0;
            r.joins = false;
        }
    }
    // Each way is followed until it comes to where one was: that was this walk, so it is a cycle, or an earlier one.
    for (size_t i = 0; i < list.count; i++) {
        thread_row *r = &list.rows[i];
        for (; r != nullptr && r->walk == 0; r = next(list, r))
            r->walk = i + 1;
        for (; r != nullptr && r->walk == i + 1 && !r->is_deadlocked; r = next(list, r))
            r->is_deadlocked = true;
    }
}

} // namespace corun::launcher
