// SPDX-License-Identifier: Apache-2.0
// deadlock_prog WORD...: threads that wait for each other for ever; "ready" when the threads are made. What
// the words say:
//   two, three   so many threads each hold a mutex and want the next one's
//   twice        one locks its mutex twice
//   join         main holds a mutex, and joins one that wants it
//   inherit      as two, with priority inheritance; robust: with robust ones
//   cond         one waits for a condition that nobody signals
//   timed        as two, but one of them gives up after 1,000 s
//   held         one holds a mutex and reads from a pipe; two want it
// and beside these
//   sleep        one sleeps, for as long as it takes
//   accept       one waits for a connection
//   signal       the process handles SIGUSR1; awaits: one waits for it in sigwait; pause: one pauses
//   serve        one answers each byte on stdin by one on stdout, and all ends with stdin
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NOT_INLINED __attribute__((noinline))

enum { most = 3 };
static pthread_mutex_t mutexes[most];
static pthread_barrier_t all_hold_one;
static int of_the_round, is_timed;

NOT_INLINED static void lock_my_own(int i) { pthread_mutex_lock(&mutexes[i]); }
NOT_INLINED static void lock_the_next(int i) {
    pthread_mutex_t *next = &mutexes[(i + 1) % of_the_round];
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1000;
    if (is_timed && i == 0)
        pthread_mutex_timedlock(next, &until);
    else
        pthread_mutex_lock(next);
    __asm__ volatile("" ::: "memory");
}
static void *of_round(void *number) {
    int i = (int)(long)number;
    char name[] = "worker-?";
    name[7] = (char)('a' + i);
    pthread_setname_np(pthread_self(), name);
    lock_my_own(i);
    pthread_barrier_wait(&all_hold_one);
    lock_the_next(i);
    return NULL;
}

static pthread_t begin(void *(*run)(void *), long number) {
    pthread_t t;
    if (pthread_create(&t, NULL, run, (void *)number) != 0)
        abort();
    return t;
}
static pthread_t go_round(int count) {
    pthread_t t;
    of_the_round = count;
    pthread_barrier_init(&all_hold_one, NULL, (unsigned)count);
    for (long i = 0; i < count; ++i)
        t = begin(of_round, i);
    return t;
}
static void make_mutexes(int protocol, int robust) {
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setprotocol(&a, protocol);
    pthread_mutexattr_setrobust(&a, robust);
    for (int i = 0; i < most; ++i)
        pthread_mutex_init(&mutexes[i], &a);
}

static void *twice(void *unused) {
    pthread_mutex_lock(&mutexes[0]);
    pthread_mutex_lock(&mutexes[0]);
    return unused;
}
static void *wants_the_first(void *unused) {
    pthread_mutex_lock(&mutexes[0]);
    return unused;
}
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static void *in_cond(void *unused) {
    pthread_mutex_lock(&mutexes[0]);
    for (;;)
        pthread_cond_wait(&never, &mutexes[0]);
    return unused;
}
static int pipe_ends[2];
static void *holds_and_reads(void *unused) {
    char c;
    pthread_mutex_lock(&mutexes[0]);
    if (read(pipe_ends[0], &c, 1) != 1)
        abort();
    return unused;
}
static void *sleeps(void *unused) {
    sleep(1000);
    return unused;
}
static void *accepts(void *unused) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(listener, 1) != 0)
        abort();
    accept(listener, NULL, NULL);
    return unused;
}
static void *awaits(void *unused) {
    sigset_t set;
    int s;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigwait(&set, &s);
    return unused;
}
static void *pauses(void *unused) {
    pause();
    return unused;
}
static void *serves(void *unused) {
    char c;
    while (read(0, &c, 1) == 1)
        if (write(1, &c, 1) != 1)
            abort();
    exit(0);
    return unused;
}
static void on_signal(int s) { (void)s; }

int main(int argc, char **argv) {
    pthread_t last = pthread_self();
    make_mutexes(PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED);
    if (pipe(pipe_ends) != 0)
        return 2;
    for (int i = 1; i < argc; ++i) {
        const char *word = argv[i];
        if (strcmp(word, "two") == 0)
            last = go_round(2);
        else if (strcmp(word, "three") == 0)
            last = go_round(3);
        else if (strcmp(word, "twice") == 0)
            last = begin(twice, 0);
        else if (strcmp(word, "inherit") == 0)
            make_mutexes(PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED), last = go_round(2);
        else if (strcmp(word, "robust") == 0)
            make_mutexes(PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST), last = go_round(2);
        else if (strcmp(word, "timed") == 0)
            is_timed = 1, last = go_round(2);
        else if (strcmp(word, "join") == 0) {
            pthread_mutex_lock(&mutexes[0]);
            last = begin(wants_the_first, 0);
        } else if (strcmp(word, "cond") == 0)
            last = begin(in_cond, 0);
        else if (strcmp(word, "held") == 0) {
            begin(holds_and_reads, 0);
            usleep(20000);
            begin(wants_the_first, 0);
            last = begin(wants_the_first, 0);
        } else if (strcmp(word, "sleep") == 0)
            begin(sleeps, 0);
        else if (strcmp(word, "accept") == 0)
            begin(accepts, 0);
        else if (strcmp(word, "signal") == 0)
            signal(SIGUSR1, on_signal);
        else if (strcmp(word, "awaits") == 0)
            begin(awaits, 0);
        else if (strcmp(word, "pause") == 0)
            begin(pauses, 0);
        else if (strcmp(word, "serve") == 0)
            begin(serves, 0);
        else
            return 3;
    }
    printf("ready %d\n", getpid());
    fflush(stdout);
    pthread_join(last, NULL);
    puts("joined");
    return 0;
}
