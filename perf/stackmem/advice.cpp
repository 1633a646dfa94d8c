// SPDX-License-Identifier: Apache-2.0
#include "perf/stackmem/advice.h"

#include "perf/process.h"
#include "perf/stackmem/live_bytes.h"
#include "perf/stackmem/measure.h"
#include "perf/stackmem/progress.h"
#include "perf/stackmem/stats_file.h"

#include <cmath>

namespace stackmem {
namespace {

// corun(1): twice the mark is not too much.
constexpr long room_to_spare = 2, least_stack = 16 * 1024, most_stack = 1024L * 1024 * 1024;
// The frames around the live bytes: the average has them in it.
constexpr long around = 256, least_live = 64;
constexpr int64_t measured_bytes = 256 * 1024 * 1024; // about, by the larger one of two

struct cost {
    kind what;
    double once, each; // bytes
    double switch_ns;  // of all shuffled
    double at(double count) const { return once + each * count; }
};

long advised_stack(const server_marks &s) {
    long bytes = std::max(
        {least_stack, s.deepest * room_to_spare, stack_needed({s.average, 1, touch::all})});
    return static_cast<long>(page_up(static_cast<size_t>(bytes)));
}

// Slab only where the kernel keeps much of each: elsewhere it is what others do meanwhile.
int64_t bytes_of(const plan &p, const measurement &m) {
    int64_t slab = p.what.how == way::thread ? std::max<int64_t>(0, m.slab) : 0;
    return m.rss + m.page_tables + m.kernel_stacks + slab;
}

bool measure_cost(const options &o, const kind &k, const server_marks &s, progress *bar,
                  cost *out) {
    long count =
        std::max(2L, std::min<long>(1000, static_cast<long>(measured_bytes / 2 / s.average)));
    double bytes[2];
    for (int i = 0; i < 2; i++) {
        plan p = {k,   count * (i + 1), std::max(least_live, s.average - around),
                  1,   touch::all,      o.stack_bytes,
                  true};
        measurement m = measure(p, [&](const measurement &now) { bar->at(p, now); });
        bar->next();
        if (!m.complete || m.damaged != 0 || m.made != p.count) {
            fprintf(stderr, "corun-stackmem: %s, %s x %ld bytes: %s; raise: %s\n", k.name,
                    perf::with_commas(p.count).c_str(), p.live_bytes,
                    m.damaged != 0 ? "live bytes were damaged" : m.stopped_by, m.raise);
            return false;
        }
        bytes[i] = static_cast<double>(bytes_of(p, m));
        out->switch_ns = m.shuffled_ns;
    }
    out->what = k;
    auto n = static_cast<double>(count);
    // Only shared stacks are there once for all.
    out->each =
        k.how == way::shared_stack ? std::max(0.0, (bytes[1] - bytes[0]) / n) : bytes[1] / n / 2;
    out->once = k.how == way::shared_stack ? std::max(0.0, bytes[0] - out->each * n) : 0;
    return true;
}

std::string size_of(double bytes) {
    const char *unit = "KiB";
    double value = bytes / 1024;
    for (const char *next : {"MiB", "GiB", "TiB"}) {
        if (value < 1000)
            break;
        value /= 1024;
        unit = next;
    }
    char text[40];
    snprintf(text, sizeof text, value < 10 ? "%.1f %s" : "%.0f %s", value, unit);
    return text;
}

// Whether this machine holds so many now, as far as can be known beforehand.
bool fits(const kind &k, const server_marks &s, long stack, long count) {
    plan p = {k, count, s.average, 1, touch::all, stack, true};
    return find_ceiling(p).count >= count && count <= most_by_mappings(p);
}

void print_marks(const options &o, const server_marks &s, bool average_known) {
    printf("%s: %ld table%s; threads at most: %s besides the first; stack used at most: %s bytes\n",
           o.from_stats.c_str(), s.tables, s.tables == 1 ? "" : "s",
           perf::with_commas(s.threads).c_str(), perf::with_commas(s.deepest).c_str());
    if (average_known)
        printf("stack used on average while they were there: %s bytes\n",
               perf::with_commas(s.average).c_str());
    else
        printf("No table is of a time when they were there (corun --stats-signal makes such), so "
               "the deepest\n"
               "counts as the average.\n");
}

void print_costs(const std::vector<cost> &all, const server_marks &s, long stack) {
    printf("\n%-12s %10s %12s %12s %12s %12s\n", "", "bytes",
           ("at " + perf::with_commas(s.threads)).c_str(), "at 10x", "at 100x", "switch, ns");
    bool starred = false;
    for (const cost &c : all) {
        printf("%-12s %10s", c.what.name, perf::with_commas(std::llround(c.each)).c_str());
        for (long times : {1, 10, 100}) {
            long count = s.threads * times;
            bool fit = fits(c.what, s, stack, count);
            starred = starred || !fit;
            printf(" %12s",
                   (size_of(c.at(static_cast<double>(count))) + (fit ? " " : "*")).c_str());
        }
        printf(" %12s\n", perf::with_commas(std::llround(c.switch_ns)).c_str());
    }
    if (starred)
        printf("* more than this machine takes now: of memory, process numbers or mappings\n");
    printf("\nBytes of each one more: RSS, page tables, kernel stacks, and slab of threads; "
           "measured just now.\n");
}

const cost *cheapest(const std::vector<cost> &all, way how, double count) {
    const cost *best = nullptr;
    for (const cost &c : all)
        if (c.what.how == how && (best == nullptr || c.at(count) < best->at(count)))
            best = &c;
    return best;
}

void print_advice(const std::vector<cost> &all, const server_marks &s, long stack) {
    std::string size = short_size(stack);
    printf("\nStack size: %s (corun --stack=%s): twice what was used at most, in whole pages, 16K "
           "at least.\n",
           size.c_str(), size.c_str());
    auto count = static_cast<double>(s.threads) * 10;
    const cost *own = cheapest(all, way::private_stack, count);
    const cost *shared = cheapest(all, way::shared_stack, count);
    if (own == nullptr || shared == nullptr)
        return;
    double saved = 1 - shared->at(count) / own->at(count);
    bool worth = saved >= 0.5;
    printf("Mode: %s. At 10x, %s takes %.0f%% %s memory than %s, and a switch %.0f ns instead of "
           "%.0f.\n",
           worth ? "shared stacks" : "private stacks", shared->what.name, std::fabs(saved) * 100,
           saved >= 0 ? "less" : "more", own->what.name, shared->switch_ns, own->switch_ns);
    printf("%s\n",
           worth
               ? "What is saved of a suspended one is what it has in use then, the average used at "
                 "most. Shared\n"
                 "stacks are for programs linked with corun that hand out no pointers to stack "
                 "variables."
               : "Shared stacks are advised where they save half of it: they copy at each switch.");
}

} // namespace

int advise(const options &o) {
    server_marks s;
    std::string wrong = read_stats_file(o.from_stats, &s);
    if (wrong.empty() && s.deepest > most_stack / room_to_spare)
        wrong = "twice the " + perf::with_commas(s.deepest) +
                " bytes that were used is more than a stack can have, 1G";
    if (!wrong.empty()) {
        fprintf(stderr, "corun-stackmem: --from-stats %s: %s\n", o.from_stats.c_str(),
                wrong.c_str());
        return 2;
    }
    bool average_known = s.average > 0;
    if (!average_known)
        s.average = s.deepest;
    options sized = o;
    sized.stack_bytes = advised_stack(s);
    print_marks(o, s, average_known);
    fflush(stdout);
    progress bar(static_cast<long>(o.chosen.size()) * 2);
    std::vector<cost> all;
    bool good = true;
    for (const kind &k : o.chosen) {
        cost c{};
        if (measure_cost(sized, k, s, &bar, &c))
            all.push_back(c);
        else
            good = false;
    }
    print_costs(all, s, sized.stack_bytes);
    print_advice(all, s, sized.stack_bytes);
    return good ? 0 : 1;
}

} // namespace stackmem
