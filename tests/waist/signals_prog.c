// SPDX-License-Identifier: Apache-2.0
// What signals do to threads, as a trace: signals_test.sh compares the one under the waist with the
// native one. signals_prog NAME runs one part; without a name it lists them.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static atomic_int handled;
static pthread_t handled_by;
static int ends[2]; // of a pipe nobody writes to, but to end a test

static void count(int s) {
    (void)s;
    handled_by = pthread_self();
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
static void say(const char *what, long r) {
    printf("%s: %ld %s\n", what, r, r < 0 ? strerror(errno) : "ok");
}

// A thread in a call; is a signal that handler takes visible in its result?
static atomic_int in_call;
struct waits {
    const char *name;
    long (*call)(void);
    void (*end)(void); // lets a call end that has gone on
};
static long in_read(void) {
    char c;
    return read(ends[0], &c, 1);
}
static void end_read(void) {
    if (write(ends[1], "x", 1) != 1)
        abort();
}
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
static sem_t semaphore;
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

// ---- Masks

static void *show_mask(void *argument) {
    sigset_t s;
    pthread_sigmask(SIG_BLOCK, NULL, &s);
    printf("%s: USR1 %d USR2 %d TERM %d\n", (const char *)argument, sigismember(&s, SIGUSR1),
           sigismember(&s, SIGUSR2), sigismember(&s, SIGTERM));
    return NULL;
}
static void mask(int how, int signal) {
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, signal);
    pthread_sigmask(how, &s, NULL);
}
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
static void *just_read(void *argument) {
    in_read();
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

// ---- Handlers

static sigjmp_buf out;
static void jump(int s) { siglongjmp(out, s); }
static char other_stack[65536] __attribute__((aligned(64)));
static atomic_int on_other_stack;
static void look_at_stack(int s) {
    char here;
    on_other_stack = &here >= other_stack && &here < other_stack + sizeof other_stack;
    stack_t now;
    sigaltstack(NULL, &now);
    printf("handler %d on the alternate stack %d, it says %d\n", s, on_other_stack,
           (now.ss_flags & SS_ONSTACK) != 0);
}
static void nested_two(int s) {
    sigset_t m;
    pthread_sigmask(SIG_BLOCK, NULL, &m);
    printf("in %d: USR1 %d USR2 %d\n", s, sigismember(&m, SIGUSR1), sigismember(&m, SIGUSR2));
}
static void nested_one(int s) {
    static int again;
    nested_two(s);
    raise(SIGUSR2);
    if (!again++)
        raise(SIGUSR1); // after this one
    printf("in %d: after raise\n", s);
}
static atomic_int spinning;
static void *spin(void *argument) {
    while (spinning)
        if (argument)
            syscall(SYS_getppid);
    return NULL;
}
static void *stack_and_jump(void *argument) {
    stack_t s = {other_stack, 0, sizeof other_stack}, small = {other_stack, 0, 100};
    say("too small", sigaltstack(&small, NULL));
    say("sigaltstack", sigaltstack(&s, NULL));
    raise(SIGUSR1);
    if (sigsetjmp(out, 1) == 0)
        in_read();
    else
        show_mask("jumped out of read");
    if (sigsetjmp(out, 1) == 0) {
        raise(SIGUSR2);
        puts("not reached");
    } else {
        show_mask("jumped out of raise");
    }
    return argument;
}
static void part_handlers(void) {
    pthread_t t;
    on(SIGUSR1, look_at_stack, SA_ONSTACK | SA_RESTART);
    on(SIGUSR2, jump, 0);
    pthread_create(&t, NULL, stack_and_jump, NULL);
    pause_ms(100);
    pthread_kill(t, SIGUSR2);
    pthread_join(t, NULL);
    raise(SIGUSR1);
    on(SIGUSR1, nested_one, 0);
    on(SIGUSR2, nested_two, 0);
    raise(SIGUSR1);
    // Two at once: the later one's handler runs first, for it interrupts the other's.
    mask(SIG_BLOCK, SIGUSR1);
    mask(SIG_BLOCK, SIGUSR2);
    on(SIGUSR1, nested_two, 0);
    raise(SIGUSR1);
    raise(SIGUSR2);
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    on(SIGUSR1, count, SA_RESETHAND);
    handled = 0;
    raise(SIGUSR1);
    struct sigaction a;
    sigaction(SIGUSR1, NULL, &a);
    printf("reset to default %d, handled %d\n", a.sa_handler == SIG_DFL, handled);
    on(SIGUSR1, SIG_IGN, 0);
    raise(SIGUSR1);
    on(SIGUSR1, count, SA_NODEFER | SA_SIGINFO);
    sigaction(SIGUSR1, NULL, &a);
    printf("flags %x\n", (unsigned)a.sa_flags & ~0x04000000U);
    for (int natively = 0; natively < 2; ++natively) { // one that runs, in calls and without
        spinning = 1;
        handled = 0;
        pthread_create(&t, NULL, spin, natively ? &spinning : NULL);
        pid_t child = fork();
        if (child == 0) { // nobody else would: the thread that spins never yields
            pause_ms(50);
            kill(getppid(), SIGALRM);
            _exit(0);
        }
        on(SIGALRM, count, 0);
        mask(SIG_BLOCK, SIGALRM);
        struct sigaction stop = {.sa_handler = count};
        sigaction(SIGALRM, &stop, NULL);
        spinning = 0;
        pthread_join(t, NULL);
        waitpid(child, NULL, 0);
        mask(SIG_UNBLOCK, SIGALRM);
        printf("handled %d\n", handled);
    }
}

// ---- Faults

static char *volatile page, *volatile nowhere;
static void mend(int s, siginfo_t *info, void *context) {
    (void)context;
    ++handled;
    if (s == SIGSEGV && (char *)info->si_addr == page)
        mprotect(page, 4096, PROT_READ | PROT_WRITE);
    else
        siglongjmp(out, s);
}
static void *fault(void *argument) {
    page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *(volatile char *)page = 7;
    printf("written: %d after %d\n", *page, handled);
    int s = sigsetjmp(out, 1);
    if (s == 0)
        *(volatile char *)nowhere = 1;
    printf("came back from %d\n", s);
    s = sigsetjmp(out, 1);
    if (s == 0)
        __builtin_trap();
    printf("came back from %d\n", s);
    volatile int zero = 0;
    s = sigsetjmp(out, 1);
    if (s == 0)
        zero = 100 / zero;
    printf("came back from %d\n", s);
    double before = 1.5, after;
    __asm__ volatile("movsd %1, %%xmm9; int3; movsd %%xmm9, %0"
                     : "=m"(after)
                     : "m"(before)
                     : "xmm9");
    printf("vectors kept %d\n", after == before);
    return argument;
}
static void scribble(int s, siginfo_t *info, void *context) {
    (void)s;
    (void)info;
    (void)context;
    __asm__ volatile("pxor %%xmm9, %%xmm9; vzeroall" ::: "xmm9");
}
static void part_faults(void) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = mend;
    a.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &a, NULL);
    sigaction(SIGILL, &a, NULL);
    sigaction(SIGFPE, &a, NULL);
    a.sa_sigaction = scribble;
    sigaction(SIGTRAP, &a, NULL);
    pthread_t t;
    pthread_create(&t, NULL, fault, NULL);
    pthread_join(t, NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        pthread_create(&t, NULL, fault, NULL);
        pthread_join(t, NULL);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    printf("without a handler: signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
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

// ---- Whom a signal for the process goes to

static void *unblocked_read(void *argument) {
    mask(SIG_UNBLOCK, SIGUSR1);
    long r = in_read();
    say("read", r);
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
    // Pending for all: the first that unblocks it has it.
    kill(getpid(), SIGUSR1);
    pthread_create(&t[0], NULL, unblocked_read, NULL);
    pause_ms(50);
    end_read();
    pthread_join(t[0], NULL);
    printf("handled %d, by the thread %d\n", handled, !!pthread_equal(handled_by, t[0]));
}

static const struct {
    const char *name;
    void (*run)(void);
} parts[] = {
    {"interrupt", part_interrupt}, {"restart", part_restart},           {"masks", part_masks},
    {"sigwait", part_sigwait},     {"handlers", part_handlers},         {"faults", part_faults},
    {"sigpipe", part_sigpipe},     {"masked_waits", part_masked_waits}, {"process", part_process}};

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    socklen_t size = sizeof listening;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    listening.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (pipe(ends) != 0 || sem_init(&semaphore, 0, 0) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 ||
        bind(listener, (struct sockaddr *)&listening, size) != 0 || listen(listener, 8) != 0 ||
        getsockname(listener, (struct sockaddr *)&listening, &size) != 0)
        return 1;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; ++i)
        if (argc < 2)
            puts(parts[i].name);
        else if (strcmp(argv[1], parts[i].name) == 0)
            parts[i].run();
    return 0;
}
