// SPDX-License-Identifier: Apache-2.0
/*
 * demo - what `make demo` runs: ten thousand TCP connections against three echo servers in turn, each
 * sending random payloads and checking every byte that comes back.
 *
 *     demo [--connections N] [--seconds T]       10,000 connections, 10 s for each server
 *
 * The servers: example/echo_server with private stacks, the same with shared stacks, and
 * perf/echo_pthread, the same blocking code with a thread for each connection. The server runs on one
 * core, the load on another where there is one. At the end, one table.
 *
 * Memory is the server's, read from outside while all connections are at work, less what it was
 * before the first connection, divided by the connections. RSS, page tables and kernel stacks are
 * apart because each hides in a different place: top shows the first only.
 *
 * Ends with 0 only when there was no wrong byte and no error.
 */
#include "perf/contender.h"
#include "perf/memory.h"
#include "perf/process.h"

#include <functional>

namespace {

volatile sig_atomic_t interrupted;

void on_signal(int) { interrupted = 1; }

struct settings {
    long connections = 10000;
    long seconds = 10;
    int server_cpu = 0, load_cpu = 0;
};

struct plan {
    const char *title;
    std::vector<std::string> command;
    bool may_refuse; // fewer connections are said in the table and are no error
};

struct outcome {
    std::string result; // echo_load's line of key=value; empty: there is none
    std::string problem;
    perf::process_memory idle = {}, busy = {};
    perf::machine_memory machine_idle = {}, machine_busy = {};
    bool measured = false;

