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

const thread_row *next(const thread_list &list, const thread_row *r) {
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
    // Two that follow the same way, one of them twice as fast, meet in a cycle; then all of it is marked.
    for (size_t i = 0; i < list.count; i++) {
        const thread_row *slow = &list.rows[i], *fast = slow;
        while (fast != nullptr && !fast->is_deadlocked) {
            fast = next(list, fast);
            fast = fast == nullptr ? nullptr : next(list, fast);
            slow = next(list, slow);
            if (fast == nullptr || fast != slow || fast->is_deadlocked)
                continue;
            const thread_row *at = fast;
            do {
                list.rows[at - list.rows].is_deadlocked = true;
                at = next(list, at);
            } while (at != fast);
        }
    }
}

} // namespace corun::launcher
