// SPDX-License-Identifier: Apache-2.0
/*
 * process.h - what the comparison programs need of processes: limits, pinning, children, option
 * numbers.
 *
 *     perf::child server;
 *     if (!server.start({"./echo_server", "0", "private"}, 0))   // 0: pinned to core 0
 *         ...
 *     std::string line;
 *     server.read_line(&line, 5000);                             // of its stdout, within 5 s
 *     server.stop();
 *
 * Rules
 *  - A child dies with its parent, however the parent ends (PR_SET_PDEATHSIG), so that an interrupted
 *    run leaves nothing behind. It has a process group of its own: Ctrl-C reaches the parent alone,
 *    which ends its children itself.
 *  - For programs of one thread: the death signal follows the thread that forked.
 */
#ifndef CORUN_PERF_PROCESS_H
#define CORUN_PERF_PROCESS_H

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <initializer_list>
#include <poll.h>
#include <sched.h>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace perf {

inline uint64_t now_ns() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1000000000u + static_cast<uint64_t>(t.tv_nsec);
}

// Restricts the calling thread, and what it starts from now on, to one core. False with errno.
inline bool pin_to_cpu(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(cpu), &set);
    return sched_setaffinity(0, sizeof set, &set) == 0;
}

// The cores this process may run on, lowest first.
inline std::vector<int> usable_cpus() {
    std::vector<int> cpus;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        for (int i = 0; i < CPU_SETSIZE; i++)
            if (CPU_ISSET(static_cast<size_t>(i), &set))
                cpus.push_back(i);
    if (cpus.empty())
        cpus.push_back(0);
    return cpus;
}

// Makes room for `wanted` descriptors: the soft limit goes up, and the hard one too where we are
// allowed to. Returns the limit that holds afterwards, which may be lower than wanted.
inline uint64_t raise_fd_limit(uint64_t wanted) {
    rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur >= wanted)
        return limit.rlim_cur;
    rlimit more = limit;
    more.rlim_cur = static_cast<rlim_t>(wanted);
    if (more.rlim_max < more.rlim_cur)
        more.rlim_max = more.rlim_cur;
    if (setrlimit(RLIMIT_NOFILE, &more) == 0)
        return more.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    return limit.rlim_cur;
}

// A whole decimal number in [low, high]; ends the program with a clear line otherwise.
inline long parse_number(const char *what, const char *text, long low, long high) {
    char *end = nullptr;
    errno = 0;
    long value = text == nullptr ? 0 : strtol(text, &end, 10);
    if (text == nullptr || end == text || *end != '\0' || errno != 0 || value < low ||
        value > high) {
        fprintf(stderr, "%s: \"%s\" is not a number from %ld to %ld\n", what,
                text == nullptr ? "" : text, low, high);
        exit(2);
    }
    return value;
}

// 1234567 as 1,234,567.
inline std::string with_commas(int64_t value) {
    std::string digits = std::to_string(value < 0 ? -value : value), grouped;
    if (value < 0)
        grouped.push_back('-');
    for (size_t i = 0; i < digits.size(); i++) {
        if (i > 0 && (digits.size() - i) % 3 == 0)
            grouped.push_back(',');
        grouped.push_back(digits[i]);
    }
    return grouped;
}

// The directory of the running program, where its sister programs lie.
inline std::string own_directory() {
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    std::string whole(path, n > 0 ? static_cast<size_t>(n) : 0);
    size_t slash = whole.rfind('/');
    return slash == std::string::npos ? "." : whole.substr(0, slash);
}

// The value of `key` in a line of "word key=value key=value"; empty when it is not there.
inline std::string line_value(const std::string &line, const std::string &key) {
    size_t at = line.find(" " + key + "=");
    if (at == std::string::npos)
        return "";
    at += key.size() + 2;
    return line.substr(at, line.find(' ', at) - at);
}

class child {
  public:
    child() = default;
    child(const child &) = delete;
    child &operator=(const child &) = delete;
    ~child() { stop(); }

    pid_t pid() const { return pid_; }
    bool started() const { return pid_ > 0; }

