// SPDX-License-Identifier: Apache-2.0
// dump_prog THREADS [handler|small|fork]: threads that wait in different ways, each below nested calls; "ready" once
// all do, then it lives until its stdin ends. handler: SIGQUIT is the program's.
// small: the first of them is made on a stack of 16 KiB, and has a name that a terminal would obey.
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define NESTED __attribute__((noinline))
#define KEEP_FRAME() __asm__ volatile("" ::: "memory")

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER, free_one = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static sem_t none;
static int pipe_ends[2], pair[2];
static volatile int waiting, over;

static void in_read(void) {
    char c;
    if (read(pipe_ends[0], &c, 1) != 0)
        abort();
}
static void in_recv(void) {
    char c;
    if (recv(pair[0], &c, 1, 0) != 0)
        abort();
}
static void in_mutex(void) {
    pthread_mutex_lock(&held);
    pthread_mutex_unlock(&held);
}
static void in_cond(void) {
    pthread_mutex_lock(&free_one);
    while (!over)
        pthread_cond_wait(&never, &free_one);
    pthread_mutex_unlock(&free_one);
}
static void in_semaphore(void) {
    sem_wait(&none);
    KEEP_FRAME();
}
static void in_sleep(void) {
    struct timespec t = {1000, 0};
    while (!over && clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
        ;
}
static void (*const ways[])(void) = {in_read, in_recv, in_mutex, in_cond, in_semaphore, in_sleep};
enum { count_of_ways = sizeof ways / sizeof *ways };

NESTED static void nested(int depth, void (*wait_there)(void)) {
    if (depth > 1)
        nested(depth - 1, wait_there);
    else
        wait_there();
    KEEP_FRAME();
}

NESTED static void *thread_main(void *number) {
    long i = (long)number;
    __atomic_fetch_add(&waiting, 1, __ATOMIC_RELAXED);
    nested((int)(i / count_of_ways % 40) + 1, ways[i % count_of_ways]);
    KEEP_FRAME();
    return NULL;
}

// Both ends of a connection.
static int connect_pair(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    pair[1] = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&a, n) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&a, &n) != 0 ||
        connect(pair[1], (struct sockaddr *)&a, n) != 0)
        return -1;
    pair[0] = accept(listener, NULL, NULL);
    close(listener);
    return pair[0];
}

static void *named(void *unused) {
    pthread_setname_np(pthread_self(), "\033[31m\nthread 7");
    pause();
    return unused;
}
static void make_first_thread(void) {
    pthread_t t;
    if (pthread_create(&t, NULL, named, NULL) != 0)
        abort();
}
static void first_thread_on_a_small_stack(void) {
    enum { bytes = 16 * 1024 };
    static ucontext_t here, there;
    getcontext(&there);
    there.uc_stack.ss_sp = malloc(bytes);
    there.uc_stack.ss_size = bytes;
    there.uc_link = &here;
    makecontext(&there, make_first_thread, 0);
    swapcontext(&here, &there);
}

// A child of one thread, as natively: SIGQUIT ends it.
static void child_of_one_thread(void) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        kill(getpid(), SIGQUIT);
        _exit(1);
    }
    waitpid(child, &status, 0);
    printf("a child ends by signal %d\n", WTERMSIG(status));
}

static void own_handler(int s) {
    (void)s;
    if (write(1, "own handler\n", 12) != 12)
        _exit(1);
}
static void wake(int s) { (void)s; }

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 0;
    if (argc > 2 && strcmp(argv[2], "handler") == 0)
        signal(SIGQUIT, own_handler);
    signal(SIGUSR1, wake);
    sem_init(&none, 0, 0);
    if (pipe(pipe_ends) != 0 || connect_pair() < 0)
        return 2;
    pthread_mutex_lock(&held);
    pthread_t *all = calloc((size_t)threads + 1, sizeof *all);
    if (argc > 2 && strcmp(argv[2], "small") == 0)
        first_thread_on_a_small_stack();
    for (long i = 0; i < threads; ++i)
        if (pthread_create(&all[i], NULL, thread_main, (void *)i) != 0)
            return 3;
    while (waiting < threads)
        usleep(1000); // those that were counted then go on until they wait
    if (argc > 2 && strcmp(argv[2], "fork") == 0)
        child_of_one_thread();
    printf("ready %d\n", getpid());
    fflush(stdout);
    char c;
    while (read(0, &c, 1) > 0 || errno == EINTR)
        errno = 0;
    over = 1;
    close(pipe_ends[1]);
    close(pair[1]);
    pthread_mutex_unlock(&held);
    pthread_cond_broadcast(&never);
    for (int i = 0; i < threads; ++i) {
        sem_post(&none);
        if (ways[i % count_of_ways] == in_sleep)
            pthread_kill(all[i], SIGUSR1);
    }
    for (int i = 0; i < threads; ++i)
        pthread_join(all[i], NULL);
    printf("joined %d\n", threads);
    return 0;
}
