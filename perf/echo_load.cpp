// SPDX-License-Identifier: Apache-2.0
/*
 * echo_load - checks and measures a server on 127.0.0.1; load_engine.h has the engine.
 *
 *     echo_load --port PORT                    10,000 connections, 10 s, 1 to 1,024 bytes
 *
 *     --protocol P         echo (default), or table: the lines of example/legacy_server
 *     --connections N      how many (default 10000)
 *     --active A           requests under way at a time (default: one on every connection)
 *     --size BYTES         of every payload; or --size MIN-MAX, random in between (default 1-1024)
 *     --seconds T          measured time (default 10)
 *     --warmup T           seconds before that (default 0)
 *     --requests N         end after N requests, if that comes before the time
 *     --seed N             of payloads, sizes and turns (default 1)
 *     --cpu C              run on core C
 *     --setup-timeout T    seconds to connect (default 30)
 *     --allow-fewer        connections that the server turns away are reported, but no error
 *     --json | --kv        the result as JSON, or as one line of key=value; progress then goes to
 *                          stdout as key=value lines (--kv) or nowhere (--json)
 *     --quiet              no progress
 *
 * Ends with 0 only when not one byte was wrong and not one connection failed; with 1 otherwise; with
 * 2 for wrong options or limits too low.
 */
#include "perf/load_engine.h"

