// SPDX-License-Identifier: Apache-2.0
/*
 * echo_server - blocking code, one coroutine a connection.
 *
 *     echo_server [PORT [private|shared]]       PORT 0: the kernel chooses one
 * shared: the connections take turns on 16 stacks, and a waiting one keeps only the bytes it uses.
 */
#include <co_routine.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static stCoRoutineAttr_t how; // all zero: a private stack of 128 KiB

static void *serve(void *connection) {
    co_enable_hook_sys(); // from here on read and write let the other coroutines run
    int fd = (int)(intptr_t)connection;
    char buffer[1024];
    for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0 && write(fd, buffer, (size_t)n) == n;)
        ;
    close(fd);
    return NULL;
}

static void *accept_all(void *listener) {
    co_enable_hook_sys();
    for (;;) {
        int fd = accept((int)(intptr_t)listener, NULL, NULL);
        if (fd < 0)
            co_sleep_ms(10); // out of descriptors: some connections end meanwhile
        else if (co_go(NULL, &how, serve, (void *)(intptr_t)fd) != 0)
            close(fd);
    }
}

int main(int argc, char **argv) {
    long port = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    bool shared = argc > 2 && strcmp(argv[2], "shared") == 0;
    if (argc > 3 || port < 0 || port > 65535 || (argc > 1 && !strchr("0123456789", *argv[1])) ||
        (argc > 2 && !shared && strcmp(argv[2], "private") != 0))
        return fprintf(stderr, "usage: echo_server [PORT [private|shared]]\n"), 2;
    if (shared)
        how.share_stack = co_alloc_sharestack(16, 128 * 1024);
    struct sockaddr_in at = {AF_INET, htons((in_port_t)port), {htonl(INADDR_LOOPBACK)}, ""};
    socklen_t length = sizeof at;
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, length) != 0 || listen(listener, SOMAXCONN) != 0)
        return perror("127.0.0.1"), 1;
    getsockname(listener, (struct sockaddr *)&at, &length);
    printf("listening on 127.0.0.1:%d\n", ntohs(at.sin_port));
    fflush(stdout);
    signal(SIGPIPE, SIG_IGN); // a client that is gone is an error of write, not our end
    co_go(NULL, NULL, accept_all, (void *)(intptr_t)listener);
    co_run();
}
