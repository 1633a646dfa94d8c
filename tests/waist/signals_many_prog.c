// SPDX-License-Identifier: Apache-2.0
// Many signals: timers, storms, a profile.
#include "tests/waist/signals.h"

#include <execinfo.h>

// ---- Timers

// A count of its own: a signal of the timer before may still be under way.
static atomic_int notified;
static void timer_thread(union sigval v) {
    if (atomic_fetch_add(&notified, 1) < 3 && v.sival_int == 42)
        sem_post(&semaphore);
}
static timer_t ticking(struct sigevent e) {
    timer_t timer;
    struct itimerspec often = {{0, 10000000}, {0, 10000000}};
    if (timer_create(CLOCK_MONOTONIC, &e, &timer) != 0 ||
        timer_settime(timer, 0, &often, NULL) != 0)
        abort();
    return timer;
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
    on(SIGRTMIN, count, SA_RESTART);
    handled = 0;
    timer_t timer =
        ticking((struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN});
    while (handled < 5)
        pause_ms(1);
    timer_delete(timer);
    puts("timer_create");
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

static void notify(void) {
    timer_t timer = ticking((struct sigevent){.sigev_notify = SIGEV_THREAD,
                                              .sigev_notify_function = timer_thread,
                                              .sigev_value.sival_int = 42});
    for (int i = 0; i < 3; ++i)
        sem_wait(&semaphore);
    timer_delete(timer);
    puts("notified");
}
// glibc's signals of its own, which its sigaction refuses.
static void set_internal(void (*handler)(int)) {
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        unsigned long mask;
    } action = {handler, 0, NULL, 0};
    for (int s = 32; s <= 33; ++s)
        if (syscall(SYS_rt_sigaction, s, &action, NULL, sizeof action.mask) != 0)
            abort();
}
static void part_notified(void) {
    set_internal(SIG_DFL);
    notify();
}
// As whoever is born of a posix_spawn finds them.
static void part_notified_though_ignored(void) {
    set_internal(SIG_IGN);
    notify();
}

