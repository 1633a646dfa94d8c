// SPDX-License-Identifier: Apache-2.0
// Masks, what is pending where, and who gets it.
#include "tests/waist/signals.h"

#include <sys/signalfd.h>

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

static const struct part parts[] = {{"masks", part_masks},
                                    {"sigwait", part_sigwait},
                                    {"sigpipe", part_sigpipe},
                                    {"process", part_process}};

int main(int argc, char **argv) {
    return run_part(parts, sizeof parts / sizeof parts[0], argc, argv);
}
