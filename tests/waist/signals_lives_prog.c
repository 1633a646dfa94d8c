// SPDX-License-Identifier: Apache-2.0
// Signals and the lives of threads and processes: cancellation, fork, vfork, exec, credentials, timers,
// profiling, many at once. As signals_prog.c: a trace that is the same natively and under the waist.
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static atomic_int handled;
static int ends[2];
static sem_t semaphore;

static void count(int s) {
    (void)s;
    ++handled;
}
static void on(int signal, void (*handler)(int), int flags) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = handler;
    a.sa_flags = flags;
    sigaction(signal, &a, NULL);
}
static void pause_ms(int ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&t, &t) != 0)
        ;
}
static void mask(int how, int signal) {
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, signal);
    pthread_sigmask(how, &s, NULL);
}
static long in_read(void) {
    char c;
    return read(ends[0], &c, 1);
}
static void end_read(void) {
    if (write(ends[1], "x", 1) != 1)
        abort();
}
static void *just_read(void *argument) {
    in_read();
    return argument;
}

// ---- pthread_cancel

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static atomic_int cleaned, begun;
static void clean(void *argument) { cleaned += *(int *)argument; }
static void clean_mutex(void *argument) {
    ++cleaned;
    pthread_mutex_unlock(argument);
}
static void *cancelled_in_read(void *argument) {
    int one = 1, ten = 10;
    pthread_cleanup_push(clean, &one);
    pthread_cleanup_push(clean, &ten);
    begun = 1;
    in_read();
    pthread_cleanup_pop(0);
    pthread_cleanup_pop(0);
    return argument;
}
static void *cancelled_in_cond(void *argument) {
    pthread_mutex_lock(&lock);
    pthread_cleanup_push(clean_mutex, &lock);
    begun = 1;
    for (;;)
        pthread_cond_wait(&changed, &lock);
    pthread_cleanup_pop(1);
    return argument;
}
static void *cancelled_in_sem(void *argument) {
    int one = 1;
    pthread_cleanup_push(clean, &one);
    begun = 1;
    sem_wait(&semaphore);
    pthread_cleanup_pop(0);
    return argument;
}
static void *cancelled_in_sleep(void *argument) {
    int one = 1;
    pthread_cleanup_push(clean, &one);
    begun = 1;
    pause_ms(20000);
    pthread_cleanup_pop(0);
    return argument;
}
static void *cancelled_in_poll(void *argument) {
    int one = 1;
    struct pollfd p = {ends[0], POLLIN, 0};
    pthread_cleanup_push(clean, &one);
    begun = 1;
    poll(&p, 1, -1);
    pthread_cleanup_pop(0);
    return argument;
}
static void *cancelled_late(void *argument) {
    int one = 1, old;
    pthread_cleanup_push(clean, &one);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    begun = 1;
    pause_ms(150);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    ++cleaned;
    pthread_testcancel();
    pthread_cleanup_pop(0);
    return argument;
}
static void *cancelled_at_once(void *argument) {
    int old, one = 1;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
    pthread_cleanup_push(clean, &one);
    begun = 1;
    for (volatile unsigned i = 0;; ++i)
        if (i % 1000000 == 0)
            syscall(SYS_sched_yield);
    pthread_cleanup_pop(0);
    return argument;
}
static void part_cancel(void) {
    static const struct {
        const char *name;
        void *(*run)(void *);
    } ways[] = {{"read", cancelled_in_read},        {"pthread_cond_wait", cancelled_in_cond},
                {"sem_wait", cancelled_in_sem},     {"nanosleep", cancelled_in_sleep},
                {"poll", cancelled_in_poll},        {"disabled for a while", cancelled_late},
                {"asynchronous", cancelled_at_once}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; ++i) {
        pthread_t t;
        void *result = NULL;
        cleaned = begun = 0;
        pthread_create(&t, NULL, ways[i].run, NULL);
        while (!begun)
            pause_ms(1);
        pause_ms(20);
        int r = pthread_cancel(t);
        pthread_join(t, &result);
        printf("%s: %d, cancelled %d, cleaned %d\n", ways[i].name, r, result == PTHREAD_CANCELED,
               cleaned);
    }
    printf("the mutex is free: %d\n", pthread_mutex_trylock(&lock));
    pthread_mutex_unlock(&lock);
}

// ---- Processes

