// SPDX-License-Identifier: Apache-2.0
// Pipes and sockets with a slow partner, for the tests of stdio.
#pragma once

#include "tests/hooks/both.h"

#include <csignal>
#include <sys/socket.h>
#include <unistd.h>

inline void says_text(side &s, const char *what, const std::string &t) {
    s.text(what, t.data(), static_cast<long>(t.size()));
}

struct ends {
    int reader, writer;
};
inline ends make_pipe() {
    int fd[2];
    if (pipe(fd) != 0)
        abort();
    return {fd[0], fd[1]};
}
inline ends make_sockets() {
    int fd[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) != 0)
        abort();
    return {fd[0], fd[1]};
}

inline void write_all(int fd, const std::string &text) {
    for (size_t done = 0; done < text.size();) {
        ssize_t n = write(fd, text.data() + done, text.size() - done);
        if (n < 0)
            return;
        done += static_cast<size_t>(n);
    }
}

// In pieces, with pauses: so that lines and numbers are cut.
inline void write_slowly(int fd, const std::string &text, size_t piece) {
    for (size_t at = 0; at < text.size(); at += piece) {
        write_all(fd, text.substr(at, piece));
        usleep(500);
    }
    close(fd);
}

inline std::string read_all(int fd) {
    std::string all;
    char some[4096];
    for (ssize_t n; (n = read(fd, some, sizeof some)) > 0;)
        all.append(some, static_cast<size_t>(n));
    return all;
}

inline uint64_t hash_of(const std::string &s) { return std::hash<std::string>()(s); }

struct Stdio : testing::Test {
    void SetUp() override { signal(SIGPIPE, SIG_IGN); }
};
