// SPDX-License-Identifier: Apache-2.0
/*
 * latency.h - a histogram of durations with a fixed relative error, for the load generator.
 *
 *     perf::latency_histogram h;
 *     h.add(nanoseconds);
 *     h.quantile(0.99);
 *
 * Rules
 *  - Every power of two is cut into 128 equal buckets, so a quantile is at most 0.8 % too large and
 *    never too small. Adding is a shift and an increment; nothing is allocated after construction.
 *  - Not for several threads at once.
 */
#ifndef CORUN_PERF_LATENCY_H
#define CORUN_PERF_LATENCY_H

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace perf {

class latency_histogram {
  public:
    latency_histogram() : counts_(buckets, 0) {}

    void add(uint64_t ns) {
        counts_[bucket_of(ns)]++;
        total_++;
        if (ns > max_)
            max_ = ns;
    }

    void clear() {
        counts_.assign(buckets, 0);
        total_ = 0;
        max_ = 0;
    }

    uint64_t count() const { return total_; }
    uint64_t max() const { return max_; }

    // The smallest bucket end that at least q of all values lie at or below; 0 when there is none.
    uint64_t quantile(double q) const {
        if (total_ == 0)
            return 0;
        auto wanted = static_cast<uint64_t>(q * static_cast<double>(total_));
        if (wanted < 1)
            wanted = 1;
        uint64_t seen = 0;
        for (size_t i = 0; i < buckets; i++) {
            seen += counts_[i];
            if (seen >= wanted) {
                uint64_t end = bucket_end(i);
                return end < max_ ? end : max_;
            }
        }
        return max_;
    }

  private:
    static constexpr unsigned sub_bits = 7;
    static constexpr size_t sub = size_t{1} << sub_bits;
    static constexpr size_t buckets = sub * (64 - sub_bits + 1);

    // Values below 128 have a bucket each; above, the leading one bit chooses the row and the seven
    // bits after it the column.
    static size_t bucket_of(uint64_t ns) {
        if (ns < sub)
            return static_cast<size_t>(ns);
        unsigned shift = static_cast<unsigned>(std::bit_width(ns)) - 1 - sub_bits;
        return (shift + 1) * sub + static_cast<size_t>((ns >> shift) - sub);
    }

    static uint64_t bucket_end(size_t i) {
        if (i < sub)
            return i;
        auto shift = static_cast<unsigned>(i / sub - 1);
        return ((static_cast<uint64_t>(i % sub) + sub + 1) << shift) - 1;
    }

    std::vector<uint64_t> counts_;
    uint64_t total_ = 0;
    uint64_t max_ = 0;
};

} // namespace perf

#endif
