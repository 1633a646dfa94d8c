// SPDX-License-Identifier: Apache-2.0
/*
 * demo_run.h - what the two demo programs share: one server after the other under the same load, with
 * a live line, and a table with a column for each.
 *
 *     perf::demo_settings s = perf::parse_demo(argc, argv, 10000);
 *     std::vector<perf::demo_plan> plans = {{"mine", {"./server", "0"}, 0, 1}};
 *     perf::demo_outcomes all = perf::run_demo(plans, s);
 *     perf::print_row(...); perf::print_memory_rows(all);
 *     return perf::judge(plans, all, s);
 *
 * Memory is the server's, read from outside while all connections are at work, less what it was before
 * the first connection, divided by the connections. RSS, page tables and kernel stacks are apart
 * because each hides in a different place: top shows the first only.
 */
#ifndef CORUN_PERF_DEMO_RUN_H
#define CORUN_PERF_DEMO_RUN_H

#include "perf/contender.h"
#include "perf/memory.h"
#include "perf/process.h"

#include <functional>

namespace perf {

struct demo_settings {
    long connections = 10000;
    long seconds = 10;
};

struct demo_plan {
    const char *title;
    std::vector<std::string> command;
    int server_cpu, load_cpu; // -1: where the kernel likes
    bool may_refuse = false;  // fewer connections are said in the table and are no error
    std::vector<std::string> load_options = {};
};

struct demo_outcome {
    std::string result; // echo_load's line of key=value; empty: there is none
    std::string problem;
    process_memory idle = {}, busy = {};
    machine_memory machine_idle = {}, machine_busy = {};
    bool measured = false;

