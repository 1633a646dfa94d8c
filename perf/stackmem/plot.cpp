// SPDX-License-Identifier: Apache-2.0
#include "perf/stackmem/plot.h"

#include "perf/process.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <sys/stat.h>

namespace stackmem {
namespace {

constexpr size_t most_panels = 4; // beside each other
constexpr int panel_width = 480, height = 440;

bool is_installed(const std::string &program) {
    const char *list = getenv("PATH");
    std::string path = list == nullptr ? "/usr/bin:/bin" : list;
    for (size_t from = 0; from <= path.size();) {
        size_t colon = std::min(path.find(':', from), path.size());
        if (access((path.substr(from, colon - from) + "/" + program).c_str(), X_OK) == 0)
            return true;
        from = colon + 1;
    }
    return false;
}

// One picture: a panel for each `split`, in it a line for each kind.
struct picture {
    const char *name, *x_label, *y_label;
    std::function<long(const result &)> split, x;
    std::function<double(const result &)> y; // < 0: no point
    std::function<std::string(long)> title;
};

std::vector<long> panels_of(const picture &p, const std::vector<result> &all) {
    std::vector<long> panels;
    for (const result &r : all)
        panels.push_back(p.split(r));
    std::sort(panels.begin(), panels.end());
    panels.erase(std::unique(panels.begin(), panels.end()), panels.end());
    if (panels.size() > most_panels) // the largest are the ones that tell
        panels.erase(panels.begin(), panels.end() - most_panels);
    return panels;
}

// "$d3 << E ... E": the points of a kind in a panel; empty without any.
std::string data_of(const picture &p, long panel, const kind &k, const std::vector<result> &all) {
    std::string points;
    char line[96];
    for (const result &r : all) {
        if (p.split(r) != panel || r.made_by.what.name != k.name || r.m.made == 0 || p.y(r) < 0)
            continue;
        snprintf(line, sizeof line, "%ld %.3f\n", p.x(r), p.y(r));
        points += line;
    }
    return points;
}

std::string panel_of(const picture &p, long panel, const std::vector<result> &all) {
    std::string data, lines;
    int n = 0;
    for (const kind &k : kinds) {
        std::string points = data_of(p, panel, k, all);
        if (points.empty())
            continue;
        std::string block = "$d" + std::to_string(n++);
        data += block + " << E\n" + points + "E\n";
        lines +=
            (lines.empty() ? "plot " : ", ") + block + " with linespoints title '" + k.name + "'";
    }
    return lines.empty() ? "" : data + "set title '" + p.title(panel) + "'\n" + lines + "\n";
}

// The same in all panels, and with room where there is one point alone.
std::string ranges_of(const picture &p, const std::vector<result> &all) {
    double low[2] = {HUGE_VAL, HUGE_VAL}, high[2] = {0, 0};
    for (const result &r : all) {
        if (r.m.made == 0 || p.y(r) < 0)
            continue;
        double at[2] = {static_cast<double>(p.x(r)), p.y(r)};
        for (int i = 0; i < 2; i++) {
            low[i] = std::min(low[i], at[i]);
            high[i] = std::max(high[i], at[i]);
        }
    }
    char text[160];
    snprintf(text, sizeof text, "set xrange [%.3f:%.3f]\nset yrange [%.3f:%.3f]\n", low[0] / 1.3,
             high[0] * 1.3, low[1] / 1.5, high[1] * 1.5);
    return high[0] > 0 ? text : "";
}

std::string script_of(const picture &p, const std::vector<result> &all) {
    std::vector<long> panels = panels_of(p, all);
    std::string size = std::to_string(panel_width * std::max<size_t>(1, panels.size())) + "," +
                       std::to_string(height);
    std::string body = "set multiplot layout 1," + std::to_string(panels.size()) + "\n";
    for (long panel : panels)
        body += panel_of(p, panel, all);
    body += "unset multiplot\nunset output\n";
    std::string name = p.name;
    return "set logscale xy\nset grid\nset key bottom center outside horizontal font ',9'\nset "
           "bmargin 7\n" +
           ranges_of(p, all) + "set format xy '%.0s%c'\nset xlabel '" + p.x_label +
           "'\nset ylabel '" + p.y_label + "'\n" +
           "png = strstrt(GPVAL_TERMINALS, 'pngcairo') ? 'pngcairo' : 'png'\n" +
           "set terminal @png size " + size + " background '#ffffff'\nset output '" + name +
           ".png'\n" + body + "set terminal svg size " + size +
           " background '#ffffff'\nset output '" + name + ".svg'\n" + body;
}

[[noreturn]] void become_gnuplot(const std::string &directory, int input) {
    dup2(input, STDIN_FILENO);
    // There, names need no quotes.
    if (chdir(directory.c_str()) == 0)
        execlp("gnuplot", "gnuplot", "-", static_cast<char *>(nullptr));
    _exit(127);
}

// Whether gnuplot took it all. What it says goes to stderr.
bool draw(const std::string &directory, const std::string &script) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    fflush(nullptr);
    pid_t pid = fork();
    if (pid == 0)
        become_gnuplot(directory, ends[0]);
    close(ends[0]);
    struct sigaction ignore = {}, before = {};
    ignore.sa_handler = SIG_IGN; // it may have ended early
    sigaction(SIGPIPE, &ignore, &before);
    bool written = pid > 0;
    for (size_t at = 0; written && at < script.size();) {
        ssize_t n = write(ends[1], script.data() + at, script.size() - at);
        written = n > 0;
        at += n > 0 ? static_cast<size_t>(n) : 0;
    }
    close(ends[1]);
    sigaction(SIGPIPE, &before, nullptr);
    int status = 0;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 && written;
}

} // namespace

std::string prepare_plots(const std::string &directory) {
    if (!is_installed("gnuplot"))
        return "there is no gnuplot; apt install gnuplot-nox";
    struct stat is;
    if (mkdir(directory.c_str(), 0777) != 0 && errno != EEXIST)
        return strerror(errno);
    if (stat(directory.c_str(), &is) != 0 || !S_ISDIR(is.st_mode))
        return "it is not a directory";
    return access(directory.c_str(), W_OK | X_OK) == 0 ? "" : strerror(errno);
}

std::string write_plots(const std::string &directory, const std::vector<result> &all) {
    const picture memory = {
        "memory",
        "how many",
        "bytes each: RSS, page tables, kernel stacks",
        [](const result &r) { return r.made_by.live_bytes; },
        [](const result &r) { return static_cast<long>(r.m.made); },
        [](const result &r) {
            int64_t bytes = r.m.rss + r.m.page_tables + r.m.kernel_stacks;
            return bytes <= 0 ? -1 : static_cast<double>(bytes) / static_cast<double>(r.m.made);
        },
        [](long live) { return perf::with_commas(live) + " bytes live"; }};
    const picture switches = {"switch",
                              "live bytes",
                              "ns to another and back, shuffled",
                              [](const result &r) { return r.made_by.count; },
                              [](const result &r) { return r.made_by.live_bytes; },
                              [](const result &r) { return r.m.shuffled_ns; },
                              [](long count) { return perf::with_commas(count) + " of them"; }};
    for (const picture &p : {memory, switches}) {
        if (!draw(directory, script_of(p, all)))
            return std::string("gnuplot did not make ") + p.name + ".png and .svg";
        for (const char *end : {".png", ".svg"}) {
            struct stat is;
            std::string file = directory + "/" + p.name + end;
            if (stat(file.c_str(), &is) != 0 || is.st_size == 0)
                return "gnuplot did not make " + file;
        }
    }
    return "";
}

} // namespace stackmem