static void print_masks(const char *who) {
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "SigBlk", 6) || !strncmp(line, "SigIgn", 6))
            printf("%s %s", who, line);
    if (f)
        fclose(f);
}
static void *make_processes(void *argument) {
    int status;
    char *print[] = {argument, "print_masks", NULL};
    mask(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1); // stays with the parent
    pid_t child = fork();
    if (child == 0) {
        sigset_t s, p;
        pthread_sigmask(SIG_BLOCK, NULL, &s);
        sigpending(&p);
        printf("child: USR1 blocked %d pending %d, USR2 blocked %d\n", sigismember(&s, SIGUSR1),
               sigismember(&p, SIGUSR1), sigismember(&s, SIGUSR2));
        handled = 0;
        raise(SIGUSR2);
        mask(SIG_UNBLOCK, SIGUSR1);
        printf("child: handled %d\n", handled);
        kill(getpid(), SIGUSR1);
        printf("child: handled %d\n", handled);
        pthread_t t;
        if (pipe(ends) != 0) // not the one of the parent's threads
            _exit(1);
        pthread_create(&t, NULL, just_read, NULL);
        pause_ms(20);
        pthread_kill(t, SIGUSR2);
        end_read();
        pthread_join(t, NULL);
        printf("child: handled %d\n", handled);
        fflush(stdout);
        execv(argument, print);
        _exit(1);
    }
    waitpid(child, &status, 0);
    printf("fork: %d\n", status);
    child = vfork();
    if (child == 0) {
        execv(argument, print);
        _exit(1);
    }
    waitpid(child, &status, 0);
    printf("vfork: %d\n", status);
    posix_spawnattr_t a;
    sigset_t s;
    posix_spawnattr_init(&a);
    sigemptyset(&s);
    sigaddset(&s, SIGHUP);
    posix_spawnattr_setsigmask(&a, &s);
    for (int with = 0; with < 2; ++with) {
        posix_spawnattr_setflags(&a, with ? POSIX_SPAWN_SETSIGMASK : 0);
        int r = posix_spawn(&child, argument, NULL, &a, print, environ);
        waitpid(child, &status, 0);
        printf("posix_spawn: %d %d\n", r, status);
    }
    printf("system: %d\n", system("exit 3"));
    printf("exec of nothing: %d", execv("/nonexistent", print));
    printf(" %s\n", strerror(errno));
    sigset_t p;
    sigpending(&p);
    printf("USR1 pending %d\n", sigismember(&p, SIGUSR1));
    return argument;
}
static const char *myself;
static void part_processes(void) {
    pthread_t t, reader;
    on(SIGUSR1, count, SA_RESTART);
    on(SIGUSR2, count, SA_RESTART);
    on(SIGCHLD, count, SA_RESTART);
    on(SIGQUIT, SIG_IGN, 0);
    mask(SIG_BLOCK, SIGUSR2);
    pthread_create(&reader, NULL, just_read, NULL);
    mask(SIG_UNBLOCK, SIGUSR2);
    pthread_create(&t, NULL, make_processes, (void *)(size_t)myself);
    pthread_join(t, NULL);
    end_read();
    pthread_join(reader, NULL);
    printf("children seen %d\n", handled > 0);
}

// ---- Credentials: libc signals every thread

static void part_credentials(void) {
    pthread_t t[5];
    if (getuid() != 0) {
        puts("not root");
        return;
    }
    for (int i = 0; i < 5; ++i)
        pthread_create(&t[i], NULL, just_read, NULL);
    pause_ms(20);
    gid_t groups[] = {7, 8};
    printf("setgroups %d\n", setgroups(2, groups));
    printf("setgid %d\n", setgid(4321));
    printf("setuid %d\n", setuid(4321));
    printf("setuid back %d %s\n", setuid(0), strerror(errno));
    printf("setgroups %d %s\n", setgroups(2, groups), strerror(errno));
    printf("now %d %d %d\n", getuid(), getgid(), getgroups(0, NULL));
    for (int i = 0; i < 5; ++i)
        end_read();
    for (int i = 0; i < 5; ++i)
        pthread_join(t[i], NULL);
}

// ---- Timers

static void timer_thread(union sigval v) {
    if (handled < 3) {
        ++handled;
        if (v.sival_int == 42)
            sem_post(&semaphore);
    }
}
static void part_timers(void) {
    pthread_t t;
    pthread_create(&t, NULL, just_read, NULL);
    on(SIGALRM, count, SA_RESTART);
    struct itimerval every = {{0, 10000}, {0, 10000}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &every, NULL);
    while (handled < 5)
        pause_ms(1);
    setitimer(ITIMER_REAL, &never, NULL);
    puts("setitimer");
    timer_t timer;
    struct sigevent e;
    struct itimerspec often = {{0, 10000000}, {0, 10000000}};
    memset(&e, 0, sizeof e);
    e.sigev_notify = SIGEV_SIGNAL;
    e.sigev_signo = SIGRTMIN;
    on(SIGRTMIN, count, SA_RESTART);
    handled = 0;
    timer_create(CLOCK_MONOTONIC, &e, &timer);
    timer_settime(timer, 0, &often, NULL);
    while (handled < 5)
        pause_ms(1);
    timer_delete(timer);
    puts("timer_create");
    memset(&e, 0, sizeof e);
    e.sigev_notify = SIGEV_THREAD;
    e.sigev_notify_function = timer_thread;
    e.sigev_value.sival_int = 42;
    handled = 0;
    printf("SIGEV_THREAD: %d\n", timer_create(CLOCK_MONOTONIC, &e, &timer));
    timer_settime(timer, 0, &often, NULL);
    for (int i = 0; i < 3; ++i)
        sem_wait(&semaphore);
    timer_delete(timer);
    puts("notified");
    struct timespec began, now;
    clock_gettime(CLOCK_MONOTONIC, &began);
    handled = 0;
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 50000}}, NULL);
    on(SIGALRM, count, 0);
    printf("sleep: %u left, handled %d\n", sleep(5) > 0, handled);
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("soon: %d\n", now.tv_sec - began.tv_sec < 3);
    end_read();
    pthread_join(t, NULL);
}

