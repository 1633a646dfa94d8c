// SPDX-License-Identifier: Apache-2.0
/*
 * echo_compare - corun's echo server (blocking code) beside a hand-written epoll loop: requests per
 * second, server CPU and system calls for each request.
 *
 *     echo_compare [--rounds R] [--seconds T] [--connections N[,N...]] [--size BYTES|MIN-MAX]
 *                  [--no-syscalls] [--check]
 *
 *     defaults: 5 rounds of 1.5 s after 0.3 s of warm-up, 100 and 1,000 connections, 64 bytes
 *     --check   ends with 1 when a target is missed (0.90x the requests per second at 1,000
 *               connections on one core, 2.1 system calls a request)
 *
 * Every round runs each server once, in rotating order, fresh each time; a ratio is the median of the
 * rounds' ratios, so that a slow moment of the machine hits both sides of it. "two cores": the server
 * has core 0, the load core 1; there the load generator may be what limits, and the server's CPU time
 * for each request (from /proc/PID/schedstat) is the sharper number. "one core": both on core 0.
 *
 * System calls are counted by strace -c over two runs of different length; the difference leaves out
 * start, accepting and closing.
 */
#include "perf/contender.h"
#include "perf/memory.h"
#include "perf/process.h"

#include <algorithm>
#include <map>

namespace {

volatile sig_atomic_t interrupted;

void on_signal(int) { interrupted = 1; }

struct settings {
    long rounds = 5;
    std::string seconds = "1.5", size = "64";
    std::vector<long> connections = {100, 1000};
    bool syscalls = true, check = false;
};

struct server {
    const char *name;
    std::vector<std::string> command;
};

struct sample {
    double req_per_s = 0, p50_us = 0, p99_us = 0, cpu_us = 0;
};

double value_of(const std::string &line, const char *key) {
    return strtod(perf::line_value(line, key).c_str(), nullptr);
}

[[noreturn]] void give_up(const server &s, const std::string &why) {
    fprintf(stderr, "echo_compare: %s: %s\n", s.name, why.c_str());
    exit(interrupted ? 130 : 1);
}

// Nanoseconds on the CPU of a process of one thread.
double cpu_ns(pid_t pid) {
    char path[64], text[128];
    snprintf(path, sizeof path, "/proc/%d/schedstat", static_cast<int>(pid));
    return perf::read_proc_file(path, text, sizeof text) ? strtod(text, nullptr) : 0;
}

// strace -c beside a process that runs already: it can be stopped without touching that process.
class call_counter {
  public:
    bool attach(pid_t pid, const std::string &path) {
        const char *columns = "time-percent,total-time,avg-time,calls,errors,name";
        if (!strace_.start({"strace", "-q", "-f", "-c", "-U", columns, "-o", path, "-I", "2", "-p",
                            std::to_string(pid)},
                           -1))
            return false;
        char status[64], text[4096];
        snprintf(status, sizeof status, "/proc/%d/status", static_cast<int>(pid));
        for (int i = 0; i < 500; i++) {
            if (perf::read_proc_file(status, text, sizeof text) &&
                perf::proc_field(text, "TracerPid") > 0)
                return true;
            poll(nullptr, 0, 10);
        }
        return false;
    }
    void detach() { strace_.stop(); }

