// SPDX-License-Identifier: Apache-2.0
/*
 * bench.h - what every benchmark of perf/ shares: time, fairness, a table, the environment.
 *
 *     #include "perf/bench.h"
 *
 *     int main() {
 *         bench::pin_to_cpu();
 *         bench::print_environment();
 *         bench::table t("ns per one-way switch");
 *         t.add("plain call", 1000000, [](uint64_t n) { for (...; n--) ...; });   // n operations
 *         t.add("coctx_swap", 1000000, ping_pong, ping_pong_state);
 *         t.run();                              // measures; prints
 *         if (t.median("coctx_swap") > ...)     // ns per operation, for checks
 *     }
 *
 * Rules
 *  - Rows of one table are compared with each other, so they are measured interleaved: every round
 *    runs each row once, in rotating order. A slow moment of the machine then hits all of them.
 *  - A round is one call of a row's function with the row's n. Choose n so that it takes 1 to 50 ms.
 *  - Reported: the median over the rounds, the spread (first to third quartile, in percent of the
 *    median) and the ratio of medians to the first row marked as baseline.
 *  - Instructions are counted in user space, by perf_event_open, in rounds of their own. Where the
 *    machine has no counter (many virtual ones), the column is absent and the environment says so.
 *  - x86 only, as co_ctx is. One thread.
 */
#ifndef CORUN_PERF_BENCH_H
#define CORUN_PERF_BENCH_H

#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <linux/perf_event.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

namespace bench {

/* ---- Time ------------------------------------------------------------------------------------ */

inline uint64_t now_ns() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1000000000u + static_cast<uint64_t>(t.tv_nsec);
}

// Ordered both ways against the instructions around it. Ticks of a constant clock, not cycles.
inline uint64_t tsc() {
    unsigned aux;
    uint64_t t = __rdtscp(&aux);
    _mm_lfence();
    return t;
}

inline double tsc_ghz() {
    static const double ghz = [] {
        const uint64_t ns0 = now_ns(), t0 = tsc();
        while (now_ns() - ns0 < 20000000) {
        }
        const uint64_t t1 = tsc(), ns1 = now_ns();
        return static_cast<double>(t1 - t0) / static_cast<double>(ns1 - ns0);
    }();
    return ghz;
}

/* ---- Keeping the compiler honest --------------------------------------------------------------- */

// The value is needed, says this to the optimiser, and all memory may have changed.
template <class T> inline void keep(T const &value) { asm volatile("" : : "m"(value) : "memory"); }
inline void clobber_memory() { asm volatile("" : : : "memory"); }

/* ---- The machine ------------------------------------------------------------------------------- */

// Keeps the process on one CPU: by default the last it may use, as the first serves most interrupts.
// Returns the CPU, or -1 when it was not allowed; then the numbers are noisier and still valid.
inline int pin_to_cpu(int cpu = -1) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return -1;
    for (int i = CPU_SETSIZE - 1; cpu < 0 && i >= 0; i--) {
        if (CPU_ISSET(i, &set))
            cpu = i;
    }
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0 ? cpu : -1;
}

// Counts this process's user-space instructions, where the machine lets it.
class instruction_counter {
  public:
    instruction_counter() {
        perf_event_attr attr;
        memset(&attr, 0, sizeof attr);
        attr.size = sizeof attr;
        attr.type = PERF_TYPE_HARDWARE;
        attr.config = PERF_COUNT_HW_INSTRUCTIONS;
        attr.disabled = 1;
        attr.exclude_kernel = 1;
        attr.exclude_hv = 1;
        fd_ = static_cast<int>(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
    }
    ~instruction_counter() {
        if (fd_ >= 0)
            close(fd_);
    }
    instruction_counter(const instruction_counter &) = delete;
    instruction_counter &operator=(const instruction_counter &) = delete;

    bool available() const { return fd_ >= 0; }
    void start() {
        ioctl(fd_, PERF_EVENT_IOC_RESET, 0);
        ioctl(fd_, PERF_EVENT_IOC_ENABLE, 0);
    }
    uint64_t stop() {
        uint64_t count = 0;
        ioctl(fd_, PERF_EVENT_IOC_DISABLE, 0);
        return read(fd_, &count, sizeof count) == sizeof count ? count : 0;
    }

  private:
    int fd_;
};

inline std::string cpu_model() {
    std::string model = "unknown CPU";
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[512];
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (colon && strncmp(line, "model name", 10) == 0) {
            model.assign(colon + 2, strcspn(colon + 2, "\n"));
            break;
        }
    }
    if (f)
        fclose(f);
    return model;
}

