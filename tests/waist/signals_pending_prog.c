// SPDX-License-Identifier: Apache-2.0
// Masks, what is pending where, and who gets it.
#include "tests/waist/signals.h"

#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/uio.h>

// ---- Masks

static void *block_one(void *argument) {
    show_mask("inherited");
    mask(SIG_BLOCK, SIGUSR2);
    show_mask("of the thread");
    sem_post(&semaphore);
    in_read();
    sigset_t p;
    sigpending(&p);
    printf("pending: USR1 %d USR2 %d\n", sigismember(&p, SIGUSR1), sigismember(&p, SIGUSR2));
    int before = handled;
    mask(SIG_UNBLOCK, SIGUSR2);
    printf("delivered by unblocking: %d\n", handled - before);
    mask(SIG_UNBLOCK, SIGUSR1);
    printf("delivered by unblocking: %d\n", handled - before);
    return argument;
}
static void part_masks(void) {
    pthread_t t;
    on(SIGUSR1, count, SA_RESTART);
    on(SIGUSR2, count, SA_RESTART);
    mask(SIG_BLOCK, SIGUSR1);
    pthread_create(&t, NULL, block_one, NULL);
    sem_wait(&semaphore);
    show_mask("main");
    pthread_kill(t, SIGUSR1);
    pthread_kill(t, SIGUSR2);
    pthread_kill(t, SIGUSR2);
    kill(getpid(), SIGUSR2); // main has it
    printf("main: handled %d, by main %d\n", handled, !!pthread_equal(handled_by, pthread_self()));
    kill(getpid(), SIGUSR1); // nobody
    sigset_t p;
    sigpending(&p);
    printf("main: USR1 pending %d\n", sigismember(&p, SIGUSR1));
    end_read();
    pthread_join(t, NULL);
    printf("handled %d\n", handled);
    printf("kill: %d %d\n", pthread_kill(pthread_self(), 0), pthread_kill(pthread_self(), 99));
    printf("unknown thread: %ld", syscall(SYS_tgkill, getpid(), 0x3FFFFFF0, SIGUSR1));
    printf(" %s\n", strerror(errno));
    mask(SIG_UNBLOCK, SIGUSR1);
    printf("handled %d\n", handled);
}

// ---- sigwait, signalfd

static void *sigwait_thread(void *argument) {
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGTERM);
    sigaddset(&s, SIGUSR1);
    sigaddset(&s, SIGRTMIN + 1);
    for (int i = 0; i < 5; ++i) {
        siginfo_t info;
        int r = sigwaitinfo(&s, &info);
        printf("sigwaitinfo: %d code %d value %d\n", r == SIGRTMIN + 1 ? -1 : r, info.si_code,
               r == SIGRTMIN + 1 ? info.si_value.sival_int : 0);
        sem_post(&semaphore);
    }
    return argument;
}
static void part_sigwait(void) {
    pthread_t waiting, others[20];
    mask(SIG_BLOCK, SIGTERM);
    mask(SIG_BLOCK, SIGUSR1);
    mask(SIG_BLOCK, SIGRTMIN + 1);
    on(SIGUSR1, count, 0);
    pthread_create(&waiting, NULL, sigwait_thread, NULL);
    for (int i = 0; i < 20; ++i)
        pthread_create(&others[i], NULL, just_read, NULL);
    kill(getpid(), SIGTERM);
    sem_wait(&semaphore);
    pthread_kill(waiting, SIGUSR1);
    sem_wait(&semaphore);
    union sigval v = {.sival_int = 5};
    sigqueue(getpid(), SIGRTMIN + 1, v);
    sem_wait(&semaphore);
    v.sival_int = 6;
    pthread_sigqueue(waiting, SIGRTMIN + 1, v);
    sem_wait(&semaphore);
    pid_t child = fork();
    if (child == 0) {
        kill(getppid(), SIGTERM);
        _exit(0);
    }
    sem_wait(&semaphore);
    waitpid(child, NULL, 0);
    pthread_join(waiting, NULL);
    for (int i = 0; i < 20; ++i)
        end_read();
    for (int i = 0; i < 20; ++i)
        pthread_join(others[i], NULL);
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGUSR1);
    int fd = signalfd(-1, &s, 0);
    kill(getpid(), SIGUSR1);
    struct signalfd_siginfo info;
    say("signalfd", read(fd, &info, sizeof info));
    printf("signo %d of me %d, handled %d\n", info.ssi_signo, (int)info.ssi_pid == getpid(),
           handled);
    struct timespec soon = {0, 1000000};
    say("sigtimedwait", sigtimedwait(&s, NULL, &soon));
    raise(SIGUSR1);
    say("sigtimedwait", sigtimedwait(&s, NULL, &soon));
    on(SIGALRM, count, 0);
    alarm(1);
    say("sigwaitinfo, interrupted", sigwaitinfo(&s, NULL));
}

// ---- signalfd, and what is pending for one thread alone

enum { steps = 6 };
static int signal_fd, epoll_fd;
static sem_t step_done;

