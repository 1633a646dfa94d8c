// SPDX-License-Identifier: Apache-2.0
#include "perf/stackmem/limits.h"

#include "perf/memory.h"
#include "perf/process.h"

#include <algorithm>

namespace stackmem {
namespace {

constexpr long tasks_left_free = 1000;
// Below a limit by fewer than this is at the limit: others come and go.
constexpr long near = 8;

int64_t number_in(const char *path) {
    char text[64];
    if (!perf::read_proc_file(path, text, sizeof text))
        return -1;
    char *end = nullptr;
    int64_t value = strtoll(text, &end, 10);
    return end == text ? -1 : value; // "max" is no number
}

// Of this process's cgroup (version 2), as a path of one of its files; empty without one.
std::string cgroup_file(const char *name) {
    char text[4096];
    if (!perf::read_proc_file("/proc/self/cgroup", text, sizeof text))
        return "";
    const char *at = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
    if (at == nullptr)
        return "";
    std::string path = strchr(at, '/') == nullptr ? "" : strchr(at, '/');
    return "/sys/fs/cgroup" + path.substr(0, path.find('\n')) + "/" + name;
}

int64_t available_memory() {
    perf::machine_memory machine;
    int64_t bytes = perf::read_machine_memory(&machine) ? machine.available_bytes : INT64_MAX / 4;
    int64_t most = number_in(cgroup_file("memory.max").c_str());
    int64_t now = number_in(cgroup_file("memory.current").c_str());
    if (most >= 0 && now >= 0)
        bytes = std::min(bytes, std::max(most - now, int64_t{0}));
    return bytes;
}

struct tasks {
    int64_t now, most;
    const char *name;
};

// The machine's, or the cgroup's where that is nearer.
tasks tasks_of_machine() {
    tasks t = {0, 32768, "kernel.pid_max"};
    int64_t pids = number_in("/proc/sys/kernel/pid_max");
    int64_t threads = number_in("/proc/sys/kernel/threads-max");
    if (pids > 0)
        t.most = pids;
    if (threads > 0 && threads < t.most)
        t = {0, threads, "kernel.threads-max"};
    char text[256];
    if (perf::read_proc_file("/proc/loadavg", text, sizeof text)) {
        const char *slash = strchr(text, '/');
        t.now = slash == nullptr ? 0 : strtol(slash + 1, nullptr, 10);
    }
    int64_t group_most = number_in(cgroup_file("pids.max").c_str());
    int64_t group_now = number_in(cgroup_file("pids.current").c_str());
    if (group_most >= 0 && group_now >= 0 && group_most - group_now < t.most - t.now)
        t = {group_now, group_most, "the cgroup's pids.max"};
    return t;
}

// Without stdio's buffers: there may be no memory for them.
int64_t mappings_now() {
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    static char text[65536];
    int64_t lines = 0;
    ssize_t n;
    while ((n = read(fd, text, sizeof text)) > 0)
        lines += std::count(text, text + n, '\n');
    close(fd);
    return lines;
}

void words(char (&to)[160], const std::string &text) {
    snprintf(to, sizeof to, "%s", text.c_str());
}

std::string mib(int64_t bytes) { return perf::with_commas(bytes / (1024 * 1024)) + " MiB"; }

void say_tasks(const plan &p, const tasks &t, measurement *m) {
    words(m->stopped_by, std::string(t.name) + " is " + perf::with_commas(t.most) + ", " +
                             perf::with_commas(t.now) + " are there, 1,000 are left for others");
    std::string wanted = std::to_string(p.count + t.now - m->made + tasks_left_free);
    if (strncmp(t.name, "kernel.", 7) == 0)
        words(m->raise, std::string("sysctl -w ") + t.name + "=" + wanted);
    else
        words(m->raise, "pids.max of the cgroup to " + wanted);
}

bool said_mappings(const plan &p, measurement *m) {
    int64_t most = number_in("/proc/sys/vm/max_map_count"), now = mappings_now();
    if (most <= 0 || now + near < most)
        return false;
    words(m->stopped_by, "vm.max_map_count is " + perf::with_commas(most) +
                             ", and each stack with its guard takes two mappings");
    words(m->raise, "sysctl -w vm.max_map_count=" + std::to_string(p.count * 2 + 1000));
    return true;
}

bool said_process_limit(const plan &p, measurement *m) {
    rlimit limit;
    if (p.what.how == way::thread && getrlimit(RLIMIT_NPROC, &limit) == 0 &&
        limit.rlim_cur != RLIM_INFINITY && static_cast<int64_t>(limit.rlim_cur) < p.count &&
        geteuid() != 0) { // root has none
        words(m->stopped_by, "the user's limit of processes is " +
                                 perf::with_commas(static_cast<int64_t>(limit.rlim_cur)));
        words(m->raise, "ulimit -u " + std::to_string(p.count + tasks_left_free));
        return true;
    }
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return false;
    auto most = static_cast<int64_t>(limit.rlim_cur);
    words(m->stopped_by, "the limit of address space is " + mib(most) + " (ulimit -v)");
    words(m->raise, "ulimit -v unlimited");
    return true;
}

} // namespace

int64_t expected_bytes(const plan &p) {
    // Written pages, of which the top one holds the first frames besides.
    int64_t written = p.touched == touch::all ? p.live_bytes : std::min(p.live_bytes, 8192L);
    auto pages = static_cast<int64_t>(page_up(static_cast<size_t>(written) + 800));
    switch (p.what.how) {
    case way::private_stack:
        return pages + 700; // page tables, the control block
    case way::shared_stack:
        return p.live_bytes + 700;
    case way::ucontext:
        return pages + 1700 + 500; // two mappings' descriptions in the kernel
    case way::thread:
        return pages + 4096 * 2 + perf::kernel_stack_bytes_per_thread + 10000;
    }
    return pages;
}

long most_by_mappings(const plan &p) {
    int64_t most = number_in("/proc/sys/vm/max_map_count");
    bool mapped = p.what.how == way::thread || p.what.how == way::ucontext;
    return mapped && most > 0 ? static_cast<long>(most / 2) : LONG_MAX;
}

ceiling find_ceiling(const plan &p) {
    ceiling c = {p.count, false, available_memory(), expected_bytes(p)};
    auto fit = static_cast<long>(
        std::min<int64_t>(c.available_bytes / 3 * 2 / c.bytes_each, LONG_MAX / 2));
    if (p.what.how == way::thread) {
        tasks t = tasks_of_machine();
        c.count = std::min(
            c.count, static_cast<long>(std::max<int64_t>(0, t.most - t.now - tasks_left_free)));
    }
    if (fit < c.count) {
        c.count = fit;
        c.by_memory = true;
    }
    return c;
}

void say_why(const plan &p, int error, const ceiling &c, measurement *m) {
    if (m->made >= p.count)
        return;
    if (error == 0 && c.by_memory) {
        words(m->stopped_by,
              "memory: " + mib(c.available_bytes) + " are there, and a third is left");
        words(m->raise, "memory, to " + mib(p.count * c.bytes_each / 2 * 3) + " that are free");
        return;
    }
    if (error == 0)
        return say_tasks(p, tasks_of_machine(), m);
    if (p.what.how != way::private_stack && said_mappings(p, m))
        return;
    tasks t = tasks_of_machine();
    if (p.what.how == way::thread && t.now + near >= t.most)
        return say_tasks(p, t, m);
    if (said_process_limit(p, m))
        return;
    if (sizeof(void *) == 4 && m->virtual_bytes > int64_t{1} << 31) {
        words(m->stopped_by, "a 32-bit program has no more addresses");
        words(m->raise, "nothing; take the 64-bit program, or a smaller --stack");
        return;
    }
    words(m->stopped_by, strerror(error));
    words(m->raise, "memory");
}

} // namespace stackmem