  private:
    perf::child strace_;
};

// One server, one load, one result line. cpu_us, if not null: of the server, for each request.
// strace_output, if not empty: where the server's system calls are counted.
std::string run_once(const server &s, const std::vector<std::string> &load, int server_cpu,
                     int load_cpu, double *cpu_us, const std::string &strace_output = "") {
    perf::contender c;
    call_counter counter;
    if (!c.start_server(s.command, server_cpu))
        give_up(s, c.problem());
    if (!strace_output.empty() && !counter.attach(c.server_pid(), strace_output))
        give_up(s, "strace cannot attach");
    if (!c.start_load(load, load_cpu))
        give_up(s, c.problem());
    std::string line, result;
    double before = 0, after = 0;
    uint64_t deadline = perf::now_ns() + 120u * 1000000000u; // for a server that hangs
    while (result.empty() && !interrupted && perf::now_ns() < deadline && c.next_line(&line)) {
        if (line == "ready")
            before = cpu_ns(c.server_pid());
        if (line.rfind("result ", 0) == 0) {
            after = cpu_ns(c.server_pid());
            result = line;
        }
    }
    counter.detach();
    if (interrupted) {
        c.stop();
        give_up(s, "interrupted");
    }
    c.finish();
    if (!c.problem().empty() || result.empty())
        give_up(s, c.problem().empty() ? "no result" : c.problem());
    double requests = value_of(result, "requests_in_all");
    if (cpu_us != nullptr && requests > 0)
        *cpu_us = (after - before) / 1e3 / requests;
    return result;
}

sample measure(const server &s, const settings &set, long connections, int server_cpu,
               int load_cpu) {
    std::vector<std::string> load = {"--quiet",   "--connections", std::to_string(connections),
                                     "--seconds", set.seconds,     "--size",
                                     set.size,    "--warmup",      "0.3"};
    sample result;
    std::string line = run_once(s, load, server_cpu, load_cpu, &result.cpu_us);
    result.req_per_s = value_of(line, "req_per_s");
    result.p50_us = value_of(line, "p50_us");
    result.p99_us = value_of(line, "p99_us");
    return result;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    size_t n = values.size();
    return n == 0 ? 0 : (values[(n - 1) / 2] + values[n / 2]) / 2;
}

template <typename Get> double median_of(const std::vector<sample> &samples, Get get) {
    std::vector<double> values;
    for (const sample &s : samples)
        values.push_back(get(s));
    return median(values);
}

// The median of the rounds' ratios to the first server.
double ratio(const std::vector<sample> &ours, const std::vector<sample> &baseline,
             double sample::*what) {
    std::vector<double> values;
    for (size_t i = 0; i < ours.size(); i++)
        values.push_back(ours[i].*what / (baseline[i].*what > 0 ? baseline[i].*what : 1));
    return median(values);
}

// (third quartile - first) / median, in percent.
double spread(const std::vector<sample> &samples) {
    std::vector<double> values;
    for (const sample &s : samples)
        values.push_back(s.req_per_s);
    std::sort(values.begin(), values.end());
    double middle = median(values);
    size_t n = values.size();
    return middle > 0 ? (values[n - 1 - n / 4] - values[n / 4]) / middle * 100 : 0;
}

// Prints a block of the table; returns the ratio of the second server (private stacks).
double compare(const std::vector<server> &servers, const settings &set, long connections,
               const char *mode, int server_cpu, int load_cpu) {
    std::vector<std::vector<sample>> samples(servers.size());
    for (long round = 0; round < set.rounds; round++)
        for (size_t i = 0; i < servers.size(); i++) {
            size_t which = (i + static_cast<size_t>(round)) % servers.size();
            samples[which].push_back(
                measure(servers[which], set, connections, server_cpu, load_cpu));
        }
    for (size_t i = 0; i < servers.size(); i++) {
        const std::vector<sample> &s = samples[i];
        printf("%-10s %6ld  %-22s %10s %6.1f %7.2fx %9.0f %9.0f %9.2f %7.2fx\n", mode, connections,
               servers[i].name,
               perf::with_commas(
                   static_cast<int64_t>(median_of(s, [](const sample &x) { return x.req_per_s; })))
                   .c_str(),
               spread(s), ratio(s, samples[0], &sample::req_per_s),
               median_of(s, [](const sample &x) { return x.p50_us; }),
               median_of(s, [](const sample &x) { return x.p99_us; }),
               median_of(s, [](const sample &x) { return x.cpu_us; }),
               ratio(s, samples[0], &sample::cpu_us));
    }
    fflush(stdout);
    return ratio(samples[1], samples[0], &sample::req_per_s);
}

using call_counts = std::map<std::string, double>;

// Reads strace -c's table: the calls are the fourth column, the name the last.
bool read_strace(const std::string &path, call_counts *counts) {
    FILE *file = fopen(path.c_str(), "re");
    if (file == nullptr)
        return false;
    char line[256];
    while (fgets(line, sizeof line, file) != nullptr) {
        double percent, seconds, each, calls;
        char a[64] = "", b[64] = "";
        int n = sscanf(line, "%lf %lf %lf %lf %63s %63s", &percent, &seconds, &each, &calls, a, b);
        std::string name = n == 6 ? b : a;
        if (n >= 5 && name != "total")
            (*counts)[name] += calls;
    }
    fclose(file);
    return !counts->empty();
}

// The calls of a server for `requests` requests, and for accepting the connections.
bool count_calls(const server &s, const settings &set, long connections, long requests,
                 call_counts *counts) {
    char path[] = "/tmp/echo_compare.XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        return false;
    close(fd);
    std::vector<std::string> load = {"--quiet",
                                     "--connections",
                                     std::to_string(connections),
                                     "--requests",
                                     std::to_string(requests),
                                     "--size",
                                     set.size,
                                     "--seconds",
                                     "60"};
    std::vector<int> cpus = perf::usable_cpus();
    run_once(s, load, cpus.front(), cpus.back(), nullptr, path);
    bool good = read_strace(path, counts);
    unlink(path);
    return good;
}

bool have_strace() {
    perf::child probe;
    return probe.start({"strace", "-c", "-o", "/dev/null", "true"}, -1) &&
           probe.wait_end(5000) == 0;
}

// System calls for each request; less than 0 when they could not be counted.
double calls_per_request(const server &s, const settings &set, long connections) {
    constexpr long few = 10000, many = 40000;
    call_counts small, large;
    if (!count_calls(s, set, connections, few, &small) ||
        !count_calls(s, set, connections, many, &large)) {
        printf("%-22s %6ld  strace counted nothing\n", s.name, connections);
        return -1;
    }
    double total = 0;
    std::string detail;
    for (const auto &[name, calls] : large) {
        double each = (calls - small[name]) / (many - few);
        total += each;
        char text[96];
        snprintf(text, sizeof text, "  %s %.3f", name.c_str(), each);
        if (each >= 0.0005)
            detail += text;
    }
    printf("%-22s %6ld  %6.3f  %s\n", s.name, connections, total, detail.c_str());
    fflush(stdout);
    return total;
}

settings parse(int argc, char **argv) {
    settings set;
    for (int i = 1; i < argc; i++) {
        std::string name = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : nullptr;
        if (name == "--check") {
            set.check = true;
        } else if (name == "--no-syscalls") {
            set.syscalls = false;
        } else if (name == "--rounds") {
            set.rounds = perf::parse_number("--rounds", argv[(i++) + 1], 1, 1000);
        } else if (name == "--seconds" && value != nullptr) {
            set.seconds = argv[++i]; // echo_load says what is wrong with it
        } else if (name == "--size" && value != nullptr) {
            set.size = argv[++i];
        } else if (name == "--connections" && value != nullptr) {
            set.connections.clear();
            std::string list = argv[++i];
            for (size_t from = 0; from <= list.size();) {
                size_t comma = std::min(list.find(',', from), list.size());
                std::string number = list.substr(from, comma - from);
                set.connections.push_back(
                    perf::parse_number("--connections", number.c_str(), 1, 1000000));
                from = comma + 1;
            }
        } else {
            fprintf(stderr, "usage: echo_compare [--rounds R] [--seconds T] [--connections N,...] "
                            "[--size BYTES|MIN-MAX] [--no-syscalls] [--check]\n");
            exit(2);
        }
    }
    return set;
}

// Both targets, said in a line each; returns whether they are met.
bool judge(double rate, double calls) {
    bool good = true;
    if (rate > 0) {
        printf("\nrequests/s at 1,000 connections on one core, private stacks: %.2fx epoll "
               "(target: at least 0.90x)%s\n",
               rate, rate < 0.90 ? "  MISSED" : "");
        good = rate >= 0.90;
    }
    if (calls > 0) {
        printf("system calls a request at 1,000 connections, private stacks: %.3f "
               "(target: at most 2.1)%s\n",
               calls, calls > 2.1 ? "  MISSED" : "");
        good = good && calls <= 2.1;
    }
    return good;
}

} // namespace

