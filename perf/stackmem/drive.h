// SPDX-License-Identifier: Apache-2.0
/*
 * drive.h - one measurement, the same for coroutines, threads and contexts: make them all, read what
 * they hold, switch among them in three orders, end them.
 *
 *     struct subject {                     // what drive() asks of a kind
 *         int make(long i);                // made and run until it is suspended; 0 or an errno value
 *         void made_until(long n);         // all of [0, n) are suspended when it returns
 *         void activate(long i);           // it runs, and is suspended again
 *         void end(long from, long to);    // they run to their end and are freed
 *         long damaged();                  // live bytes that were found changed, after all have ended
 *         void read(measurement *m);       // what only the kind knows: saved bytes, control block
 *     };
 *
 * Rules
 *  - Times are medians of rounds. A round of activations goes on where the one before it stopped, so
 *    that each of many is as cold as it is among many.
 *  - What the measurement itself needs is there before the first reading.
 */
#ifndef CORUN_PERF_STACKMEM_DRIVE_H
#define CORUN_PERF_STACKMEM_DRIVE_H

#include "perf/memory.h"
#include "perf/process.h"
#include "perf/stackmem/limits.h"

#include <algorithm>

namespace stackmem {

// Memory that is there before the first reading, so that it is not counted.
template <typename T> T *prepared_array(long count) {
    size_t bytes = static_cast<size_t>(count + 1) * sizeof(T);
    void *array = malloc(bytes);
    if (array != nullptr)
        memset(array, 1, bytes);
    return static_cast<T *>(array);
}

class rounds {
  public:
    void add(uint64_t start_ns, long n) {
        if (n > 0 && used_ < most)
            ns_[used_++] = static_cast<double>(perf::now_ns() - start_ns) / static_cast<double>(n);
    }
    double median() {
        std::sort(ns_, ns_ + used_);
        return used_ == 0       ? -1
               : used_ % 2 == 1 ? ns_[used_ / 2]
                                : (ns_[used_ / 2 - 1] + ns_[used_ / 2]) / 2;
    }

  private:
    static constexpr int most = 32;
    double ns_[most] = {};
    int used_ = 0;
};

struct reading {
    perf::process_memory process{};
    perf::machine_memory machine{};
    void take() {
        perf::read_machine_memory(&machine);
        perf::read_process_memory(getpid(), &process);
    }
};

inline constexpr long parts = 20; // of making and ending: rounds, and steps of the progress bar

template <typename S>
double switch_rounds(S &s, const uint32_t *order, long n, const plan &p, measurement *m) {
    long each = p.quick ? 2000 : 20000;
    int all = p.quick ? 3 : 7;
    rounds r;
    long at = 0;
    for (int round = 0; round < all; round++) {
        uint64_t start = perf::now_ns();
        for (long i = 0; i < each; i++) {
            s.activate(order == nullptr ? at : static_cast<long>(order[at]));
            at = at + 1 == n ? 0 : at + 1;
        }
        r.add(start, each);
        m->done = (round + 1) * n / all;
    }
    return r.median();
}

// A shuffle that is the same in each run.
inline void shuffle(uint32_t *order, long n) {
    uint64_t state = 88172645463325252u;
    for (long i = 0; i < n; i++)
        order[i] = static_cast<uint32_t>(i);
    for (long i = n - 1; i > 0; i--) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        std::swap(order[i], order[state % static_cast<uint64_t>(i + 1)]);
    }
}

template <typename S> int make_all(S &s, long count, measurement *m) {
    rounds r;
    int error = 0;
    for (long part = 0; part < parts && error == 0; part++) {
        long to = count * (part + 1) / parts, from = m->made;
        uint64_t start = perf::now_ns();
        while (m->made < to && (error = s.make(m->made)) == 0)
            m->done = ++m->made;
        s.made_until(m->made);
        r.add(start, m->made - from);
    }
    m->create_ns = r.median();
    return error;
}

template <typename S> void end_all(S &s, measurement *m) {
    rounds r;
    m->now = phase::ending;
    for (long part = 0; part < parts; part++) {
        long from = m->made * part / parts, to = m->made * (part + 1) / parts;
        uint64_t start = perf::now_ns();
        s.end(from, to);
        r.add(start, to - from);
        m->done = to;
    }
    m->end_ns = r.median();
}

// `c.count` at most. A kind's constructor has made what is not to be counted.
template <typename S> void drive(S &s, const plan &p, const ceiling &c, measurement *m) {
    m->create_ns = m->two_ns = m->order_ns = m->shuffled_ns = m->end_ns = -1;
    uint32_t *order = prepared_array<uint32_t>(c.count);
    // Given back when something fails: what says why needs a little room.
    constexpr size_t reserved = 4 * 1024 * 1024;
    void *reserve = malloc(reserved);
    if (order == nullptr || reserve == nullptr) {
        say_why(p, ENOMEM, c, m);
        m->complete = true;
        return;
    }
    reading before, after;
    before.take();
    int error = make_all(s, c.count, m);
    free(reserve);
    after.take();
    m->rss = after.process.rss_bytes - before.process.rss_bytes;
    m->page_tables = after.process.page_table_bytes - before.process.page_table_bytes;
    m->kernel_stacks = after.process.kernel_stack_bytes - before.process.kernel_stack_bytes;
    m->virtual_bytes = after.process.virtual_bytes - before.process.virtual_bytes + reserved;
    m->slab = after.machine.slab_bytes - before.machine.slab_bytes;
    s.read(m);
    say_why(p, error, c, m);
    if (m->made > 0) {
        m->now = phase::two_at_a_time;
        m->two_ns = switch_rounds(s, nullptr, std::min<long>(2, m->made), p, m);
        m->now = phase::in_order;
        m->order_ns = switch_rounds(s, nullptr, m->made, p, m);
        m->now = phase::shuffled;
        shuffle(order, m->made);
        m->shuffled_ns = switch_rounds(s, order, m->made, p, m);
        end_all(s, m);
    }
    m->damaged = s.damaged();
    m->now = phase::over;
    m->complete = true;
}

} // namespace stackmem

#endif
