// SPDX-License-Identifier: Apache-2.0
// What a signal does to the call that a thread waits in.
#include "tests/waist/signals.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/stat.h>

// A thread in a call; is a signal that handler takes visible in its result?
static atomic_int in_call;
static int crowded_listener, datagrams;
static void *nap(void *argument) {
    pause_ms(200);
    return argument;
}
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
static long in_connect(void) {
    static struct sockaddr_in crowded = {.sin_family = AF_INET};
    socklen_t size = sizeof crowded;
    int full = socket(AF_INET, SOCK_STREAM, 0), queued[3];
    crowded.sin_port = 0;
    crowded.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(full, (struct sockaddr *)&crowded, size) != 0 || listen(full, 0) != 0 ||
        getsockname(full, (struct sockaddr *)&crowded, &size) != 0)
        abort();
    for (int i = 0; i < 3; ++i) { // more than its queue holds: the next one has to wait
        queued[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(queued[i], (struct sockaddr *)&crowded, size);
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    crowded_listener = full;
    long r = connect(fd, (struct sockaddr *)&crowded, size);
    int error = errno;
    crowded_listener = -1;
    close(fd);
    close(full);
    for (int i = 0; i < 3; ++i)
        close(queued[i]);
    errno = error;
    return r;
}
static void end_connect(void) {
    for (int i = 0; i < 3; ++i) {
        int fd = accept(crowded_listener, NULL, NULL);
        close(fd);
    }
}
static int locked;
static char lock_file[64];
static long in_flock(void) {
    locked = open(lock_file, O_RDONLY | O_CREAT, 0600);
    int other = open(lock_file, O_RDONLY);
    flock(locked, LOCK_EX);
    long r = flock(other, LOCK_EX);
    int error = errno;
    close(other);
    close(locked);
    errno = error;
    return r;
}
static void end_flock(void) { flock(locked, LOCK_UN); }
static int queue, sems;
static long in_msgrcv(void) {
    struct {
        long type;
        char text[8];
    } m;
    return msgrcv(queue, &m, sizeof m.text, 0, 0);
}
static long in_semop(void) {
    struct sembuf b = {0, -1, 0};
    return semop(sems, &b, 1);
}
static int full_pipe[2];
static long in_write(void) {
    static char much[200000];
    long n = write(full_pipe[1], much, sizeof much);
    return n < 0 ? n : n == sizeof much ? 1 : 2;
}
static void end_write(void) {
    char buffer[4096];
    for (long all = 0; all < 200000;)
        all += read(full_pipe[0], buffer, sizeof buffer);
}
static long in_blocked_send(void) {
    static char much[100];
    int both[2], small = 1;
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, both) != 0)
        abort();
    setsockopt(both[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    while (send(both[0], much, sizeof much, MSG_DONTWAIT) > 0)
        ;
    datagrams = both[1];
    long r = send(both[0], much, sizeof much, 0);
    int error = errno;
    close(both[0]);
    close(both[1]);
    errno = error;
    return r;
}
static void end_blocked_send(void) {
    char buffer[4096];
    while (recv(datagrams, buffer, sizeof buffer, MSG_DONTWAIT) > 0)
        ;
}
static char fifo[64];
static long in_open(void) {
    int fd = open(fifo, O_RDONLY);
    if (fd >= 0)
        close(fd);
    return fd < 0 ? -1 : 0;
}
static void end_open(void) { close(open(fifo, O_WRONLY)); }
static long in_futex(void) {
    int word = 0;
    struct timespec t = {0, 300000000};
    return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &t, NULL, 0);
}
static long in_sigwait(void) {
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGUSR2);
    struct timespec t = {0, 300000000};
    return sigtimedwait(&s, NULL, &t);
}
static long in_join(void) {
    pthread_t t;
    void *result;
    pthread_create(&t, NULL, nap, NULL);
    errno = pthread_join(t, &result);
    return errno ? -1 : 0;
}
static long in_clock_nanosleep(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += 1;
    errno = clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL);
    return errno ? -1 : 0;
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
                                     {"pthread_cond_wait", in_cond, end_cond},
                                     {"connect", in_connect, end_connect},
                                     {"flock", in_flock, end_flock},
                                     {"msgrcv", in_msgrcv, NULL},
                                     {"semop", in_semop, NULL},
                                     {"write", in_write, end_write},
                                     {"send", in_blocked_send, end_blocked_send},
                                     {"open", in_open, end_open},
                                     {"futex with a time limit", in_futex, NULL},
                                     {"sigtimedwait", in_sigwait, NULL},
                                     {"pthread_join", in_join, NULL},
                                     {"clock_nanosleep", in_clock_nanosleep, NULL}};
static pthread_t waiter;
static void again(void) { pthread_kill(waiter, SIGUSR1); }

static atomic_int outcome_is_there;
static long outcome;
static int outcome_errno;
static void *wait_in(void *argument) {
    const struct waits *w = argument;
    in_call = 1;
    outcome = w->call();
    outcome_errno = errno;
    outcome_is_there = 1;
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
        int over = outcome_is_there || waits[i].end == NULL;
        if (!over)
            waits[i].end();
        printf("handled %d, by it %d, over %d, ", handled, !!pthread_equal(handled_by, waiter),
               over);
        pthread_join(waiter, NULL);
        errno = outcome_errno;
        say(waits[i].name, outcome);
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
    aio_context_t aio = 0;
    struct io_event events[2];
    struct {
        const sigset_t *mask;
        size_t bytes;
    } as_asked = {&none, 8}, wrong = {&none, 7};
    say("io_setup", syscall(SYS_io_setup, 2, &aio));
    raise(SIGUSR1);
    say("io_pgetevents", syscall(SYS_io_pgetevents, aio, 1, 2, events, NULL, &as_asked));
    printf("handled %d\n", handled);
    say("io_pgetevents, wrong size", syscall(SYS_io_pgetevents, aio, 1, 2, events, &t, &wrong));
    say("io_pgetevents, too many", syscall(SYS_io_pgetevents, aio, 3, 2, events, &t, &as_asked));
    say("io_pgetevents, no mask", syscall(SYS_io_pgetevents, aio, 1, 2, events, &t, NULL));
    syscall(SYS_io_destroy, aio);
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
    if (argc > 1) {
        queue = msgget(IPC_PRIVATE, 0600);
        sems = semget(IPC_PRIVATE, 1, 0600);
        snprintf(lock_file, sizeof lock_file, "/tmp/corun-lock-%d", (int)getpid());
        snprintf(fifo, sizeof fifo, "/tmp/corun-signals-%d", (int)getpid());
        if (queue < 0 || sems < 0 || pipe(full_pipe) != 0 || mkfifo(fifo, 0600) != 0)
            return 1;
    }
    listener = socket(AF_INET, SOCK_STREAM, 0);
    listening.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 ||
        bind(listener, (struct sockaddr *)&listening, size) != 0 || listen(listener, 8) != 0 ||
        getsockname(listener, (struct sockaddr *)&listening, &size) != 0)
        return 1;
    int status = run_part(parts, sizeof parts / sizeof parts[0], argc, argv);
    if (argc > 1) {
        msgctl(queue, IPC_RMID, NULL);
        semctl(sems, 0, IPC_RMID);
        unlink(fifo);
        unlink(lock_file);
    }
    return status;
}
