// SPDX-License-Identifier: Apache-2.0
// Runs the programs of the waist's tests and reads what they say.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace programs {

// Where the suites are.
inline std::string directory() {
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    std::string all(path, n > 0 ? static_cast<size_t>(n) : 0);
    return all.substr(0, all.rfind('/'));
}
// A program or library of these tests.
inline std::string built(const std::string &name) { return directory() + "/waist/" + name; }

struct outcome {
    std::string text;
    int status;
};

inline outcome run(const std::string &command) {
    outcome o;
    FILE *pipe = popen(command.c_str(), "r");
    char buffer[4096];
    size_t n;
    while (pipe && (n = fread(buffer, 1, sizeof buffer, pipe)) > 0)
        o.text.append(buffer, n);
    o.status = pipe ? pclose(pipe) : -1;
    return o;
}

// One word of shell, whatever is in it.
inline std::string quoted(const std::string &text) {
    std::string out = "'";
    for (char c : text)
        out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

// What unwind_prog says. An unwinder that is not installed has seen all there is to see.
struct samples {
    int taken = 0, truncated = 0, in_slots = 0;
};

inline samples unwound(const outcome &o) {
    samples s;
    if (WIFEXITED(o.status) && WEXITSTATUS(o.status) == 77)
        return {1 << 30, 0, 1 << 30};
    if (sscanf(o.text.c_str(), "%d samples, %d truncated, %d in slots", &s.taken, &s.truncated,
               &s.in_slots) != 3)
        s.truncated = -1;
    printf("%s", o.text.c_str());
    return s;
}

} // namespace programs