static void show_read(const char *how) {
    struct signalfd_siginfo info[4];
    long r = read(signal_fd, info, sizeof info);
    printf("%s: %ld", how, r > 0 ? r / (long)sizeof info[0] : r);
    for (int i = 0; i < r / (long)sizeof info[0]; ++i)
        printf(", signo %d code %d value %d", (int)info[i].ssi_signo - SIGRTMIN, info[i].ssi_code,
               info[i].ssi_int);
    puts("");
}
static void *look_at_own(void *argument) {
    mask(SIG_BLOCK, SIGUSR1);
    mask(SIG_BLOCK, SIGRTMIN + 1);
    raise(SIGUSR1);
    show_read("raise");
    for (int step = 0; step < steps; ++step) {
        struct pollfd p = {signal_fd, POLLIN, 0};
        struct epoll_event e;
        fd_set set;
        FD_ZERO(&set);
        FD_SET(signal_fd, &set);
        sem_post(&semaphore);
        switch (step) {
        case 0:
            printf("poll: %d", poll(&p, 1, -1));
            printf(", events %x\n", (unsigned)p.revents);
            break;
        case 1:
            printf("ppoll: %d\n", ppoll(&p, 1, &(struct timespec){30, 0}, NULL));
            break;
        case 2:
            printf("epoll_wait: %d\n", epoll_wait(epoll_fd, &e, 1, -1));
            break;
        case 3:
            printf("select: %d", select(signal_fd + 1, &set, NULL, NULL, NULL));
            printf(", it is set %d\n", !!FD_ISSET(signal_fd, &set));
            break;
        case 4: // there before the call
            sem_wait(&step_done);
            printf("select: %d\n", select(signal_fd + 1, &set, NULL, NULL, NULL));
            sem_post(&step_done);
            break;
        default:
            break;
        }
        show_read("read");
        sem_wait(&step_done);
    }
    // Some are read, the rest stays, in order.
    for (int i = 0; i < 6; ++i)
        pthread_sigqueue(pthread_self(), SIGRTMIN + 1, (union sigval){.sival_int = i});
    show_read("four of six");
    sigset_t s;
    siginfo_t info;
    sigpending(&s);
    printf("pending %d\n", sigismember(&s, SIGRTMIN + 1));
    printf("sigwaitinfo: %d", sigwaitinfo(&s, &info) - SIGRTMIN);
    printf(", value %d\n", info.si_value.sival_int);
    mask(SIG_UNBLOCK, SIGRTMIN + 1);
    printf("handled %d\n", handled);
    return argument;
}
static void part_signalfd(void) {
    pthread_t other, t;
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGUSR1);
    sigaddset(&s, SIGRTMIN + 1);
    on(SIGUSR1, count, SA_RESTART);
    on(SIGRTMIN + 1, count, SA_RESTART);
    sem_init(&step_done, 0, 0);
    signal_fd = signalfd(-1, &s, 0); // while there is one thread
    epoll_fd = epoll_create1(0);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, signal_fd, &(struct epoll_event){.events = EPOLLIN});
    pthread_create(&other, NULL, just_read, NULL); // blocks neither
    pthread_create(&t, NULL, look_at_own, NULL);
    for (int step = 0; step < steps; ++step) {
        sem_wait(&semaphore);
        if (step % 2 == 0)
            pause_ms(20); // it waits
        pthread_sigqueue(t, SIGRTMIN + 1, (union sigval){.sival_int = step});
        struct pollfd p = {signal_fd, POLLIN, 0};
        if (poll(&p, 1, 0) != 0)
            puts("seen by another thread");
        sem_post(&step_done);
    }
    pthread_join(t, NULL);
    end_read();
    pthread_join(other, NULL);
    printf("handled %d\n", handled);
}

// What is pending for the process keeps its order, however often a thread looks at its own; and a
// descriptor of any number is looked at.
static void *look_beside_the_process(void *argument) {
    struct pollfd p = {signal_fd, POLLIN, 0};
    for (int i = 0; i < 5; ++i) {
        union sigval v = {.sival_int = i};
        if (i < 2)
            pthread_sigqueue(pthread_self(), SIGRTMIN + 1, v);
        else
            sigqueue(getpid(), SIGRTMIN + 1, v);
    }
    for (int i = 0; i < 3; ++i)
        printf("poll: %d\n", poll(&p, 1, 0));
    struct signalfd_siginfo one;
    say("read", read(signal_fd, &one, sizeof one));
    printf("value %d, poll: %d\n", one.ssi_int, poll(&p, 1, 0));
    char scattered[3 * sizeof one];
    struct iovec parts[] = {{scattered, 100}, {NULL, 0}, {scattered + 100, sizeof scattered - 100}};
    long bytes = readv(signal_fd, parts, 3);
    printf("readv: %ld", bytes);
    for (size_t at = 0; (long)at < bytes; at += sizeof one) {
        memcpy(&one, scattered + at, sizeof one);
        printf(", value %d", one.ssi_int);
    }
    puts("");
    show_read("the rest");

    enum { high = 1500 };
    fd_set sets[(high + FD_SETSIZE) / FD_SETSIZE];
    memset(sets, 0, sizeof sets);
    ((long *)sets)[high / 64] = 1L << high % 64;
    say("dup2", dup2(signal_fd, high) == high ? 0 : -1);
    raise(SIGUSR1);
    printf("select: %d\n", select(high + 1, sets, NULL, NULL, NULL));
    show_read("read");
    return argument;
}
static void part_order(void) {
    struct rlimit most;
    getrlimit(RLIMIT_NOFILE, &most);
    most.rlim_cur = 2000;
    setrlimit(RLIMIT_NOFILE, &most);
    pthread_t t;
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGUSR1);
    sigaddset(&s, SIGRTMIN + 1);
    signal_fd = signalfd(-1, &s, SFD_NONBLOCK);
    sigprocmask(SIG_BLOCK, &s, NULL); // so do all threads
    pthread_create(&t, NULL, look_beside_the_process, NULL);
    pthread_join(t, NULL);
}