    double real(const char *key) const {
        return strtod(perf::line_value(result, key).c_str(), nullptr);
    }
    int64_t number(const char *key) const { return static_cast<int64_t>(real(key)); }
};

std::string count_of(const std::string &line, const char *key) {
    return perf::with_commas(strtoll(perf::line_value(line, key).c_str(), nullptr, 10));
}

void show_progress(const char *title, const std::string &line, const settings &s, bool tty) {
    static uint64_t next_ns;
    if (!tty && perf::now_ns() < next_ns)
        return;
    next_ns = perf::now_ns() + 2000000000u;
    printf("%s%-21s %4.1f of %ld s  %6s connections  %7s req/s  %13s bytes verified  %s errors%s",
           tty ? "\r" : "", title, strtod(perf::line_value(line, "elapsed").c_str(), nullptr),
           s.seconds, count_of(line, "connected").c_str(), count_of(line, "req_per_s").c_str(),
           count_of(line, "bytes").c_str(), count_of(line, "errors").c_str(), tty ? " " : "\n");
    fflush(stdout);
}

outcome run_one(const plan &p, const settings &s, long setup_seconds, bool tty) {
    outcome o;
    perf::contender c;
    if (!c.start_server(p.command, s.server_cpu)) {
        o.problem = c.problem();
        return o;
    }
    poll(nullptr, 0, 50); // until it stands in accept
    perf::read_process_memory(c.server_pid(), &o.idle);
    perf::read_machine_memory(&o.machine_idle);
    std::vector<std::string> options = {"--connections",   std::to_string(s.connections),
                                        "--seconds",       std::to_string(s.seconds),
                                        "--setup-timeout", std::to_string(setup_seconds)};
    if (p.may_refuse)
        options.push_back("--allow-fewer");
    if (!c.start_load(options, s.load_cpu)) {
        o.problem = c.problem();
        return o;
    }
    uint64_t give_up =
        perf::now_ns() + static_cast<uint64_t>(s.seconds + setup_seconds + 8) * 1000000000u;
    std::string line;
    while (o.result.empty() && !interrupted && perf::now_ns() < give_up && c.next_line(&line)) {
        if (line.rfind("progress ", 0) == 0) {
            show_progress(p.title, line, s, tty);
            double elapsed = strtod(perf::line_value(line, "elapsed").c_str(), nullptr);
            if (!o.measured && elapsed > 0.6 * static_cast<double>(s.seconds)) {
                perf::read_machine_memory(&o.machine_busy);
                o.measured = perf::read_process_memory(c.server_pid(), &o.busy);
            }
        } else if (line.rfind("result ", 0) == 0) {
            o.result = line;
        }
    }
    if (tty)
        printf("\n");
    if (interrupted) {
        c.stop();
        return o;
    }
    c.finish();
    o.problem = c.problem();
    if (o.problem.empty() && (o.result.empty() || !o.measured))
        o.problem = "no result";
    return o;
}

using cell = std::function<std::string(const outcome &)>;

void print_row(const char *label, const std::vector<outcome> &all, const cell &of) {
    printf("%-34s", label);
    for (const outcome &o : all)
        printf(" %21s", o.result.empty() ? "-" : of(o).c_str());
    printf("\n");
}

std::string decimal(double value) {
    char text[32];
    snprintf(text, sizeof text, "%.1f", value);
    return text;
}

// (busy - idle) / connections of one kind of memory.
cell each(const std::function<int64_t(const outcome &)> &grown) {
    return [grown](const outcome &o) -> std::string {
        int64_t n = o.number("connections");
        return n == 0 || !o.measured ? "-" : perf::with_commas((grown(o) + n / 2) / n);
    };
}

void print_memory_rows(const std::vector<outcome> &all) {
    printf("bytes of memory per connection\n");
    print_row("  RSS", all,
              each([](const outcome &o) { return o.busy.rss_bytes - o.idle.rss_bytes; }));
    print_row("  page tables", all, each([](const outcome &o) {
                  return o.busy.page_table_bytes - o.idle.page_table_bytes;
              }));
    print_row("  kernel stacks", all, each([](const outcome &o) {
                  return o.busy.kernel_stack_bytes - o.idle.kernel_stack_bytes;
              }));
    print_row("  together", all,
              each([](const outcome &o) { return o.busy.together() - o.idle.together(); }));
    print_row("  kernel slab, whole machine *", all, each([](const outcome &o) {
                  return o.machine_busy.slab_bytes - o.machine_idle.slab_bytes;
              }));
}

void print_table(const std::vector<plan> &plans, const std::vector<outcome> &all,
                 const settings &s) {
    printf(
        "\n%s connections, %ld s each, random payloads of 1 to 1,024 bytes, all at work at once\n",
        perf::with_commas(s.connections).c_str(), s.seconds);
    printf("server on core %d, load on core %d\n\n%-34s", s.server_cpu, s.load_cpu, "");
    for (const plan &p : plans)
        printf(" %21s", p.title);
    printf("\n");
    auto count = [](const char *key) {
        return [key](const outcome &o) { return perf::with_commas(o.number(key)); };
    };
    auto ms = [](const char *key) {
        return [key](const outcome &o) { return decimal(o.real(key) / 1e3); };
    };
    print_row("connections", all, count("connections"));
    print_row("requests/s", all, count("req_per_s"));
    print_row("latency p50, ms", all, ms("p50_us"));
    print_row("latency p99, ms", all, ms("p99_us"));
    print_memory_rows(all);
    print_row("bytes verified", all, count("bytes_verified"));
    print_row("wrong bytes", all, count("wrong_bytes"));
    print_row("errors", all, count("errors"));
    printf(
        "\n* sockets of both ends, tasks, VMAs; the kernel has no account of these by process\n");
}

// 0 when all is well; says on stderr what is not.
int judge(const std::vector<plan> &plans, const std::vector<outcome> &all, const settings &s) {
    int bad = 0;
    for (size_t i = 0; i < all.size(); i++) {
        const outcome &o = all[i];
        int64_t wrong = o.number("wrong_bytes"), errors = o.number("errors");
        if (!o.result.empty() && o.number("refused") > 0)
            printf(
                "%s: only %s of %s connections; the server refused the others, or was too slow\n",
                plans[i].title, perf::with_commas(o.number("connections")).c_str(),
                perf::with_commas(s.connections).c_str());
        if (o.problem.empty() && wrong == 0 && errors == 0)
            continue;
        bad = 1;
        fprintf(stderr, "demo: %s: %s wrong bytes, %s errors%s%s\n", plans[i].title,
                perf::with_commas(wrong).c_str(), perf::with_commas(errors).c_str(),
                o.problem.empty() ? "" : "; ", o.problem.c_str());
    }
    return bad;
}

settings prepare(int argc, char **argv) {
    settings s;
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : nullptr;
        if (strcmp(argv[i], "--connections") == 0) {
            s.connections = perf::parse_number(argv[i], value, 1, 1000000);
        } else if (strcmp(argv[i], "--seconds") == 0) {
            s.seconds = perf::parse_number(argv[i], value, 1, 3600);
        } else {
            fprintf(stderr, "usage: demo [--connections N] [--seconds T]\n");
            exit(2);
        }
    }
    constexpr long besides = 100; // descriptors that are no connections
    auto limit = static_cast<long>(std::min<uint64_t>(
        perf::raise_fd_limit(static_cast<uint64_t>(s.connections + besides)), 1u << 30));
    if (limit < s.connections + besides) {
        long fewer = limit - besides;
        fprintf(stderr,
                "demo: ******** ONLY %ld CONNECTIONS INSTEAD OF %ld ********\n"
                "demo: the limit of open files is %ld (ulimit -Hn); %ld are needed\n",
                fewer > 0 ? fewer : 0, s.connections, limit, s.connections + besides);
        if (fewer < 1)
            exit(2);
        s.connections = fewer;
    }
    std::vector<int> cpus = perf::usable_cpus();
    s.server_cpu = cpus[0];
    s.load_cpu = cpus.size() > 1 ? cpus[1] : cpus[0];
    return s;
}

} // namespace

int main(int argc, char **argv) {
    settings s = prepare(argc, argv);
    struct sigaction action = {};
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);

    std::string here = perf::own_directory(), echo_server = here + "/../example/echo_server";
    std::vector<plan> plans = {
        {"private stacks", {echo_server, "0", "private"}, false},
        {"shared stacks", {echo_server, "0", "shared"}, false},
        {"thread per connection", {here + "/echo_pthread", "0"}, true},
    };
    bool tty = isatty(STDOUT_FILENO) != 0;
    std::vector<outcome> all;
    // A minute for three servers of 10 s: what connecting may take is what the others leave of it.
    uint64_t start_ns = perf::now_ns();
    long budget = static_cast<long>(plans.size()) * (s.seconds + 9);
    for (const plan &p : plans) {
        long left = static_cast<long>(plans.size() - all.size());
        long used = static_cast<long>((perf::now_ns() - start_ns) / 1000000000u);
        all.push_back(run_one(p, s, std::max(5L, budget - used - left * (s.seconds + 1)), tty));
        if (interrupted) {
            fprintf(stderr, "demo: interrupted\n");
            return 130;
        }
    }
    print_table(plans, all, s);
    return judge(plans, all, s);
}
