// SPDX-License-Identifier: Apache-2.0
// What a signal does to the call that a thread waits in.
#include "tests/waist/signals.h"

#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/select.h>

// A thread in a call; is a signal that handler takes visible in its result?
static atomic_int in_call;
struct waits {
    const char *name;
    long (*call)(void);
    void (*end)(void); // lets a call end that has gone on
};
static long in_poll(void) {
    struct pollfd p = {ends[0], POLLIN, 0};
    return poll(&p, 1, 300);
}
static long in_select(void) {
    fd_set set;
    struct timeval t = {0, 300000};
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    return select(ends[0] + 1, &set, NULL, NULL, &t);
}
static long in_epoll(void) {
    struct epoll_event e = {.events = EPOLLIN};
    int fd = epoll_create1(0);
    epoll_ctl(fd, EPOLL_CTL_ADD, ends[0], &e);
    long r = epoll_wait(fd, &e, 1, 300);
    int error = errno;
    close(fd);
    errno = error;
    return r;
}
static long in_nanosleep(void) {
    struct timespec t = {0, 300000000}, left = {9, 9};
    long r = nanosleep(&t, &left);
    if (r < 0 && (left.tv_sec != 0 || left.tv_nsec > 299000000 || left.tv_nsec < 1))
        printf("left %ld.%09ld\n", (long)left.tv_sec, left.tv_nsec);
    return r;
}
static long in_usleep(void) { return usleep(300000); }
static long in_sem_wait(void) { return sem_wait(&semaphore); }
static long in_sem_timedwait(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += 1;
    return sem_timedwait(&semaphore, &t);
}
static void end_sem(void) { sem_post(&semaphore); }
static int listener;
static struct sockaddr_in listening = {.sin_family = AF_INET};
static long in_accept(void) {
    int fd = accept(listener, NULL, NULL);
    if (fd >= 0)
        close(fd);
    return fd >= 0 ? 0 : -1;
}
static void end_accept(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    connect(fd, (struct sockaddr *)&listening, sizeof listening);
    close(fd);
}
static int pair[2];
static long in_recv(void) {
    char c;
    return recv(pair[0], &c, 1, 0);
}
static void end_recv(void) {
    if (write(pair[1], "x", 1) != 1)
        abort();
}
static long in_limited_recv(void) {
    struct timeval t = {0, 400000}, none = {0, 0};
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    long r = in_recv();
    int error = errno;
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none);
    errno = error;
    return r;
}
static long in_pause(void) { return pause(); }
static long in_sigsuspend(void) {
    sigset_t none;
    sigemptyset(&none);
    return sigsuspend(&none);
}
static void again(void);
static long in_waitpid(void) {
    pid_t child = fork();
    if (child == 0) {
        pause_ms(300);
        _exit(7);
    }
    int status = 0;
    long r = waitpid(child, &status, 0);
    if (r > 0)
        return WEXITSTATUS(status);
    int error = errno;
    waitpid(child, &status, 0);
    errno = error;
    return r;
}
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int condition;
static long in_cond(void) {
    pthread_mutex_lock(&lock);
    while (!condition)
        pthread_cond_wait(&changed, &lock);
    condition = 0;
    pthread_mutex_unlock(&lock);
    return 0;
}
static void end_cond(void) {
    pthread_mutex_lock(&lock);
    condition = 1;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}
static const struct waits waits[] = {{"read", in_read, end_read},
                                     {"recv", in_recv, end_recv},
                                     {"recv with a time limit", in_limited_recv, end_recv},
                                     {"accept", in_accept, end_accept},
                                     {"poll", in_poll, NULL},
                                     {"select", in_select, NULL},
                                     {"epoll_wait", in_epoll, NULL},
                                     {"nanosleep", in_nanosleep, NULL},
                                     {"usleep", in_usleep, NULL},
                                     {"sem_wait", in_sem_wait, end_sem},
                                     {"sem_timedwait", in_sem_timedwait, end_sem},
                                     {"pause", in_pause, again},
                                     {"sigsuspend", in_sigsuspend, again},
                                     {"waitpid", in_waitpid, NULL},
                                     {"pthread_cond_wait", in_cond, end_cond}};
static pthread_t waiter;
static void again(void) { pthread_kill(waiter, SIGUSR1); }

static atomic_int outcome_is_there;
static void *wait_in(void *argument) {
    const struct waits *w = argument;
    in_call = 1;
    long r = w->call();
    int error = errno;
    outcome_is_there = 1;
    errno = error;
    say(w->name, r);
    return NULL;
}
static void interrupt_each(int flags) {
    on(SIGUSR1, count, flags);
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; ++i) {
        in_call = outcome_is_there = handled = 0;
        pthread_create(&waiter, NULL, wait_in, (void *)&waits[i]);
        while (!in_call)
            pause_ms(1);
        pause_ms(50);
        pthread_kill(waiter, SIGUSR1);
        pause_ms(50);
        printf("handled %d, by it %d, over %d: ", handled, !!pthread_equal(handled_by, waiter),
               outcome_is_there || waits[i].end == NULL);
        fflush(stdout);
        if (!outcome_is_there && waits[i].end)
            waits[i].end();
        pthread_join(waiter, NULL);
    }
}
static void part_interrupt(void) { interrupt_each(0); }
static void part_restart(void) { interrupt_each(SA_RESTART); }

// ---- Masks of ppoll and kin

static void *masked_wait(void *argument) {
    sigset_t none;
    sigemptyset(&none);
    struct timespec t = {0, 200000000}, zero = {0, 0};
    struct pollfd p = {ends[0], POLLIN, 0};
    mask(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    say("ppoll, pending", ppoll(&p, 1, &t, &none));
    raise(SIGUSR1);
    say("ppoll, no time", ppoll(&p, 1, &zero, &none));
    printf("handled %d\n", handled);
    in_call = 1;
    say("ppoll, later", ppoll(&p, 1, NULL, &none));
    say("ppoll, none", ppoll(&p, 1, &t, &none));
    raise(SIGUSR1);
    end_read();
    say("ppoll, ready", ppoll(&p, 1, &t, &none));
    printf("handled %d\n", handled);
    in_read();
    raise(SIGUSR1);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    say("pselect", pselect(ends[0] + 1, &set, NULL, NULL, NULL, &none));
    printf("handled %d\n", handled);
    show_mask("after");
    mask(SIG_UNBLOCK, SIGUSR1);
    printf("handled %d\n", handled);
    return argument;
}
static void part_masked_waits(void) {
    pthread_t t;
    on(SIGUSR1, count, SA_RESTART);
    pthread_create(&t, NULL, masked_wait, NULL);
    while (!in_call)
        pause_ms(1);
    pause_ms(50);
    pthread_kill(t, SIGUSR1);
    pthread_join(t, NULL);
}

static const struct part parts[] = {
    {"interrupt", part_interrupt}, {"restart", part_restart}, {"masked_waits", part_masked_waits}};

int main(int argc, char **argv) {
    socklen_t size = sizeof listening;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    listening.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 ||
        bind(listener, (struct sockaddr *)&listening, size) != 0 || listen(listener, 8) != 0 ||
        getsockname(listener, (struct sockaddr *)&listening, &size) != 0)
        return 1;
    return run_part(parts, sizeof parts / sizeof parts[0], argc, argv);
}