static void part_pending_after_exec(void) {
    sigset_t s;
    sigpending(&s);
    printf("pending: USR1 %d, USR2 %d\n", sigismember(&s, SIGUSR1), sigismember(&s, SIGUSR2));
}
static void part_exec(void) {
    pthread_t t;
    on(SIGUSR1, count, 0);
    pthread_create(&t, NULL, just_read, NULL); // does not block it
    mask(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    execl("/no/such/program", "program", NULL);
    part_pending_after_exec();
    mask(SIG_UNBLOCK, SIGUSR1);
    printf("handled %d\n", handled);
    mask(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    execl("/proc/self/exe", "signals_pending_prog", "pending_after_exec", NULL);
}

// ---- SIGPIPE is for the thread that wrote

static void *write_to_nobody(void *argument) {
    int p[2];
    sigset_t s, pending;
    struct timespec none = {0, 0};
    if (pipe(p) != 0)
        abort();
    close(p[0]);
    mask(SIG_BLOCK, SIGPIPE);
    say("write", write(p[1], "x", 1));
    sigpending(&pending);
    printf("pending %d\n", sigismember(&pending, SIGPIPE));
    sigemptyset(&s);
    sigaddset(&s, SIGPIPE);
    printf("taken %d\n", sigtimedwait(&s, NULL, &none));
    mask(SIG_UNBLOCK, SIGPIPE);
    on(SIGPIPE, count, 0);
    handled = 0;
    say("write", write(p[1], "x", 1));
    printf("handled %d\n", handled);
    int both[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, both) != 0)
        abort();
    close(both[0]);
    say("send", send(both[1], "x", 1, 0));
    say("send", send(both[1], "x", 1, MSG_NOSIGNAL));
    printf("handled %d\n", handled);
    on(SIGPIPE, SIG_IGN, 0);
    say("write", write(p[1], "x", 1));
    on(SIGPIPE, SIG_DFL, 0);
    pid_t child = fork();
    if (child == 0) {
        say("write", write(p[1], "x", 1));
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    printf("by default: signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    return argument;
}
static void part_sigpipe(void) {
    pthread_t t;
    pthread_create(&t, NULL, write_to_nobody, NULL);
    pthread_join(t, NULL);
}

// ---- Whom a signal for the process goes to

static void *unblocked_read(void *argument) {
    mask(SIG_UNBLOCK, SIGUSR1);
    long r = in_read();
    say("read", r);
    return argument;
}
// A thread that ends leaves what was for the process to the others.
static void *end_with_pending(void *argument) {
    mask(SIG_UNBLOCK, SIGUSR1);
    mask(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1); // its own: lost
    end_read();
    return argument;
}
static void part_process(void) {
    pthread_t t[3];
    on(SIGUSR1, count, 0);
    mask(SIG_BLOCK, SIGUSR1);
    pthread_create(&t[0], NULL, just_read, NULL);
    pause_ms(20);
    pthread_create(&t[1], NULL, unblocked_read, NULL);
    pause_ms(50);
    kill(getpid(), SIGUSR1);
    pthread_join(t[1], NULL);
    printf("handled %d, by the one that does not block it %d\n", handled,
           !!pthread_equal(handled_by, t[1]));
    end_read();
    pthread_join(t[0], NULL);
    pthread_create(&t[0], NULL, end_with_pending, NULL);
    pthread_join(t[0], NULL);
    in_read();
    sigset_t p;
    sigpending(&p);
    printf("pending %d\n", sigismember(&p, SIGUSR1));
    // Pending for all: the first that unblocks it has it.
    kill(getpid(), SIGUSR1);
    pthread_create(&t[0], NULL, unblocked_read, NULL);
    pause_ms(50);
    end_read();
    pthread_join(t[0], NULL);
    printf("handled %d, by the thread %d\n", handled, !!pthread_equal(handled_by, t[0]));
}

static const struct part parts[] = {
    {"masks", part_masks},       {"sigwait", part_sigwait},
    {"signalfd", part_signalfd}, {"order", part_order},
    {"exec", part_exec},         {"pending_after_exec", part_pending_after_exec},
    {"sigpipe", part_sigpipe},   {"process", part_process}};

int main(int argc, char **argv) {
    return run_part(parts, sizeof parts / sizeof parts[0], argc, argv);
}