// A timer for one thread, with a signal that the process ignores and the thread waits for.
static void *wait_for_timer(void *argument) {
    struct sigevent e;
    timer_t timer;
    sigset_t s;
    memset(&e, 0, sizeof e);
    e.sigev_notify = SIGEV_THREAD_ID;
    e.sigev_signo = SIGRTMIN + 2;
    e._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    sigemptyset(&s);
    sigaddset(&s, SIGRTMIN + 2);
    pthread_sigmask(SIG_BLOCK, &s, NULL);
    printf("SIGEV_THREAD_ID: %d\n", timer_create(CLOCK_MONOTONIC, &e, &timer));
    timer_settime(timer, 0, &(struct itimerspec){{0, 0}, {0, 1000000}}, NULL);
    siginfo_t info;
    printf("awaited: %d", sigwaitinfo(&s, &info) == SIGRTMIN + 2);
    printf(", of a timer: %d\n", info.si_code == SI_TIMER);
    return argument;
}
static void part_ignored(void) {
    on(SIGRTMIN + 2, SIG_IGN, 0);
    pthread_t t;
    pthread_create(&t, NULL, wait_for_timer, NULL);
    pthread_join(t, NULL);
    kill(getpid(), SIGRTMIN + 2);
    puts("ignored by main");
    execl("/proc/self/exe", "signals_many_prog", "is_ignored", NULL);
}
// What a program that is executed finds.
static void part_is_ignored(void) {
    struct sigaction a;
    sigaction(SIGRTMIN + 2, NULL, &a);
    printf("ignored %d\n", a.sa_handler == SIG_IGN);
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

static atomic_int samples, cut_short, sampled[3];
static void *bottom_of_first, *bottom_of_others; // where a whole stack ends
static pthread_t first;
static __thread atomic_int *own_samples;
static void *bottom_of_stack(void) {
    void *frames[64];
    return frames[backtrace(frames, 64) - 1];
}
static void profile(int s) {
    void *frames[64];
    (void)s;
    int n = backtrace(frames, 64);
    ++samples;
    if (own_samples)
        ++*own_samples;
    if (n < 5 || frames[n - 1] !=
                     (pthread_equal(pthread_self(), first) ? bottom_of_first : bottom_of_others))
        ++cut_short;
}
static void *profiled_in_turn(void *argument) {
    struct timespec began, now;
    own_samples = argument;
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
static void *note_bottom(void *argument) {
    bottom_of_others = bottom_of_stack();
    return argument;
}
static void part_profile(void) {
    pthread_t t[3];
    first = pthread_self();
    bottom_of_first = bottom_of_stack(); // loads the unwinder outside a handler, too
    pthread_create(&t[0], NULL, note_bottom, NULL);
    pthread_join(t[0], NULL);
    on(SIGPROF, profile, SA_RESTART);
    struct itimerval often = {{0, 4000}, {0, 4000}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_PROF, &often, NULL);
    for (int i = 0; i < 3; ++i)
        pthread_create(&t[i], NULL, profiled_in_turn, &sampled[i]);
    for (int i = 0; i < 3; ++i)
        pthread_join(t[i], NULL);
    setitimer(ITIMER_PROF, &never, NULL);
    printf("samples %d, in each thread %d, cut short %d\n", samples >= 50,
           sampled[0] > 0 && sampled[1] > 0 && sampled[2] > 0, cut_short);
}

// ---- The end of a process of parked threads

static void *end_at_sigterm(void *argument) {
    sigset_t s;
    int got;
    sigemptyset(&s);
    sigaddset(&s, SIGTERM);
    sigwait(&s, &got);
    printf("sigwait: %d\n", got);
    exit(argument ? 3 : 4);
}
static void end_by_handler(int s) { _exit(s + 50); }
static void part_terminate(void) {
    enum { by_default, by_handler, by_sigwait, without_main, ways };
    for (int way = 0; way < ways; ++way) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t t;
            if (way >= by_sigwait) {
                mask(SIG_BLOCK, SIGTERM);
                pthread_create(&t, NULL, end_at_sigterm, ends);
            }
            for (int i = 0; i < 200; ++i)
                pthread_create(&t, NULL, just_read, NULL);
            if (way == by_handler)
                on(SIGTERM, end_by_handler, 0);
            handled = 1;
            if (way == without_main)
                pthread_exit(NULL);
            pause();
            _exit(9);
        }
        struct timespec began, now;
        pause_ms(300);
        clock_gettime(CLOCK_MONOTONIC, &began);
        kill(child, SIGTERM);
        int status;
        waitpid(child, &status, 0);
        clock_gettime(CLOCK_MONOTONIC, &now);
        printf("%d: status %x, soon %d\n", way, (unsigned)status, now.tv_sec - began.tv_sec < 2);
    }
}

// ---- contract 42: nobody is left of whoever ran last, and the scheduler waits

static void *soon_gone(void *unused) {
    pause_ms(2);
    return unused;
}
static void part_gone(void) {
    enum { times = 20 };
    int asked[2];
    char c;
    on(SIGUSR1, count, 0);
    if (pipe(asked) != 0)
        abort();
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        close(asked[1]);
        while (read(asked[0], &c, 1) == 1) {
            pause_ms(10); // the thread that is gone was the last to run
            kill(parent, SIGUSR1);
        }
        _exit(0);
    }
    int interrupted = 0;
    for (int i = 0; i < times; ++i) {
        pthread_t t;
        pthread_create(&t, NULL, soon_gone, NULL);
        pthread_detach(t);
        if (write(asked[1], "x", 1) != 1)
            abort();
        interrupted += in_read() < 0 && errno == EINTR;
    }
    close(asked[1]);
    waitpid(child, NULL, 0);
    printf("interrupted %d times of %d, handled %d, by the main thread %d\n", interrupted, times,
           handled, pthread_equal(handled_by, pthread_self()) != 0);
}

static const struct part parts[] = {{"timers", part_timers},
                                    {"notified", part_notified},
                                    {"notified_though_ignored", part_notified_though_ignored},
                                    {"ignored", part_ignored},
                                    {"is_ignored", part_is_ignored},
                                    {"storm", part_storm},
                                    {"profile", part_profile},
                                    {"terminate", part_terminate},
                                    {"gone", part_gone}};

int main(int argc, char **argv) {
    return run_part(parts, sizeof parts / sizeof parts[0], argc, argv);
}
