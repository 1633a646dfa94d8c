// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/stretches.h"

#include "co_routine/base/check.h"
#include "co_routine/base/clock.h"
#include "co_routine/base/spinlock.h"

namespace corun {
namespace {

unsigned lock;
stretch kept[most_stretches]; // the longest first
unsigned count;

// Under the lock, as the next ones. Its place; count: it is not there.
unsigned place_of(uint64_t key) {
    unsigned i = 0;
    while (i < count && (key == 0 || kept[i].key != key))
        ++i;
    return i;
}

// One that has grown goes up.
void move_up(unsigned i) {
    for (; i > 0 && kept[i - 1].lasted_ns < kept[i].lasted_ns; --i) {
        stretch s = kept[i];
        kept[i] = kept[i - 1];
        kept[i - 1] = s;
    }
}

} // namespace

void keep_stretch(const stretch &s) {
    spin_guard guard(&lock);
    unsigned i = place_of(s.key);
    if (i == count && count < most_stretches)
        ++count;
    else if (i == count && kept[--i].lasted_ns >= s.lasted_ns)
        return;
    kept[i] = s;
    move_up(i);
}

bool is_minor_stretch(uint64_t key, int64_t lasted_ns) {
    spin_guard guard(&lock);
    unsigned i = place_of(key);
    if (i < count)
        return lasted_ns < kept[i].lasted_ns * 2;
    return count == most_stretches && lasted_ns <= kept[count - 1].lasted_ns;
}

void note_stretch_length(uint64_t key, int64_t lasted_ns, int64_t ended_ns) {
    spin_guard guard(&lock);
    unsigned i = place_of(key);
    if (i == count || kept[i].lasted_ns >= lasted_ns)
        return;
    kept[i].lasted_ns = lasted_ns;
    kept[i].ended_ns = ended_ns;
    move_up(i);
}

bool kept_stretch(unsigned i, stretch *out) {
    spin_guard guard(&lock);
    if (i >= count)
        return false;
    *out = kept[i];
    return true;
}

unsigned format_stretch(char *out, unsigned size, const stretch &s) {
    int64_t since = now_ns() - s.ended_ns;
    spoken_duration lasted = in_words(s.lasted_ns), ago = in_words(since > 0 ? since : 0);
    unsigned n =
        format_line(out, size, "%ld %s, %ld %s ago: %s, %s", static_cast<long>(lasted.count),
                    lasted.unit, static_cast<long>(ago.count), ago.unit, s.who, s.where);
    make_printable(out, n);
    return n;
}

void stretches_after_fork_in_child() {
    count = 0; // the parent's
    spin_release(&lock);
}

} // namespace corun
