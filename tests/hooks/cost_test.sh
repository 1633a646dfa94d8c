#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a hook costs: a read that is ready takes at most 1.10 times the bare system call that it makes,
# and hooked calls that wait and that do not wait allocate nothing. For a socket that system call is as
# dear as read; for a pipe it is preadv2 with RWF_NOWAIT, which the kernel takes about 50 ns longer for
# than for read (printed, not asserted): the one way not to block that needs no flag of the descriptor.
set -u
cd "${SRC_DIR:-.}" || exit 1
B=$(readlink -f "${BUILD_DIR:-build/x86_64}") flags="${ARCHFLAGS:-}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cat >"$scratch/prog.cpp" <<'END'
#include <co_hook.h>
#include <co_routine.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vector>

extern "C" {
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
static long allocations;
void *malloc(size_t n) { return ++allocations, __libc_malloc(n); }
void *calloc(size_t n, size_t m) { return ++allocations, __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return ++allocations, __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { return ++allocations, __libc_memalign(a, n); }
}

static double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}
constexpr int batch = 64, batches = 4000;
static char bytes[512];
static size_t asked;

// The bare call, without the wrapper around it: what the kernel alone takes.
static inline long bare_read(int fd) {
    long r;
#if defined(__x86_64__)
    __asm__ volatile("syscall" : "=a"(r) : "a"(SYS_read), "D"(fd), "S"(bytes), "d"(asked)
                     : "rcx", "r11", "memory");
#else
    r = syscall(SYS_read, fd, bytes, asked);
#endif
    return r;
}

// As the hook makes it.
static inline long bare_read_nowait(int fd) {
    iovec whole{bytes, asked};
    long r;
#if defined(__x86_64__)
    register long offset __asm__("r10") = -1, high __asm__("r8") = -1, flags __asm__("r9") = 8;
    __asm__ volatile("syscall" : "=a"(r)
                     : "a"(SYS_preadv2), "D"(fd), "S"(&whole), "d"(1), "r"(offset), "r"(high), "r"(flags)
                     : "rcx", "r11", "memory");
#else
    r = syscall(SYS_preadv2, fd, &whole, 1, -1, -1, 8);
#endif
    return r;
}

template <class Read> static double measure(int in, int out, Read read_one) {
    static char filling[sizeof bytes * batch];
    if (write(out, filling, asked * batch) != static_cast<ssize_t>(asked * batch))
        abort();
    double begin = now();
    for (int i = 0; i < batch; ++i)
        if (read_one(in) != static_cast<long>(asked))
            abort();
    return (now() - begin) / batch;
}

// Interleaved; the medians of both.
template <class Bare> static double ratio(const char *what, int in, int out, size_t n, Bare one) {
    asked = n;
    std::vector<double> bare, hooked;
    for (int i = 0; i < batches; ++i) {
        bare.push_back(measure(in, out, one));
        hooked.push_back(measure(in, out, [](int fd) { return (long)read(fd, bytes, asked); }));
    }
    std::sort(bare.begin(), bare.end());
    std::sort(hooked.begin(), hooked.end());
    double r = hooked[batches / 2] / bare[batches / 2];
    printf("%s of %zu bytes: bare %.0f ns, hooked %.0f ns, ratio %.3f\n", what, n, bare[batches / 2],
           hooked[batches / 2], r);
    return r;
}

static int pipe_ends[2], socket_ends[2];
static double best[2] = {9, 9};
static void *reader(void *) {
    co_enable_hook_sys();
    for (int attempt = 0; attempt < 3; ++attempt) {
        ratio("pipe, against read,", pipe_ends[0], pipe_ends[1], 512, bare_read);
        best[0] = std::min(best[0], ratio("pipe, against preadv2,", pipe_ends[0], pipe_ends[1], 512,
                                          bare_read_nowait));
        best[1] = std::min(best[1], ratio("socket, against read,", socket_ends[0], socket_ends[1], 512,
                                          bare_read));
        if (std::max(best[0], best[1]) <= 1.10)
            break;
    }
    return nullptr;
}

static long counted;
static void *waits(void *) {
    co_enable_hook_sys();
    char c;
    for (int i = 0; i < 1100; ++i) {
        if (i == 100) // what is made once is made
            allocations = 0;
        pollfd p{pipe_ends[0], POLLIN, 0};
        if (read(pipe_ends[0], &c, 1) != 1 || recv(socket_ends[0], &c, 1, 0) != 1 ||
            poll(&p, 1, i % 3) < 0 || usleep(1) != 0)
            abort();
    }
    counted = allocations;
    return nullptr;
}
static void *wakes(void *) {
    co_enable_hook_sys();
    for (int i = 0; i < 1100; ++i) {
        co_yield_now();
        if (write(pipe_ends[1], "x", 1) != 1)
            abort();
        co_yield_now();
        if (send(socket_ends[1], "x", 1, 0) != 1)
            abort();
    }
    return nullptr;
}

int main(int count, char **) {
    if (pipe(pipe_ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, socket_ends))
        return 2;
    co_go(nullptr, nullptr, waits, nullptr);
    co_go(nullptr, nullptr, wakes, nullptr);
    co_run();
    printf("%ld allocations in 4000 hooked calls\n", counted);
    if (counted != 0)
        return 3;
    if (count > 1)
        return 0;
    co_go(nullptr, nullptr, reader, nullptr);
    co_run();
    return best[0] > 1.10 ? 4 : best[1] > 1.10 ? 5 : 0;
}
END
${CXX:-g++} $flags -O2 -w -Ico_routine -Ico_hook "$scratch/prog.cpp" "$B/libcorun.a" -pthread -ldl \
    -o "$scratch/prog" || exit 1
timeout 60 "$scratch/prog" count >"$scratch/out" 2>&1
code=$?
cat "$scratch/out"
[ $code = 0 ] && echo 'ok - hooked calls that wait, and that do not, allocate nothing' ||
    echo 'not ok - hooked calls that wait, and that do not, allocate nothing'
if [ "${ARCH:-x86_64}" != x86_64 ]; then
    echo 'skip - a ready read costs at most 1.10 of the bare call it makes: measured on x86_64'
    exit 0
fi
timeout 60 "$scratch/prog" >"$scratch/out" 2>&1
code=$?
cat "$scratch/out"
[ $code != 4 ] && [ $code -le 5 ] && echo 'ok - a ready read of a pipe costs at most 1.10 of the bare call it makes' ||
    echo 'not ok - a ready read of a pipe costs at most 1.10 of the bare call it makes'
[ $code = 0 ] || [ $code = 4 ] && echo 'ok - a ready read of a socket costs at most 1.10 of the bare call it makes' ||
    echo 'not ok - a ready read of a socket costs at most 1.10 of the bare call it makes'
exit 0