    double real(const char *key) const { return strtod(line_value(result, key).c_str(), nullptr); }
    int64_t number(const char *key) const { return static_cast<int64_t>(real(key)); }
};

using demo_outcomes = std::vector<demo_outcome>;
using demo_cell = std::function<std::string(const demo_outcome &)>;

inline volatile sig_atomic_t demo_interrupted;

inline void show_demo_progress(const char *title, const std::string &line, const demo_settings &s,
                               bool tty) {
    static uint64_t next_ns;
    if (!tty && now_ns() < next_ns)
        return;
    next_ns = now_ns() + 2000000000u;
    if (line_value(line, "phase") == "connecting") {
        printf("%s%-21s connecting: %s of %s%s", tty ? "\r" : "", title,
               with_commas(strtoll(line_value(line, "connected").c_str(), nullptr, 10)).c_str(),
               with_commas(s.connections).c_str(), tty ? " " : "\n");
        fflush(stdout);
        return;
    }
    auto count = [&line](const char *key) {
        return with_commas(strtoll(line_value(line, key).c_str(), nullptr, 10));
    };
    printf("%s%-21s %4.1f of %ld s  %6s connections  %7s req/s  %13s bytes verified  %s errors%s",
           tty ? "\r" : "", title, strtod(line_value(line, "elapsed").c_str(), nullptr), s.seconds,
           count("connected").c_str(), count("req_per_s").c_str(), count("bytes").c_str(),
           count("errors").c_str(), tty ? " " : "\n");
    fflush(stdout);
}

// Until the load has said its result, or is interrupted, or takes too long.
inline void follow_load(contender *c, const demo_plan &p, const demo_settings &s,
                        uint64_t give_up_ns, demo_outcome *o) {
    bool tty = isatty(STDOUT_FILENO) != 0;
    std::string line;
    while (o->result.empty() && !demo_interrupted && now_ns() < give_up_ns && c->next_line(&line)) {
        if (line.rfind("progress ", 0) == 0) {
            show_demo_progress(p.title, line, s, tty);
            double elapsed = strtod(line_value(line, "elapsed").c_str(), nullptr);
            if (!o->measured && elapsed > 0.6 * static_cast<double>(s.seconds)) {
                read_machine_memory(&o->machine_busy);
                o->measured = read_process_memory(c->server_pid(), &o->busy);
            }
        } else if (line.rfind("result ", 0) == 0) {
            o->result = line;
        }
    }
    if (tty)
        printf("\n");
}

inline demo_outcome run_plan(const demo_plan &p, const demo_settings &s, long setup_seconds) {
    demo_outcome o;
    contender c;
    if (!c.start_server(p.command, p.server_cpu)) {
        o.problem = c.problem();
        return o;
    }
    poll(nullptr, 0, 50); // until it stands in accept
    read_process_memory(c.server_pid(), &o.idle);
    read_machine_memory(&o.machine_idle);
    std::vector<std::string> options = {"--connections",   std::to_string(s.connections),
                                        "--seconds",       std::to_string(s.seconds),
                                        "--setup-timeout", std::to_string(setup_seconds)};
    options.insert(options.end(), p.load_options.begin(), p.load_options.end());
    if (p.may_refuse)
        options.push_back("--allow-fewer");
    if (!c.start_load(options, p.load_cpu)) {
        o.problem = c.problem();
        return o;
    }
    auto seconds = static_cast<uint64_t>(s.seconds + setup_seconds + 8);
    follow_load(&c, p, s, now_ns() + seconds * 1000000000u, &o);
    if (demo_interrupted) {
        c.stop();
        return o;
    }
    c.finish();
    o.problem = c.problem();
    if (o.problem.empty() && (o.result.empty() || !o.measured))
        o.problem = "no result";
    return o;
}

// All of them in turn; fewer outcomes than plans: it was interrupted.
inline demo_outcomes run_demo(const std::vector<demo_plan> &plans, const demo_settings &s) {
    struct sigaction action = {};
    action.sa_handler = [](int) { demo_interrupted = 1; };
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    demo_outcomes all;
    // A minute for three servers of 10 s: what connecting may take is what the others leave of it.
    uint64_t start_ns = now_ns();
    long budget = static_cast<long>(plans.size()) * (s.seconds + 9);
    for (const demo_plan &p : plans) {
        long left = static_cast<long>(plans.size() - all.size());
        long used = static_cast<long>((now_ns() - start_ns) / 1000000000u);
        demo_outcome o = run_plan(p, s, std::max(5L, budget - used - left * (s.seconds + 1)));
        if (demo_interrupted) {
            fprintf(stderr, "demo: interrupted\n");
            return all;
        }
        all.push_back(o);
    }
    return all;
}

inline void print_titles(const std::vector<demo_plan> &plans) {
    printf("%-34s", "");
    for (const demo_plan &p : plans)
        printf(" %21s", p.title);
    printf("\n");
}

inline void print_row(const char *label, const demo_outcomes &all, const demo_cell &of) {
    printf("%-34s", label);
    for (const demo_outcome &o : all)
        printf(" %21s", o.result.empty() ? "-" : of(o).c_str());
    printf("\n");
}

inline demo_cell count_cell(const char *key) {
    return [key](const demo_outcome &o) { return with_commas(o.number(key)); };
}

// Microseconds, shown in milliseconds.
inline demo_cell ms_cell(const char *key) {
    return [key](const demo_outcome &o) {
        char text[32];
        snprintf(text, sizeof text, "%.1f", o.real(key) / 1e3);
        return std::string(text);
    };
}

// (busy - idle) / connections of one kind of memory.
inline demo_cell each_cell(const std::function<int64_t(const demo_outcome &)> &grown) {
    return [grown](const demo_outcome &o) -> std::string {
        int64_t n = o.number("connections");
        return n == 0 || !o.measured ? "-" : with_commas((grown(o) + n / 2) / n);
    };
}

inline void print_memory_rows(const demo_outcomes &all) {
    auto grown = [](int64_t process_memory::*kind) {
        return [kind](const demo_outcome &o) { return o.busy.*kind - o.idle.*kind; };
    };
    printf("bytes of memory per connection\n");
    print_row("  RSS", all, each_cell(grown(&process_memory::rss_bytes)));
    print_row("  page tables", all, each_cell(grown(&process_memory::page_table_bytes)));
    print_row("  kernel stacks", all, each_cell(grown(&process_memory::kernel_stack_bytes)));
    print_row("  together", all, each_cell([](const demo_outcome &o) {
                  return o.busy.together() - o.idle.together();
              }));
    print_row("  kernel slab, whole machine *", all, each_cell([](const demo_outcome &o) {
                  return o.machine_busy.slab_bytes - o.machine_idle.slab_bytes;
              }));
}

inline void print_checks(const demo_outcomes &all) {
    print_row("bytes verified", all, count_cell("bytes_verified"));
    print_row("wrong bytes", all, count_cell("wrong_bytes"));
    print_row("errors", all, count_cell("errors"));
    printf(
        "\n* sockets of both ends, tasks, VMAs; the kernel has no account of these by process\n");
}

// 0 when all is well; says on stderr what is not.
inline int judge(const std::vector<demo_plan> &plans, const demo_outcomes &all,
                 const demo_settings &s) {
    int bad = 0;
    for (size_t i = 0; i < all.size(); i++) {
        const demo_outcome &o = all[i];
        int64_t wrong = o.number("wrong_bytes"), errors = o.number("errors");
        if (!o.result.empty() && o.number("refused") > 0)
            printf(
                "%s: only %s of %s connections; the server refused the others, or was too slow\n",
                plans[i].title, with_commas(o.number("connections")).c_str(),
                with_commas(s.connections).c_str());
        if (o.problem.empty() && wrong == 0 && errors == 0)
            continue;
        bad = 1;
        fprintf(stderr, "demo: %s: %s wrong bytes, %s errors%s%s\n", plans[i].title,
                with_commas(wrong).c_str(), with_commas(errors).c_str(),
                o.problem.empty() ? "" : "; ", o.problem.c_str());
    }
    return bad;
}

inline demo_settings parse_demo(int argc, char **argv, long connections) {
    demo_settings s;
    s.connections = connections;
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : nullptr;
        if (strcmp(argv[i], "--connections") == 0) {
            s.connections = parse_number(argv[i], value, 1, 1000000);
        } else if (strcmp(argv[i], "--seconds") == 0) {
            s.seconds = parse_number(argv[i], value, 1, 3600);
        } else {
            fprintf(stderr, "usage: %s [--connections N] [--seconds T]\n", argv[0]);
            exit(2);
        }
    }
    constexpr long besides = 100; // descriptors that are no connections
    auto limit = static_cast<long>(std::min<uint64_t>(
        raise_fd_limit(static_cast<uint64_t>(s.connections + besides)), 1u << 30));
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
    return s;
}

} // namespace perf

#endif