namespace {

enum class output { table, json, kv };

struct command_line {
    perf::load_options load;
    int cpu = -1;
    output format = output::table;
    bool quiet = false;
};

perf::echo_load *interruptible;

void on_signal(int) { interruptible->interrupt(); }

double parse_seconds(const char *what, const char *text) {
    char *end = nullptr;
    double value = text == nullptr ? -1 : strtod(text, &end);
    if (text == nullptr || end == text || *end != '\0' || !(value >= 0 && value <= 86400)) {
        fprintf(stderr, "%s: \"%s\" is not a number of seconds\n", what,
                text == nullptr ? "" : text);
        exit(2);
    }
    return value;
}

void parse_sizes(const char *text, perf::load_options *load) {
    std::string low = text == nullptr ? "" : text, high = low;
    size_t dash = low.find('-');
    if (dash != std::string::npos) {
        high = low.substr(dash + 1);
        low.resize(dash);
    }
    load->size_min = static_cast<size_t>(perf::parse_number("--size", low.c_str(), 1, 1 << 20));
    load->size_max = static_cast<size_t>(
        perf::parse_number("--size", high.c_str(), static_cast<long>(load->size_min), 1 << 20));
}

perf::load_protocol parse_protocol(const char *text) {
    std::string name = text == nullptr ? "" : text;
    if (name != "echo" && name != "table") {
        fprintf(stderr, "--protocol: echo or table\n");
        exit(2);
    }
    return name == "echo" ? perf::load_protocol::echo : perf::load_protocol::table;
}

bool parse_option(const std::string &name, const char *value, command_line *line) {
    perf::load_options &load = line->load;
    const char *what = name.c_str();
    auto number = [&](long low, long high) { return perf::parse_number(what, value, low, high); };
    if (name == "--port")
        load.port = static_cast<int>(number(1, 65535));
    else if (name == "--protocol")
        load.protocol = parse_protocol(value);
    else if (name == "--connections")
        load.connections = static_cast<size_t>(number(1, 5000000));
    else if (name == "--active")
        load.active = static_cast<size_t>(number(1, 5000000));
    else if (name == "--size")
        parse_sizes(value, &load);
    else if (name == "--seconds")
        load.seconds = parse_seconds(what, value);
    else if (name == "--warmup")
        load.warmup = parse_seconds(what, value);
    else if (name == "--requests")
        load.requests = static_cast<uint64_t>(number(1, 2000000000));
    else if (name == "--seed")
        load.seed = static_cast<uint64_t>(number(0, 2000000000));
    else if (name == "--setup-timeout")
        load.setup_timeout = parse_seconds(what, value);
    else if (name == "--cpu")
        line->cpu = static_cast<int>(number(0, CPU_SETSIZE - 1));
    else
        return false;
    return true;
}

command_line parse(int argc, char **argv) {
    command_line line;
    for (int i = 1; i < argc; i++) {
        std::string name = argv[i];
        if (name == "--json")
            line.format = output::json;
        else if (name == "--kv")
            line.format = output::kv;
        else if (name == "--quiet")
            line.quiet = true;
        else if (name == "--allow-fewer")
            line.load.allow_fewer = true;
        else if (parse_option(name, i + 1 < argc ? argv[i + 1] : nullptr, &line))
            i++;
        else {
            fprintf(stderr, "echo_load: unknown option %s\n", name.c_str());
            exit(2);
        }
    }
    if (line.load.port == 0) {
        fprintf(stderr, "usage: echo_load --port PORT [--connections N] [--active A] "
                        "[--seconds T] [--json | --kv] ...\n");
        exit(2);
    }
    return line;
}

void show_progress(const command_line &line, const perf::load_progress &p) {
    if (line.format == output::kv) {
        printf(
            "progress phase=%s elapsed=%.2f connected=%zu requests=%llu req_per_s=%llu bytes=%llu "
            "errors=%llu\n",
            p.connecting ? "connecting" : "running", p.elapsed, p.connected,
            static_cast<unsigned long long>(p.requests),
            static_cast<unsigned long long>(p.requests_per_s),
            static_cast<unsigned long long>(p.bytes), static_cast<unsigned long long>(p.errors));
        fflush(stdout);
        return;
    }
    bool tty = isatty(STDERR_FILENO) != 0;
    fprintf(stderr, "%s%5.1f/%.0f s  %s connections  %s req/s  %s bytes verified  %s errors%s",
            tty ? "\r" : "", p.elapsed, p.seconds,
            perf::with_commas(static_cast<int64_t>(p.connected)).c_str(),
            perf::with_commas(static_cast<int64_t>(p.requests_per_s)).c_str(),
            perf::with_commas(static_cast<int64_t>(p.bytes)).c_str(),
            perf::with_commas(static_cast<int64_t>(p.errors)).c_str(), tty ? "  " : "\n");
}

void print_pairs(const perf::load_result &r, bool json) {
    const char *before = json ? "\"" : "", *between = json ? "\": " : "=",
               *after = json ? ", " : " ";
    auto count = [&](const char *key, uint64_t value) {
        printf("%s%s%s%llu%s", before, key, between, static_cast<unsigned long long>(value), after);
    };
    auto real = [&](const char *key, double value) {
        printf("%s%s%s%.3f%s", before, key, between, value, after);
    };
    printf("%s", json ? "{" : "result ");
    count("connections", r.connections);
    count("refused", r.refused);
    real("setup_seconds", r.setup_seconds);
    real("seconds", r.seconds);
    count("requests", r.requests);
    count("requests_in_all", r.requests_in_all);
    real("req_per_s", r.requests_per_s);
    real("p50_us", static_cast<double>(r.p50_ns) / 1e3);
    real("p99_us", static_cast<double>(r.p99_ns) / 1e3);
    real("p999_us", static_cast<double>(r.p999_ns) / 1e3);
    real("max_us", static_cast<double>(r.max_ns) / 1e3);
    count("bytes_verified", r.bytes_verified);
    count("wrong_bytes", r.wrong_bytes);
    printf("%serrors%s%llu%s\n", before, between, static_cast<unsigned long long>(r.errors),
           json ? "}" : "");
}

void print_table(const perf::load_result &r) {
    printf("%11s %8s %10s %10s %10s %10s %16s %8s %8s\n", "connections", "refused", "req/s",
           "p50 us", "p99 us", "p99.9 us", "bytes verified", "wrong", "errors");
    printf("%11s %8s %10s %10.0f %10.0f %10.0f %16s %8s %8s\n",
           perf::with_commas(static_cast<int64_t>(r.connections)).c_str(),
           perf::with_commas(static_cast<int64_t>(r.refused)).c_str(),
           perf::with_commas(static_cast<int64_t>(r.requests_per_s)).c_str(),
           static_cast<double>(r.p50_ns) / 1e3, static_cast<double>(r.p99_ns) / 1e3,
           static_cast<double>(r.p999_ns) / 1e3,
           perf::with_commas(static_cast<int64_t>(r.bytes_verified)).c_str(),
           perf::with_commas(static_cast<int64_t>(r.wrong_bytes)).c_str(),
           perf::with_commas(static_cast<int64_t>(r.errors)).c_str());
}

bool prepare_process(const command_line &line) {
    constexpr size_t besides = 32; // stdio, epoll, what we were started with
    uint64_t limit = perf::raise_fd_limit(line.load.connections + besides);
    if (limit < line.load.connections + besides) {
        fprintf(stderr,
                "echo_load: %zu connections need a limit of %zu open files, %llu are allowed "
                "(ulimit -Hn); use --connections %llu or less\n",
                line.load.connections, line.load.connections + besides,
                static_cast<unsigned long long>(limit),
                static_cast<unsigned long long>(limit > besides ? limit - besides : 0));
        return false;
    }
    if (line.cpu >= 0 && !perf::pin_to_cpu(line.cpu)) {
        fprintf(stderr, "echo_load: --cpu %d: %s\n", line.cpu, strerror(errno));
        return false;
    }
    return true;
}

} // namespace

int main(int argc, char **argv) {
    perf::require_native_calls("echo_load");
    command_line line = parse(argc, argv);
    if (!prepare_process(line))
        return 2;
    perf::echo_load load(line.load);
    interruptible = &load;
    struct sigaction action = {};
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);

    bool tty = isatty(STDERR_FILENO) != 0;
    if (!line.quiet && line.format != output::json)
        load.on_progress(line.format == output::kv || tty ? 0.2 : 2.0,
                         [&](const perf::load_progress &p) { show_progress(line, p); });
    bool ready = load.connect_all();
    if (ready) {
        if (line.format == output::kv) {
            printf("ready\n");
            fflush(stdout);
        }
        load.run();
    }
    if (tty && !line.quiet && line.format == output::table)
        fprintf(stderr, "\n");
    perf::load_result r = load.result();
    if (line.format == output::table)
        print_table(r);
    else
        print_pairs(r, line.format == output::json);
    if (load.was_interrupted())
        return 130;
    return ready && r.errors == 0 && r.wrong_bytes == 0 && r.bytes_verified > 0 ? 0 : 1;
}
