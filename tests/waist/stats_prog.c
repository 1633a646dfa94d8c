/* SPDX-License-Identifier: Apache-2.0 */
/* For stats_test.sh: THREADS threads that each read READS bytes from one pipe; then what the next
 * words say: "signal" sends SIGUSR1 to the process while all of them wait, "hold" waits until it is
 * killed, "sync" writes a file and fsyncs it, "compute" keeps the turn for 60 ms, "own" handles USR1 itself,
 * "fork" does all of it in a child, "last" ends main by pthread_exit, "handlers" interrupts each of
 * five sigsuspends and one read that goes on, "spin" has a thread compute without a call in the end. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int ends[2], threads, reads;
static pthread_barrier_t all_there;

static int said(int argc, char **argv, const char *word) {
    for (int i = 3; i < argc; ++i)
        if (strcmp(argv[i], word) == 0)
            return 1;
    return 0;
}

static void *reader(void *unused) {
    char c;
    char deep[20000];
    *(volatile char *)deep = 1;
    pthread_barrier_wait(&all_there);
    for (int i = 0; i < reads; ++i)
        if (read(ends[0], &c, 1) != 1)
            abort();
    return unused;
}

static void own_handler(int s) {
    static const char text[] = "own handler\n";
    if (s == SIGUSR1 && write(1, text, sizeof text - 1) < 0)
        _exit(9);
}

static void compute(void) {
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < 60);
}

static pthread_t interrupted;
static void *interrupt(void *unused) {
    pthread_kill(interrupted, SIGUSR2);
    return unused;
}
static void *interrupt_and_write(void *unused) {
    pthread_kill(interrupted, SIGUSR2);
    sched_yield();
    if (write(ends[1], "x", 1) != 1)
        abort();
    return unused;
}
static void handled(int s) { (void)s; }

/* They run when this thread waits, and not before. */
static void be_interrupted(void) {
    struct sigaction a;
    sigset_t all_but_one, one;
    pthread_t t;
    char c;
    memset(&a, 0, sizeof a);
    a.sa_handler = handled;
    a.sa_flags = SA_RESTART;
    sigaction(SIGUSR2, &a, NULL);
    sigemptyset(&one);
    sigaddset(&one, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &one, &all_but_one);
    interrupted = pthread_self();
    for (int i = 0; i < 5; ++i) {
        pthread_create(&t, NULL, interrupt, NULL);
        sigsuspend(&all_but_one);
        pthread_join(t, NULL);
    }
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    pthread_create(&t, NULL, interrupt_and_write, NULL);
    if (read(ends[0], &c, 1) != 1)
        abort();
    pthread_join(t, NULL);
}

static volatile unsigned long spun;
__attribute__((noinline)) static void spin_without_a_call(void) {
    for (spun = 0; spun < 100000000; ++spun)
        ;
}
static void *spinner(void *unused) {
    spin_without_a_call();
    return unused;
}

int main(int argc, char **argv) {
    threads = atoi(argv[1]);
    reads = atoi(argv[2]);
    if (said(argc, argv, "fork")) {
        pid_t child = fork();
        if (child > 0) {
            int status;
            return waitpid(child, &status, 0) == child && status == 0 ? 0 : 3;
        }
    }
    struct sigaction now;
    sigaction(SIGUSR1, NULL, &now);
    if (now.sa_handler != SIG_DFL)
        puts("SIGUSR1 is not at its default");
    if (said(argc, argv, "own"))
        signal(SIGUSR1, own_handler);
    pthread_t *t = calloc((size_t)threads, sizeof *t);
    if (!t || pipe(ends) != 0 || pthread_barrier_init(&all_there, NULL, (unsigned)threads + 1) != 0)
        return 2;
    for (int i = 0; i < threads; ++i)
        if (pthread_create(&t[i], NULL, reader, NULL) != 0)
            return 2;
    pthread_barrier_wait(&all_there);
    for (int i = 0; i < 3; ++i)
        usleep(1000); /* they all come to their read */
    sigaction(SIGUSR1, NULL, &now);
    if (now.sa_handler != SIG_DFL && !said(argc, argv, "own"))
        puts("SIGUSR1 is not at its default");
    if (said(argc, argv, "signal"))
        kill(getpid(), SIGUSR1);
    if (said(argc, argv, "hold")) {
        puts("holding");
        fflush(stdout);
        pause();
    }
    for (int i = 0; i < threads * reads; ++i)
        if (write(ends[1], "x", 1) != 1)
            return 2;
    for (int i = 0; i < threads; ++i)
        pthread_join(t[i], NULL);
    if (said(argc, argv, "handlers"))
        be_interrupted();
    if (said(argc, argv, "compute"))
        compute();
    if (said(argc, argv, "spin") &&
        (pthread_create(t, NULL, spinner, NULL) != 0 || pthread_join(*t, NULL) != 0))
        return 2;
    if (said(argc, argv, "sync")) {
        int fd = open("synced", O_CREAT | O_RDWR, 0644);
        if (fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) != 0)
            return 2;
    }
    free(t);
    if (said(argc, argv, "last"))
        pthread_exit(NULL);
    return 0;
}
