// SPDX-License-Identifier: Apache-2.0
// helper_signals_prog FIFO: a thread opens it, which waits for a writer on a helper; SIGSEGV is handled.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static volatile int handled;
static void count(int s) { handled += s == SIGSEGV; }

static void *read_one(void *path) {
    char c = 0;
    int fd = open(path, O_RDONLY);
    if (fd >= 0 && read(fd, &c, 1) == 1 && c == 'x')
        return path;
    perror("FIFO");
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    struct sigaction a = {.sa_handler = count, .sa_flags = SA_RESTART};
    sigaction(SIGSEGV, &a, NULL);
    printf("%d\n", getpid());
    fflush(stdout);
    pthread_t t;
    void *good;
    pthread_create(&t, NULL, read_one, argv[1]);
    pthread_join(t, &good);
    printf("read: %s, SIGSEGV %s\n", good ? "ok" : "nothing", handled > 0 ? "handled" : "not seen");
    return 0;
}
