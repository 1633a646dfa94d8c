// SPDX-License-Identifier: Apache-2.0
// Things that end a process, or must happen in a fresh one, run in a child; its stderr comes back.
//
//     child_result r = in_child([] { abort(); });
//     child_result r = in_fresh_process("Suite.DISABLED_Case", {"CORUN_DEBUG=overflow"});
#pragma once

#include "co_routine/base/sanitizer.h"
#include "co_routine/debug/stderr.h"

#include <cstdlib>
#include <gtest/gtest.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

struct child_result {
    int status = -1;
    std::string text; // what it wrote to stderr, with (#N) for each coroutine's number
    bool killed_by(int signal) const { return WIFSIGNALED(status) && WTERMSIG(status) == signal; }
    bool exited_with(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
    bool says(const std::string &what) const { return text.find(what) != std::string::npos; }
};

inline size_t count_of(const std::string &text, const std::string &what) {
    size_t n = 0;
    for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size())
        ++n;
    return n;
}

template <class F> child_result in_child(F body) {
    int ends[2];
    if (pipe(ends) != 0)
        return {};
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 2);
        corun::note_stderr(); // as if it had been so from the start
        close(ends[0]);
        close(ends[1]);
        alarm(60);
        body();
        _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    close(ends[1]);
    child_result result;
    char buffer[4096];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
        result.text.append(buffer, static_cast<size_t>(n));
    close(ends[0]);
    waitpid(pid, &result.status, 0);
    for (size_t at = 0; (at = result.text.find("(#", at)) != std::string::npos; at += 4)
        result.text.replace(at, result.text.find(')', at) + 1 - at, "(#N)");
    return result;
}

// Runs this very program again for one test case, with more in its environment.
inline child_result in_fresh_process(const std::string &test,
                                     const std::vector<std::string> &variables = {}) {
    return in_child([&] {
        for (const std::string &v : variables)
            putenv(const_cast<char *>(v.c_str()));
        std::string filter = "--gtest_filter=" + test;
        dup2(2, 1);
        execl("/proc/self/exe", "debug_test", filter.c_str(), "--gtest_also_run_disabled_tests",
              static_cast<char *>(nullptr));
        _exit(127);
    });
}

inline constexpr bool under_asan = CO_ASAN, under_tsan = CO_TSAN;

#define SKIP_UNDER_SANITIZERS()                                                                    \
    if (under_asan || under_tsan)                                                                  \
    GTEST_SKIP() << "the sanitizer has a SIGSEGV handler and frame sizes of its own"
