// SPDX-License-Identifier: Apache-2.0
/*
 * echo_client - many coroutines talk to an echo server at once and check each line that comes back.
 *
 *     echo_client PORT [COROUTINES [LINES]]       100 coroutines, 10 lines each
 */
#include <co_routine.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int port, lines = 10;
static long good, bad;

// Reads until `size` bytes are there: TCP may bring a line in pieces.
static bool read_all(int fd, char *to, size_t size) {
    for (ssize_t n; size > 0; to += n, size -= (size_t)n)
        if ((n = read(fd, to, size)) <= 0)
            return false;
    return true;
}

static void *talk(void *number) {
    co_enable_hook_sys(); // connect, read and write wait in the loop
    struct sockaddr_in to = {AF_INET, htons((in_port_t)port), {htonl(INADDR_LOOPBACK)}, ""};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool open = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
    if (!open)
        perror("connect");
    for (int i = 0; i < lines; i++) {
        char sent[64], back[64];
        int n =
            snprintf(sent, sizeof sent, "line %d of coroutine %ld\n", i, (long)(intptr_t)number);
        open = open && write(fd, sent, (size_t)n) == n && read_all(fd, back, (size_t)n);
        if (open && memcmp(sent, back, (size_t)n) == 0)
            good++;
        else
            bad++;
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 2)
        return fprintf(stderr, "usage: echo_client PORT [COROUTINES [LINES]]\n"), 2;
    port = atoi(argv[1]);
    long coroutines = argc > 2 ? atol(argv[2]) : 100;
    lines = argc > 3 ? atoi(argv[3]) : lines;
    for (long i = 0; i < coroutines; i++)
        if (co_go(NULL, NULL, talk, (void *)(intptr_t)i) != 0)
            return fprintf(stderr, "echo_client: no memory for coroutine %ld\n", i), 1;
    co_run();
    printf("%ld coroutines, %ld lines came back, %ld did not\n", coroutines, good, bad);
    return bad == 0 ? 0 : 1;
}
