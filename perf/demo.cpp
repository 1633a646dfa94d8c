// SPDX-License-Identifier: Apache-2.0
/*
 * demo - what `make demo` runs: example/legacy_server, a program of threads and blocking calls that
 * knows nothing of corun, under the same load three times: natively on all cores, natively on one
 * core, and under corun on one core. 5,000 connections each; every byte of every answer is checked.
 *
 *     demo [--connections N] [--seconds T]            5,000 connections, 10 s for each
 *
 * Each connection stores a random text under a key of its own, and asks for it back. On one core, the
 * server is on the first one and the load on the second; on all cores, both are where the kernel likes.
 * At the end, one table (demo_run.h), and when not to use corun.
 *
 * Ends with 0 only when there was no wrong byte and no error, and corun ran.
 */
#include "perf/demo_run.h"

namespace {

constexpr char advice[] =
    "When not to use corun: where native threads on all cores do more requests/s, and those "
    "count;\n"
    "for programs that compute on many cores (under corun they have one), that fork a process for\n"
    "each connection (only threads become coroutines), or that wait by spinning without a system\n"
    "call (each such wait lasts until the thread is preempted, after 10 to 20 ms). `corun --check\n"
    "PROGRAM` says what it knows of a program.\n";

// A sentence for whom a table is too much.
void print_comparison(const char *with, const perf::demo_outcome &native,
                      const perf::demo_outcome &corun) {
    double requests = native.real("req_per_s"), p99 = native.real("p99_us");
    auto memory = static_cast<double>(native.busy.together() - native.idle.together());
    if (requests <= 0 || p99 <= 0 || memory <= 0 || !native.measured || !corun.measured)
        return;
    printf("corun on one core against native threads on %s: %.2fx requests/s, %.2fx p99, "
           "%.2fx memory\n",
           with, corun.real("req_per_s") / requests, corun.real("p99_us") / p99,
           static_cast<double>(corun.busy.together() - corun.idle.together()) / memory);
}

} // namespace

int main(int argc, char **argv) {
    perf::demo_settings s = perf::parse_demo(argc, argv, 5000);
    std::vector<int> cpus = perf::usable_cpus();
    int server = cpus[0], load = cpus.size() > 1 ? cpus[1] : cpus[0];
    std::string here = perf::own_directory(), legacy = here + "/../example/legacy_server";
    std::string all_cores =
        "native, " + std::to_string(cpus.size()) + (cpus.size() == 1 ? " core" : " cores");
    const std::vector<std::string> table = {"--protocol", "table"};
    std::vector<perf::demo_plan> plans = {
        {all_cores.c_str(), {legacy, "--port", "0"}, -1, -1, true, table},
        {"native, one core", {legacy, "--port", "0"}, server, load, true, table},
        {"corun, one core",
         {here + "/../corun", legacy, "--port", "0"},
         server,
         load,
         false,
         table},
    };
    perf::demo_outcomes all = perf::run_demo(plans, s);
    if (all.size() < plans.size())
        return 130;
    printf("\n%s connections, %ld s each, texts of 1 to 1,024 bytes stored and fetched in turn, "
           "all at "
           "work at once\n",
           perf::with_commas(s.connections).c_str(), s.seconds);
    printf("on one core: server on core %d, load on core %d\n\n", server, load);
    perf::print_titles(plans);
    perf::print_row("connections", all, perf::count_cell("connections"));
    perf::print_row("requests/s", all, perf::count_cell("req_per_s"));
    perf::print_row("latency p50, ms", all, perf::ms_cell("p50_us"));
    perf::print_row("latency p99, ms", all, perf::ms_cell("p99_us"));
    perf::print_row("threads (/proc/PID/status)", all, [](const perf::demo_outcome &o) {
        return o.measured ? perf::with_commas(o.busy.threads) : "-";
    });
    perf::print_memory_rows(all);
    perf::print_checks(all);
    print_comparison("one core", all[1], all[2]);
    if (cpus.size() > 1)
        print_comparison((std::to_string(cpus.size()) + ", which the load shares").c_str(), all[0],
                         all[2]);
    printf("\n%s", advice);
    return perf::judge(plans, all, s);
}