// ---- Many at once

enum { io_threads = 50, signals = 10000 };
static atomic_int storm_over;
static atomic_long bytes;
static void *do_io(void *argument) {
    int p[2];
    char buffer[64];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, p) != 0)
        abort();
    for (long i = 0; !storm_over || i < 10; ++i) {
        long w = write(p[0], buffer, 1 + i % 64), r = 0;
        while (r < w) {
            long n = read(p[1], buffer, sizeof buffer);
            if (n < 0)
                printf("read: %s\n", strerror(errno));
            r += n;
        }
        bytes += r;
        if (i % 8 == 0)
            sched_yield();
    }
    close(p[0]);
    close(p[1]);
    return argument;
}
static void count_queued(int s, siginfo_t *info, void *context) {
    (void)s;
    (void)context;
    handled += info->si_value.sival_int == 1;
}
static void part_storm(void) {
    pthread_t t[io_threads];
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = count_queued;
    a.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaction(SIGRTMIN, &a, NULL);
    sigaction(SIGRTMIN + 1, &a, NULL);
    on(SIGUSR1, count, SA_RESTART);
    for (int i = 0; i < io_threads; ++i)
        pthread_create(&t[i], NULL, do_io, NULL);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < signals; ++i)
            while (sigqueue(getppid(), SIGRTMIN, (union sigval){.sival_int = 1}) != 0)
                pause_ms(1);
        _exit(0);
    }
    for (int i = 0; i < signals; ++i)
        while (pthread_sigqueue(t[i % io_threads], SIGRTMIN + 1, (union sigval){.sival_int = 1}) !=
               0)
            pause_ms(1);
    waitpid(child, NULL, 0);
    for (int i = 0; i < 5000 && handled < 2 * signals; ++i)
        pause_ms(1);
    printf("every one that was queued: %d of %d\n", handled, 2 * signals);
    handled = 0;
    for (int i = 0; i < signals; ++i)
        kill(getpid(), SIGUSR1);
    printf("kill of oneself: %d\n", handled);
    handled = 0;
    for (int i = 0; i < signals; ++i)
        raise(SIGUSR1);
    printf("raise: %d\n", handled);
    storm_over = 1;
    for (int i = 0; i < io_threads; ++i)
        pthread_join(t[i], NULL);
    printf("bytes %d\n", bytes > 0);
}

// ---- Profiling (contract 42)

static atomic_int samples, cut_short, deepest;
static void profile(int s) {
    void *frames[64];
    (void)s;
    int n = backtrace(frames, 64);
    ++samples;
    if (n > deepest)
        deepest = n;
    // The last frame of a whole one is where threads begin.
    if (n < 5)
        ++cut_short;
}
static void *profiled_in_turn(void *argument) {
    struct timespec began, now;
    clock_gettime(CLOCK_MONOTONIC, &began);
    do {
        for (int i = 0; i < 200; ++i) {
            char c;
            if (read(-1, &c, 1) >= 0 || syscall(SYS_getppid) < 0)
                abort();
        }
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - began.tv_sec < 3 && samples < 100);
    return argument;
}
static void part_profile(void) {
    void *warm[4];
    backtrace(warm, 4); // loads the unwinder outside a handler
    on(SIGPROF, profile, SA_RESTART);
    struct itimerval often = {{0, 4000}, {0, 4000}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_PROF, &often, NULL);
    pthread_t t[3];
    for (int i = 0; i < 3; ++i)
        pthread_create(&t[i], NULL, profiled_in_turn, NULL);
    for (int i = 0; i < 3; ++i)
        pthread_join(t[i], NULL);
    setitimer(ITIMER_PROF, &never, NULL);
    printf("samples %d, cut short %d\n", samples >= 50, cut_short);
}

static const struct {
    const char *name;
    void (*run)(void);
} parts[] = {
    {"cancel", part_cancel}, {"processes", part_processes}, {"credentials", part_credentials},
    {"timers", part_timers}, {"storm", part_storm},         {"profile", part_profile}};

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    myself = argv[0];
    if (pipe(ends) != 0 || sem_init(&semaphore, 0, 0) != 0)
        return 1;
    if (argc > 1 && !strcmp(argv[1], "print_masks")) {
        print_masks("program");
        return 0;
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; ++i)
        if (argc < 2)
            puts(parts[i].name);
        else if (strcmp(argv[1], parts[i].name) == 0)
            parts[i].run();
    return 0;
}
