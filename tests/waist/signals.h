// SPDX-License-Identifier: Apache-2.0
// For the signals_*_prog.c: programs of several parts, each of which prints a trace. `PROG NAME` runs one,
// without a name the program lists them. signals_test.sh compares what they say under the waist with
// what they say natively.
#pragma once

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __cplusplus // lint compiles every header alone, as C++
#include <atomic>
using std::atomic_int;
#else
#include <stdatomic.h>
#endif

#define MAYBE __attribute__((unused)) static

MAYBE atomic_int handled;
MAYBE pthread_t handled_by;
MAYBE sem_t semaphore;
MAYBE int ends[2]; // of a pipe that nobody writes to, but to end a test

MAYBE void count(int s) {
    (void)s;
    handled_by = pthread_self();
    ++handled;
}
MAYBE void on(int signal, void (*handler)(int), int flags) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = handler;
    a.sa_flags = flags;
    sigaction(signal, &a, NULL);
}
MAYBE void mask(int how, int signal) {
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, signal);
    pthread_sigmask(how, &s, NULL);
}
MAYBE void pause_ms(int ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&t, &t) != 0)
        ;
}
MAYBE void say(const char *what, long r) {
    printf("%s: %ld %s\n", what, r, r < 0 ? strerror(errno) : "ok");
}
MAYBE void *show_mask(void *argument) {
    sigset_t s;
    pthread_sigmask(SIG_BLOCK, NULL, &s);
    printf("%s: USR1 %d USR2 %d TERM %d\n", (const char *)argument, sigismember(&s, SIGUSR1),
           sigismember(&s, SIGUSR2), sigismember(&s, SIGTERM));
    return NULL;
}

MAYBE long in_read(void) {
    char c;
    return read(ends[0], &c, 1);
}
MAYBE void end_read(void) {
    if (write(ends[1], "x", 1) != 1)
        abort();
}
MAYBE void *just_read(void *argument) {
    in_read();
    return argument;
}

struct part {
    const char *name;
    void (*run)(void);
};
MAYBE int run_part(const struct part *parts, size_t count_of_parts, int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (pipe(ends) != 0 || sem_init(&semaphore, 0, 0) != 0)
        return 1;
    for (size_t i = 0; i < count_of_parts; ++i)
        if (argc < 2)
            puts(parts[i].name);
        else if (strcmp(argv[1], parts[i].name) == 0)
            parts[i].run();
    return 0;
}
