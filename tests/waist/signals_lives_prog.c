// SPDX-License-Identifier: Apache-2.0
// Signals and the lives of threads and processes: cancellation, fork, vfork, exec, credentials.
#include "tests/waist/signals.h"

#include <grp.h>
#include <spawn.h>

extern char **environ;

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
static volatile int handled_twos;
static void count_two(int s) {
    count(s);
    ++handled_twos;
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
    child = vfork();
    if (child == 0) { // on our memory, with our handlers
        raise(SIGUSR2);
        kill(getpid(), SIGUSR2);
        _exit(0);
    }
    waitpid(child, &status, 0);
    printf("vfork: %d, handled in the child %d\n", status, handled_twos);
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
    on(SIGUSR2, count_two, SA_RESTART);
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

// It is for the reader, for whoever forks blocks it, and may not have reached it yet.
static void part_fork_pending(void) {
    pthread_t reader;
    on(SIGRTMIN, count, SA_RESTART);
    pthread_create(&reader, NULL, just_read, NULL);
    mask(SIG_BLOCK, SIGRTMIN);
    pause_ms(20);
    sigqueue(getpid(), SIGRTMIN, (union sigval){0});
    pid_t child = fork();
    if (child == 0) {
        sigset_t p;
        sigpending(&p);
        printf("child: pending %d\n", sigismember(&p, SIGRTMIN));
        _exit(0);
    }
    waitpid(child, NULL, 0);
    end_read();
    pthread_join(reader, NULL);
    mask(SIG_UNBLOCK, SIGRTMIN);
    printf("parent: handled %d\n", handled);
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

static const struct part parts[] = {{"cancel", part_cancel},
                                    {"processes", part_processes},
                                    {"fork_pending", part_fork_pending},
                                    {"credentials", part_credentials}};

int main(int argc, char **argv) {
    myself = argv[0];
    if (argc > 1 && !strcmp(argv[1], "print_masks")) {
        print_masks("program");
        return 0;
    }
    return run_part(parts, sizeof parts / sizeof parts[0], argc, argv);
}