int main(int argc, char **argv) {
    settings set = parse(argc, argv);
    struct sigaction action = {};
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    perf::raise_fd_limit(RLIM_INFINITY);

    std::string here = perf::own_directory(), echo_server = here + "/../example/echo_server";
    std::vector<server> servers = {{"epoll, by hand", {here + "/echo_epoll", "0"}},
                                   {"corun, private stacks", {echo_server, "0", "private"}},
                                   {"corun, shared stacks", {echo_server, "0", "shared"}}};
    std::vector<int> cpus = perf::usable_cpus();
    printf("echo, payloads of %s bytes, every connection with a request under way; %ld rounds of "
           "%s s, medians\n\n",
           set.size.c_str(), set.rounds, set.seconds.c_str());
    printf("%-10s %6s  %-22s %10s %6s %8s %9s %9s %9s %8s\n", "", "conns", "server", "req/s", "+-%",
           "ratio", "p50 us", "p99 us", "CPU us/rq", "ratio");
    double rate = 0, calls = 0;
    for (long connections : set.connections) {
        if (cpus.size() > 1)
            compare(servers, set, connections, "two cores", cpus[0], cpus[1]);
        double one = compare(servers, set, connections, "one core", cpus[0], cpus[0]);
        if (connections == 1000)
            rate = one;
    }
    if (set.syscalls && have_strace()) {
        printf("\nsystem calls a request (strace -c)\n");
        for (long connections : set.connections)
            for (const server &s : servers) {
                double each = calls_per_request(s, set, connections);
                if (connections == 1000 && &s == &servers[1])
                    calls = each;
            }
    } else if (set.syscalls) {
        printf("\nsystem calls: not counted, strace is missing or not allowed\n");
    }
    return judge(rate, calls) || !set.check ? 0 : 1;
}