    // Starts a program with its stdout in a pipe; cpu < 0: not pinned. False with errno, also when
    // the program cannot be executed.
    bool start(const std::vector<std::string> &command, int cpu) {
        int out[2], failure[2];
        if (pipe2(out, O_CLOEXEC) != 0)
            return false;
        if (pipe2(failure, O_CLOEXEC) != 0) {
            close(out[0]);
            close(out[1]);
            return false;
        }
        fflush(nullptr);
        pid_t parent = getpid();
        pid_ = fork();
        if (pid_ == 0)
            become(command, cpu, parent, out[1], failure[1]);
        int saved = errno;
        close(out[1]);
        close(failure[1]);
        if (pid_ > 0 && read(failure[0], &saved, sizeof saved) == sizeof saved) {
            waitpid(pid_, nullptr, 0);
            pid_ = -1;
        }
        close(failure[0]);
        if (pid_ < 0) {
            close(out[0]);
            errno = saved;
            return false;
        }
        stdout_ = out[0];
        text_.clear();
        return true;
    }

    enum class read_result { line, timeout, end };

    // The next line of the child's stdout, without its newline.
    read_result read_line(std::string *line, int timeout_ms) {
        uint64_t deadline = now_ns() + static_cast<uint64_t>(timeout_ms) * 1000000u;
        for (;;) {
            size_t newline = text_.find('\n');
            if (newline != std::string::npos) {
                *line = text_.substr(0, newline);
                text_.erase(0, newline + 1);
                return read_result::line;
            }
            if (stdout_ < 0)
                return read_result::end;
            uint64_t now = now_ns();
            if (now >= deadline)
                return read_result::timeout;
            pollfd wait = {stdout_, POLLIN, 0};
            int ready = poll(&wait, 1, static_cast<int>((deadline - now) / 1000000u) + 1);
            // A signal (Ctrl-C) ends the wait: the caller looks at its flag.
            if (ready < 0)
                return read_result::timeout;
            if (ready == 0)
                continue;
            char more[4096];
            ssize_t n = read(stdout_, more, sizeof more);
            if (n > 0) {
                text_.append(more, static_cast<size_t>(n));
            } else {
                close(stdout_);
                stdout_ = -1;
            }
        }
    }

    // Has it ended without being told to? *status as from waitpid.
    bool ended(int *status) {
        if (pid_ <= 0 || waitpid(pid_, status, WNOHANG) != pid_)
            return false;
        pid_ = -1;
        return true;
    }

    // Waits until it ends by itself, at most that long, else kills it. Returns waitpid's status, or
    // -1 when it had to be killed.
    int wait_end(int timeout_ms) {
        int status = -1;
        uint64_t deadline = now_ns() + static_cast<uint64_t>(timeout_ms) * 1000000u;
        while (pid_ > 0 && !ended(&status)) {
            if (now_ns() >= deadline) {
                kill(pid_, SIGKILL);
                waitpid(pid_, nullptr, 0);
                pid_ = -1;
                break;
            }
            poll(nullptr, 0, 5);
        }
        forget_pipe();
        return status;
    }

    // Ends it: SIGTERM, and SIGKILL after 5 s. Ten thousand threads or connections take a while.
    void stop() {
        if (pid_ > 0) {
            kill(pid_, SIGTERM);
            wait_end(5000);
        }
        forget_pipe();
    }

  private:
    [[noreturn]] static void become(const std::vector<std::string> &command, int cpu, pid_t parent,
                                    int out, int failure) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        setpgid(0, 0);
        dup2(out, STDOUT_FILENO);
        if (cpu >= 0)
            pin_to_cpu(cpu);
        std::vector<char *> arguments;
        for (const std::string &word : command)
            arguments.push_back(const_cast<char *>(word.c_str()));
        arguments.push_back(nullptr);
        execvp(arguments[0], arguments.data());
        int why = errno;
        ssize_t ignored = write(failure, &why, sizeof why);
        static_cast<void>(ignored);
        _exit(127);
    }

    void forget_pipe() {
        if (stdout_ >= 0)
            close(stdout_);
        stdout_ = -1;
    }

    pid_t pid_ = -1;
    int stdout_ = -1;
    std::string text_;
};

} // namespace perf

#endif