inline void print_environment(FILE *out = stdout) {
    utsname u;
    uname(&u);
    fprintf(out, "cpu       %s, %ld online, tsc %.2f GHz\n", cpu_model().c_str(),
            sysconf(_SC_NPROCESSORS_ONLN), tsc_ghz());
    fprintf(out, "kernel    %s %s\n", u.sysname, u.release);
#if defined(__clang__)
    fprintf(out, "compiler  clang %s", __clang_version__);
#else
    fprintf(out, "compiler  gcc %s", __VERSION__);
#endif
    fprintf(out, ", %zu-bit%s\n", sizeof(void *) * 8,
#if defined(__OPTIMIZE__)
            ", optimised"
#else
            ", NOT optimised: the numbers mean nothing"
#endif
    );
    fprintf(out, "counters  %s\n",
            instruction_counter().available() ? "perf_event_open: user-space instructions"
                                              : "none (perf_event_open has no hardware events "
                                                "here): no instruction column");
}

/* ---- Statistics -------------------------------------------------------------------------------- */

struct summary {
    double median = 0;
    double q1 = 0, q3 = 0;
    double lowest = 0;
    double spread_percent() const { return median > 0 ? (q3 - q1) / median * 100 : 0; }
};

inline summary summarise(std::vector<double> v) {
    summary s;
    if (v.empty())
        return s;
    std::sort(v.begin(), v.end());
    const auto at = [&v](double q) {
        const double pos = q * static_cast<double>(v.size() - 1);
        const size_t i = static_cast<size_t>(pos);
        const double next = v[std::min(i + 1, v.size() - 1)];
        return v[i] + (next - v[i]) * (pos - static_cast<double>(i));
    };
    s.lowest = v.front();
    s.q1 = at(0.25), s.median = at(0.5), s.q3 = at(0.75);
    return s;
}

/* ---- The table --------------------------------------------------------------------------------- */

class table {
  public:
    using body = std::function<void(uint64_t n)>;

    explicit table(std::string title) : title_(std::move(title)) {}

    // A row; the function is given n and does n operations, whatever the title says one is.
    table &add(std::string name, uint64_t n, body fn) {
        rows_.push_back(row{std::move(name), n, std::move(fn), {}, 0, {}});
        return *this;
    }

    // The row added last is what the ratio column compares to; without one: the first row.
    table &baseline() {
        baseline_ = rows_.size() - 1;
        return *this;
    }

    // One warm-up round, then `rounds` that count, then the print.
    void run(int rounds = 31, FILE *out = stdout) {
        measure(rounds);
        print(rounds, out);
    }

    void measure(int rounds) {
        for (row &r : rows_)
            r.fn(r.n);
        for (int round = 0; round < rounds; round++) {
            for (size_t i = 0; i < rows_.size(); i++) {
                row &r = rows_[(i + static_cast<size_t>(round)) % rows_.size()];
                const uint64_t start = now_ns();
                r.fn(r.n);
                r.samples.push_back(static_cast<double>(now_ns() - start) /
                                    static_cast<double>(r.n));
            }
        }
        instruction_counter counter;
        for (row &r : rows_) {
            r.stats = summarise(r.samples);
            if (!counter.available())
                continue;
            counter.start();
            r.fn(r.n);
            r.instructions = static_cast<double>(counter.stop()) / static_cast<double>(r.n);
        }
    }

    void print(int rounds, FILE *out = stdout) const {
        const bool counted = instruction_counter().available();
        fprintf(out, "\n%s (%d interleaved rounds)\n", title_.c_str(), rounds);
        fprintf(out, "  %-34s %10s %8s %8s %8s%s\n", "", "median", "spread", "lowest", "ratio",
                counted ? "   instr" : "");
        for (const row &r : rows_) {
            fprintf(out, "  %-34s %8.2fns %7.1f%% %8.2f %7.2fx", r.name.c_str(), r.stats.median,
                    r.stats.spread_percent(), r.stats.lowest,
                    r.stats.median / rows_[baseline_].stats.median);
            if (counted)
                fprintf(out, " %7.1f", r.instructions);
            fputc('\n', out);
        }
        fflush(out);
    }

    // ns per operation, after measure(). A name that is not there is a bug in the benchmark.
    double median(const char *name) const { return find(name).stats.median; }
    double instructions(const char *name) const { return find(name).instructions; }

  private:
    struct row {
        std::string name;
        uint64_t n;
        body fn;
        std::vector<double> samples;
        double instructions;
        summary stats;
    };

    const row &find(const char *name) const {
        for (const row &r : rows_) {
            if (r.name == name)
                return r;
        }
        fprintf(stderr, "bench: no row '%s' in '%s'\n", name, title_.c_str());
        abort();
    }

    std::string title_;
    std::vector<row> rows_;
    size_t baseline_ = 0;
};

} // namespace bench

#endif
