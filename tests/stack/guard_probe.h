// SPDX-License-Identifier: Apache-2.0
// Whether memory can be touched, asked without dying of it, and with.
//
//     probe p;
//     p.faults(low - 1)          the kernel is asked to read it: EFAULT; half a microsecond each
//     dies_of_touching(low - 1)  a forked child really writes there: SIGSEGV
#pragma once

#include "co_routine/stack/private_stack.h"

#include <gtest/gtest.h>

#include <csignal>
#include <fcntl.h>
#include <string>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

class probe {
  public:
    probe() { EXPECT_EQ(pipe2(ends_, O_CLOEXEC | O_NONBLOCK), 0); }
    ~probe() {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    probe(const probe &) = delete;
    probe &operator=(const probe &) = delete;

    bool faults(const char *address) {
        // By number: under a sanitizer write() would look at the bytes itself.
        long n = syscall(SYS_write, ends_[1], address, 1);
        if (n == 1) {
            char byte;
            EXPECT_EQ(::read(ends_[0], &byte, 1), 1);
        }
        return n == -1 && errno == EFAULT;
    }

  private:
    int ends_[2];
};

inline bool dies_of_touching(char *address) {
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); // under ASan its handler would print a report
        __asm__ volatile("movb $1, (%0)" : : "r"(address) : "memory");
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

inline size_t lines_of_maps() {
    size_t lines = 0;
    if (FILE *f = fopen("/proc/self/maps", "r")) {
        for (int c; (c = fgetc(f)) != EOF;)
            lines += c == '\n';
        fclose(f);
    }
    return lines;
}

inline std::string guard_kind_name() {
    return corun::kernel_guard_kind() == corun::guard_kind::guard_install
               ? "MADV_GUARD_INSTALL"
               : "one mprotect'ed page each";
}
