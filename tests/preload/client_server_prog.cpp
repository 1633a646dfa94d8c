// SPDX-License-Identifier: Apache-2.0
// A program that was linked without corun and built as distributions build: -O2, fortified, 64-bit
// files (contract 31; tests/preload/preload_test.sh has the flags). It finds coroutines by name when the
// library stands in front of it, and then shows that its own calls are hooked: two of them that
// would block the thread for ever have to let each other run. Prints "hooked" or "native".
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

struct stCoRoutine_t;
struct stCoRoutineAttr_t;
using entry = void *(*)(void *);

static int fd[2], finished;
static void (*enable)();

// The size is not known at compile time, so the fortified names are called.
static size_t size_of_request;

static void *server(void *) {
    enable();
    char buffer[64];
    pollfd p = {fd[0], POLLIN, 0};
    volatile nfds_t one = 1;
    if (poll(&p, one, -1) != 1) // __poll_chk
        return nullptr;
    long a = read(fd[0], buffer, size_of_request);        // __read_chk
    long b = recv(fd[0], buffer + a, size_of_request, 0); // __recv_chk
    if (fcntl(fd[0], F_GETFL) & O_NONBLOCK)               // fcntl64
        return nullptr;
    if (a == 4 && b == 4 && memcmp(buffer, "pingpong", 8) == 0)
        ++finished;
    return nullptr;
}

static void *client(void *) {
    enable();
    usleep(1000);
    if (write(fd[1], "ping", 4) != 4)
        return nullptr;
    usleep(1000);
    if (send(fd[1], "pong", 4, 0) == 4)
        ++finished;
    return nullptr;
}

int main(int argc, char **) {
    size_of_request = 3 + static_cast<size_t>(argc);
    auto go = reinterpret_cast<int (*)(stCoRoutine_t **, const stCoRoutineAttr_t *, entry, void *)>(
        dlsym(RTLD_DEFAULT, "co_go"));
    auto run = reinterpret_cast<void (*)()>(dlsym(RTLD_DEFAULT, "co_run"));
    enable = reinterpret_cast<void (*)()>(dlsym(RTLD_DEFAULT, "co_enable_hook_sys"));
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) != 0)
        return 1;
    if (!go) {
        char c = 0;
        if (write(fd[1], "x", 1) == 1 && read(fd[0], &c, 1) == 1)
            puts("native");
        return 0;
    }
    alarm(3); // an unhooked call would block the thread for ever
    go(nullptr, nullptr, server, nullptr);
    go(nullptr, nullptr, client, nullptr);
    run();
    puts(finished == 2 ? "hooked" : "wrong");
    return finished == 2 ? 0 : 1;
}
