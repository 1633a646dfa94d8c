// SPDX-License-Identifier: Apache-2.0
// Sizes that no memory has, and memory that is nobody's: what the kernel says to them, and that it
// does so without waiting.
#include "tests/hooks/both.h"

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

constexpr bool words_are_long = sizeof(long) == 8;

struct ends {
    int from, to;
};
struct maker {
    const char *name;
    ends (*make)();
};

ends pipe_ends() {
    int fd[2];
    return pipe(fd) == 0 ? ends{fd[0], fd[1]} : ends{-1, -1};
}
template <int type> ends socket_ends() {
    int fd[2];
    return socketpair(AF_UNIX, type, 0, fd) == 0 ? ends{fd[0], fd[1]} : ends{-1, -1};
}
ends file_ends() {
    char name[] = "/tmp/corun-sizes-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    return {fd, dup(fd)};
}
ends eventfd_ends() {
    int fd = eventfd(0, 0);
    return {fd, dup(fd)};
}
constexpr maker makers[] = {{"pipe", pipe_ends},
                            {"stream", socket_ends<SOCK_STREAM>},
                            {"datagrams", socket_ends<SOCK_DGRAM>},
                            {"file", file_ends},
                            {"eventfd", eventfd_ends}};

// So that the compiler does not see what is asked for.
volatile size_t sizes[] = {SIZE_MAX, SIZE_MAX / 2 + 1, SIZE_MAX - 4096, SIZE_MAX / 2};
void *volatile kernels_memory = reinterpret_cast<void *>(static_cast<intptr_t>(-4096));

// Bytes to be read, and the position before them.
void put(const ends &e) {
    uint64_t value = 1;
    if (write(e.to, &value, sizeof value) != sizeof value)
        abort();
    lseek(e.from, 0, SEEK_SET);
}

} // namespace

TEST(Sizes, ReadsOfMoreThanThereIsMemory) {
    expect_same([](side &s) {
        for (const maker &m : makers)
            for (size_t n : sizes) {
                ends e = m.make();
                alignas(8) char buffer[64];
                s.text("of", m.name, static_cast<long>(strlen(m.name)));
                put(e);
                s.says("read", read(e.from, buffer, n));
                put(e);
                s.says("pread", pread(e.from, buffer, n, 0));
                iovec one{buffer, n}, two[2] = {{buffer, 8}, {buffer + 8, n}};
                put(e);
                s.says("readv of one", readv(e.from, &one, 1));
                put(e);
                s.says("readv of two", readv(e.from, two, 2));
                put(e);
                s.says("preadv2", preadv2(e.from, two, 2, -1, 0));
                close(e.from), close(e.to);
            }
    });
}

// They are refused before anybody looks whether there is room, or a reader.
TEST(Sizes, WritesOfMoreThanThereIsMemory) {
    expect_same([](side &s) {
        for (const maker &m : makers)
            for (size_t n : sizes) {
                ends e = m.make();
                alignas(8) char buffer[64] = {};
                s.text("of", m.name, static_cast<long>(strlen(m.name)));
                if (words_are_long) { // else the kernel takes them, and writes what follows
                    s.says("write", write(e.to, buffer, n));
                    s.says("pwrite", pwrite(e.to, buffer, n, 0));
                }
                iovec one{buffer, n}, two[2] = {{buffer, 8}, {buffer + 8, n}};
                if (n > SIZE_MAX / 2) {
                    s.says("writev of one", writev(e.to, &one, 1));
                    s.says("writev of two", writev(e.to, two, 2));
                    s.says("pwritev2", pwritev2(e.to, two, 2, -1, 0));
                }
                close(e.from), close(e.to);
            }
    });
}

// Nothing has come, and nothing will: whoever waited would wait for ever.
TEST(Sizes, WhatIsRefusedDoesNotWait) {
    expect_same([](side &s) {
        for (const maker &m : makers) {
            ends e = m.make();
            alignas(8) char buffer[64];
            s.text("of", m.name, static_cast<long>(strlen(m.name)));
            // It is known to be empty now.
            int flags = fcntl(e.from, F_GETFL);
            fcntl(e.from, F_SETFL, flags | O_NONBLOCK);
            s.says("empty", read(e.from, buffer, sizeof buffer));
            fcntl(e.from, F_SETFL, flags);
            size_t n = sizes[0];
            iovec one{buffer, n}, two[2] = {{buffer, 8}, {buffer + 8, n}};
            s.says("readv of one", readv(e.from, &one, 1));
            s.says("readv of two", readv(e.from, two, 2));
            if (words_are_long) {
                iovec nobodys{kernels_memory, 8};
                s.says("read", read(e.from, buffer, n));
                s.says("read into the kernel", read(e.from, kernels_memory, 8));
                s.says("readv into the kernel", readv(e.from, &nobodys, 1));
                s.says("recv into the kernel", recv(e.from, kernels_memory, 8, 0));
            }
            close(e.from), close(e.to);
        }
    });
}

TEST(Sizes, OfBadDescriptors) {
    expect_same([](side &s) {
        char buffer[8];
        ends e = pipe_ends();
        size_t n = sizes[0];
        s.says("none", read(-1, buffer, n));
        s.says("none", write(-1, buffer, n));
        s.says("write end", read(e.to, buffer, n));
        s.says("read end", write(e.from, buffer, n));
        s.says("before the beginning", pread(e.from, buffer, n, -1));
        s.says("pipe", pread(e.from, buffer, n, 0));
        close(e.from), close(e.to);
    });
}
