// SPDX-License-Identifier: Apache-2.0
/*
 * echo_pthread - the other baseline: the same blocking code as example/echo_server, with a kernel
 * thread for each connection.
 *
 *     echo_pthread PORT [--stack BYTES]      PORT 0: the kernel chooses; stack: libc's default, 8 MiB
 *                                            of address space, or as given (at least 16384)
 *
 * When no further thread can be made, the connection is closed unanswered and a line on stderr says
 * why, once; the server goes on with the connections that it has.
 */
#include "perf/net.h"
#include "perf/process.h"

#include <pthread.h>

namespace {

void *serve(void *argument) {
    int fd = static_cast<int>(reinterpret_cast<intptr_t>(argument));
    char buffer[perf::echo_buffer_bytes];
    for (;;) {
        ssize_t n = read(fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || write(fd, buffer, static_cast<size_t>(n)) != n)
            break;
    }
    close(fd);
    return nullptr;
}

[[noreturn]] void accept_for_ever(int listener, const pthread_attr_t *attributes) {
    bool said = false;
    for (long threads = 0;;) {
        int fd = accept(listener, nullptr, nullptr);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            fprintf(stderr, "echo_pthread: accept: %s\n", strerror(errno));
            exit(1);
        }
        pthread_t thread;
        int error = pthread_create(&thread, attributes, serve,
                                   reinterpret_cast<void *>(static_cast<intptr_t>(fd)));
        if (error == 0) {
            threads++;
            continue;
        }
        if (!said)
            fprintf(stderr, "echo_pthread: no thread after %ld: %s\n", threads, strerror(error));
        said = true;
        close(fd);
    }
}

} // namespace

int main(int argc, char **argv) {
    bool sized = argc == 4 && strcmp(argv[2], "--stack") == 0;
    if (argc != 2 && !sized) {
        fprintf(stderr, "usage: echo_pthread PORT [--stack BYTES]\n");
        return 2;
    }
    perf::require_native_calls("echo_pthread");
    perf::raise_fd_limit(RLIM_INFINITY);
    signal(SIGPIPE, SIG_IGN);
    int port = static_cast<int>(perf::parse_number("PORT", argv[1], 0, 65535));
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (sized) {
        long bytes = perf::parse_number("--stack", argv[3], 16384, 1L << 30);
        pthread_attr_setstacksize(&attributes, static_cast<size_t>(bytes));
    }
    int listener = perf::listen_on_loopback(port, &port);
    if (listener < 0) {
        fprintf(stderr, "echo_pthread: 127.0.0.1:%d: %s\n", port, strerror(errno));
        return 1;
    }
    perf::announce(port);
    accept_for_ever(listener, &attributes);
}
