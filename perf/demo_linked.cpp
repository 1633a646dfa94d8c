// SPDX-License-Identifier: Apache-2.0
/*
 * demo_linked - what `make demo-linked` runs: ten thousand TCP connections against three echo servers
 * in turn, each sending random payloads and checking every byte that comes back.
 *
 *     demo_linked [--connections N] [--seconds T]     10,000 connections, 10 s for each server
 *
 * The servers: example/echo_server with private stacks, the same with shared stacks, and
 * perf/echo_pthread, the same blocking code with a thread for each connection. The server runs on one
 * core, the load on another where there is one. At the end, one table (demo_run.h).
 *
 * Ends with 0 only when there was no wrong byte and no error.
 */
#include "perf/demo_run.h"

int main(int argc, char **argv) {
    perf::demo_settings s = perf::parse_demo(argc, argv, 10000);
    std::vector<int> cpus = perf::usable_cpus();
    int server = cpus[0], load = cpus.size() > 1 ? cpus[1] : cpus[0];
    std::string here = perf::own_directory(), echo_server = here + "/../example/echo_server";
    std::vector<perf::demo_plan> plans = {
        {"private stacks", {echo_server, "0", "private"}, server, load},
        {"shared stacks", {echo_server, "0", "shared"}, server, load},
        {"thread per connection", {here + "/echo_pthread", "0"}, server, load, true},
    };
    perf::demo_outcomes all = perf::run_demo(plans, s);
    if (all.size() < plans.size())
        return 130;
    printf(
        "\n%s connections, %ld s each, random payloads of 1 to 1,024 bytes, all at work at once\n",
        perf::with_commas(s.connections).c_str(), s.seconds);
    printf("server on core %d, load on core %d\n\n", server, load);
    perf::print_titles(plans);
    perf::print_row("connections", all, perf::count_cell("connections"));
    perf::print_row("requests/s", all, perf::count_cell("req_per_s"));
    perf::print_row("latency p50, ms", all, perf::ms_cell("p50_us"));
    perf::print_row("latency p99, ms", all, perf::ms_cell("p99_us"));
    perf::print_memory_rows(all);
    perf::print_checks(all);
    return perf::judge(plans, all, s);
}
