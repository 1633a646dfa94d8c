// SPDX-License-Identifier: Apache-2.0
/*
 * corun-stackmem - what a suspended coroutine holds and costs, by kind of stack, beside a thread that
 * waits and beside ucontext. man/corun-stackmem.1 has the options.
 *
 * Each measurement is made by a child process of its own, which makes N of a kind, runs each until it
 * is suspended, and reads what it holds then, less what it held before. Then it switches among them,
 * and at the end each one checks that its live bytes are as it left them.
 */
#include "perf/process.h"
#include "perf/stackmem/advice.h"
#include "perf/stackmem/formats.h"
#include "perf/stackmem/measure.h"
#include "perf/stackmem/options.h"
#include "perf/stackmem/plot.h"
#include "perf/stackmem/progress.h"
#include "perf/stackmem/table.h"

using namespace stackmem;

namespace {

struct run {
    const options &o;
    progress bar;
    bool table;
    bool good = true;
    std::vector<result> results{};
};

// Returns whether more of the kind may fit.
bool measure_one(run *r, const plan &p) {
    measurement m = measure(p, [&](const measurement &now) { r->bar.at(p, now); });
    r->bar.next();
    r->results.push_back({p, m});
    if (r->table)
        print_row(p, m);
    fflush(stdout);
    if (!m.complete || m.damaged != 0) {
        r->good = false;
        fprintf(stderr, "corun-stackmem: %s, %s x %ld bytes: %s\n", p.what.name,
                perf::with_commas(p.count).c_str(), p.live_bytes,
                m.complete ? "live bytes were damaged" : m.stopped_by);
    }
    return m.complete && m.made == p.count;
}

void measure_group(run *r, long live) {
    if (r->table)
        print_group(r->o, live);
    for (const kind &k : r->o.chosen)
        for (size_t i = 0; i < r->o.counts.size(); i++) {
            plan p = {k,         r->o.counts[i], live, r->o.depth, r->o.touched, r->o.stack_bytes,
                      r->o.quick};
            if (measure_one(r, p))
                continue;
            r->bar.skip(static_cast<long>(r->o.counts.size() - i) - 1);
            break;
        }
}

// Files are opened before the measurements: they take long.
void check_files(const options &o) {
    for (const std::string &file : {o.csv, o.json}) {
        if (file.empty() || file == "-" || write_text(file, ""))
            continue;
        fprintf(stderr, "corun-stackmem: %s: %s; name a file that can be written\n", file.c_str(),
                strerror(errno));
        exit(2);
    }
    std::string wrong = o.plot.empty() ? "" : prepare_plots(o.plot);
    if (wrong.empty())
        return;
    fprintf(stderr, "corun-stackmem: --plot %s: %s\n", o.plot.c_str(), wrong.c_str());
    exit(2);
}

bool write_file(const std::string &file, const std::string &text) {
    if (file.empty() || write_text(file, text))
        return true;
    fprintf(stderr, "corun-stackmem: %s: %s\n", file.c_str(), strerror(errno));
    return false;
}

} // namespace

int main(int argc, char **argv) {
    options o = parse_options(argc, argv);
    if (!o.from_stats.empty())
        return advise(o);
    check_files(o);
    auto all = static_cast<long>(o.live.size() * o.chosen.size() * o.counts.size());
    run r = {o, progress(all), o.csv != "-" && o.json != "-"};
    if (r.table)
        print_explanation();
    for (long live : o.live)
        measure_group(&r, live);
    bool written = write_file(o.csv, as_csv(r.results));
    written = write_file(o.json, as_json(r.results)) && written;
    std::string wrong = o.plot.empty() ? "" : write_plots(o.plot, r.results);
    if (!wrong.empty()) {
        fprintf(stderr, "corun-stackmem: --plot %s: %s\n", o.plot.c_str(), wrong.c_str());
        written = false;
    }
    return r.good && written ? 0 : 1;
}
