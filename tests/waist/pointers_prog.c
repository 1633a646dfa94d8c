// SPDX-License-Identifier: Apache-2.0
// Pointers that lead nowhere, given to the system calls that corun makes itself: each says what the kernel
// says. pointers_test.sh compares with what it says natively.
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define MASK_BYTES 8

static const char *kind;
static char *bad; // of this kind
static int tube[2], streams[2], listener, epoll, event, file;

static void say(const char *call, long r) {
    if (r < 0)
        printf("%s, %s: %s\n", kind, call, strerrorname_np(errno));
    else
        printf("%s, %s: %ld\n", kind, call, r);
}
#define SAY(call) say(#call, call)

static int is(const char *name) { return strcmp(kind, name) == 0; }

static void drain(const char *what, int fd) {
    char bytes[256];
    int n = 0;
    ioctl(fd, FIONREAD, &n);
    say(what, n);
    if (read(fd, bytes, (size_t)n) != n)
        abort();
}

static void transfers(void) {
    struct iovec part = {bad, 8}, good_and_bad[2] = {{"good", 4}, {bad, 8}};
    struct iovec *parts = (struct iovec *)bad;
    struct msghdr *message = (struct msghdr *)bad;
    struct msghdr of_bad_parts = {.msg_iov = parts, .msg_iovlen = 2},
                  of_bad_part = {.msg_iov = &part, .msg_iovlen = 1},
                  to_bad_name = {.msg_name = bad, .msg_namelen = 16};
    struct mmsghdr two[2] = {{.msg_hdr = of_bad_parts}, {.msg_hdr = of_bad_part}};
    if (write(tube[1], "sixteen letters", 16) != 16 ||
        write(streams[1], "sixteen letters", 16) != 16)
        abort();
    SAY(write(tube[1], bad, 8));
    SAY(writev(tube[1], parts, 2));
    SAY(writev(tube[1], &part, 1));
    SAY(read(tube[0], bad, 8));
    SAY(readv(tube[0], parts, 2));
    drain("left in the pipe", tube[0]);
    SAY(write(event, bad, 8));
    SAY(sendto(streams[0], bad, 8, 0, NULL, 0));
    SAY(sendmsg(streams[0], message, 0));
    SAY(sendmsg(streams[0], &of_bad_parts, 0));
    SAY(sendmsg(streams[0], &of_bad_part, 0));
    SAY(sendmsg(streams[0], &to_bad_name, 0));
    SAY(sendmmsg(streams[0], (struct mmsghdr *)bad, 2, 0));
    SAY(sendmmsg(streams[0], two, 2, 0));
    SAY(recvmsg(streams[0], message, 0));
    SAY(recvmsg(streams[0], &of_bad_parts, 0));
    SAY(recvmmsg(streams[0], (struct mmsghdr *)bad, 2, 0, NULL));
    SAY(recvmmsg(streams[0], two, 2, 0, NULL));
    SAY(readv(streams[0], parts, 2));
    SAY(recv(streams[0], bad, 8, 0));
    drain("left in the socket", streams[0]);
    SAY(recvmsg(streams[0], message, 0)); // with nothing there
    SAY(recvmsg(streams[0], &of_bad_parts, 0));
    SAY(readv(streams[0], parts, 2));
    SAY(pwrite(file, bad, 8, 0));
    SAY(pwritev(file, parts, 2, 0));
    SAY(pwritev(file, good_and_bad, 2, 0));
    if (!is("cut short")) { // what a helper writes, it has whole (waist/README.md, "What does not")
        SAY(pwritev2(file, &part, 1, 0, RWF_DSYNC));
        SAY(pwritev2(file, good_and_bad, 2, 0, RWF_DSYNC));
    }
    SAY(pread(file, bad, 4, 0));
    SAY(sendfile(streams[0], file, (off_t *)bad, 4));
    SAY(splice(file, (off64_t *)bad, tube[1], NULL, 4, 0));
    SAY(vmsplice(tube[1], parts, 2, 0));
    drain("spliced", tube[0]);
    drain("sent", streams[1]);
}

static int connected(void) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (getsockname(listener, (struct sockaddr *)&name, &length) != 0 ||
        connect(fd, (struct sockaddr *)&name, length) != 0)
        abort();
    return fd;
}
static void accept_with(const char *call, void *address, void *length) {
    int client = connected(), fd = accept(listener, address, length);
    say(call, fd < 0 ? fd : 0);
    char c;
    if (fd < 0) // it is gone all the same
        say("the client reads", read(client, &c, 1));
    close(fd);
    close(client);
}
static void connecting(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    SAY(connect(fd, (struct sockaddr *)bad, 16));
    close(fd);
}

static void readiness(void) {
    struct pollfd one = {tube[0], POLLIN, 0};
    struct timespec soon = {0, 1000000};
    fd_set set;
    struct {
        const void *mask;
        size_t bytes;
    } bad_mask = {bad, MASK_BYTES};
    FD_ZERO(&set);
    SAY(syscall(SYS_poll, bad, 1, -1));
    SAY(syscall(SYS_ppoll, bad, 1, NULL, NULL, 0));
    SAY(syscall(SYS_ppoll, &one, 1, bad, NULL, 0));
    SAY(syscall(SYS_ppoll, &one, 1, &soon, bad, MASK_BYTES));
    SAY(syscall(SYS_select, 8, bad, NULL, NULL, NULL));
    SAY(syscall(SYS_select, 8, NULL, NULL, bad, NULL));
    SAY(syscall(SYS_select, 8, &set, NULL, NULL, bad));
    SAY(syscall(SYS_pselect6, 8, &set, NULL, NULL, &soon, bad));
    SAY(syscall(SYS_pselect6, 8, &set, NULL, NULL, &soon, &bad_mask));
    SAY(syscall(SYS_epoll_pwait, epoll, bad, 1, 1, bad, MASK_BYTES));
    SAY(syscall(SYS_epoll_pwait2, epoll, bad, 1, bad, NULL, MASK_BYTES));
}

static long futex(void *at, int operation, long value, void *time, void *at2, int value3) {
    return syscall(SYS_futex, at, operation, value, time, at2, value3);
}
static void times_and_futexes(void) {
    struct timespec soon = {0, 1000000};
    int word = 0;
    SAY(syscall(SYS_nanosleep, bad, NULL));
    SAY(syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, bad, NULL));
    SAY(futex(bad, FUTEX_WAIT_PRIVATE, 0, &soon, NULL, 0));
    SAY(futex(bad, FUTEX_WAIT, 0, &soon, NULL, 0));
    SAY(futex(bad, FUTEX_WAIT_BITSET_PRIVATE, 0, &soon, NULL, -1));
    SAY(futex(&word, FUTEX_WAIT_PRIVATE, 0, bad, NULL, 0));
    if (!is("not an address")) // whether it is one depends on the processor
        SAY(futex(bad, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    SAY(futex(bad, FUTEX_WAKE, 1, NULL, NULL, 0));
    SAY(futex(bad, FUTEX_CMP_REQUEUE_PRIVATE, 1, NULL, &word, 0));
    SAY(futex(bad, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &soon, &word, 0));
}

static void signals(void) {
    struct timespec soon = {0, 1000000};
    sigset_t usr1;
    siginfo_t info;
    int timer;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    SAY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, bad, NULL, MASK_BYTES));
    SAY(syscall(SYS_rt_sigsuspend, bad, MASK_BYTES));
    SAY(syscall(SYS_rt_sigtimedwait, bad, NULL, &soon, MASK_BYTES));
    SAY(syscall(SYS_rt_sigtimedwait, &usr1, NULL, bad, MASK_BYTES));
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    pthread_kill(pthread_self(), SIGUSR1);
    SAY(syscall(SYS_rt_sigtimedwait, &usr1, bad, &soon, MASK_BYTES));
    SAY(syscall(SYS_rt_sigtimedwait, &usr1, &info, &soon, MASK_BYTES)); // it is taken
    SAY(syscall(SYS_rt_sigaction, SIGUSR1, bad, NULL, MASK_BYTES));
    SAY(syscall(SYS_sigaltstack, bad, NULL));
    SAY(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGUSR1, bad));
    SAY(syscall(SYS_timer_create, CLOCK_MONOTONIC, bad, &timer));
}

static void others(void) {
    struct sembuf one = {0, 1, 0};
    struct stat about;
    int semaphores = semget(IPC_PRIVATE, 1, 0600);
    SAY(syscall(SYS_prctl, PR_SET_NAME, bad));
    SAY(syscall(SYS_clone3, bad, 64));
    SAY(syscall(SYS_clone3, bad, 0));
    SAY(open(bad, O_RDONLY));
    SAY(stat(bad, &about));
    SAY(rename(bad, "/tmp"));
    SAY(syscall(SYS_semtimedop, semaphores, bad, 1, NULL));
    SAY(syscall(SYS_semtimedop, semaphores, &one, 1, bad));
    semctl(semaphores, 0, IPC_RMID);
}

// What is to be written there.
static void results(void) {
    struct sockaddr_storage peer;
    socklen_t room = sizeof peer;
    siginfo_t child = {.si_pid = 0};
    char path[] = "/proc/self/exe";
    void *list;
    int negative = -1, word = 0;
    accept_with("accept, bad address", bad, &room);
    accept_with("accept, bad length", &peer, bad);
    accept_with("accept, negative length", &peer, &negative);
    SAY(pread(file, bad, 8, 0));
    SAY(epoll_wait(epoll, (struct epoll_event *)bad, 1, -1));
    SAY(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, NULL, bad, 0));
    SAY(futex(bad, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    SAY(futex(bad, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    SAY(futex(bad, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    SAY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, bad, MASK_BYTES));
    SAY(syscall(SYS_rt_sigpending, bad, MASK_BYTES));
    SAY(syscall(SYS_rt_sigaction, SIGUSR1, NULL, bad, MASK_BYTES));
    SAY(syscall(SYS_rt_sigaction, SIGKILL, NULL, bad, MASK_BYTES));
    SAY(syscall(SYS_sigaltstack, NULL, bad));
    SAY(syscall(SYS_prctl, PR_GET_NAME, bad));
    SAY(syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, bad));
    SAY(syscall(SYS_get_robust_list, 0, bad, &list));
    SAY(syscall(SYS_get_robust_list, 0, &list, bad));
    SAY(stat(path, (struct stat *)bad));
    SAY(readlink(path, bad, 8));
    pid_t pid = fork();
    if (pid == 0)
        _exit(3);
    say("wait4, bad status", syscall(SYS_wait4, pid, bad, 0, NULL) == pid);
    if ((pid = fork()) == 0)
        _exit(3);
    SAY(syscall(SYS_waitid, P_PID, pid, bad, WEXITED, NULL));
    SAY(syscall(SYS_waitid, P_PID, pid, &child, WEXITED, NULL)); // it is gone
}

static void *list_of_nothing(void *unused) {
    syscall(SYS_set_robust_list, bad, 24);
    return unused;
}

static char *page(int protection) {
    return mmap(NULL, PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
// The first bytes are there, what follows is not.
static char *page_end(void) {
    char *two = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(two + PAGE, PAGE, PROT_NONE);
    return two + PAGE - 4;
}
static char *past_the_end(void) { // SIGBUS, not SIGSEGV
    int empty = memfd_create("empty", 0);
    return mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, empty, 0);
}

static void *all(void *unused) {
    char *gone = page(PROT_READ);
    munmap(gone, PAGE);
    void (*const groups[])(void) = {results,           transfers, connecting, readiness,
                                    times_and_futexes, signals,   others};
    const struct {
        const char *name;
        char *at;
    } kinds[] = {{"1", (char *)1},
                 {"no access", page(PROT_NONE)},
                 {"unmapped", gone},
                 {"cut short", page_end()},
                 {"past the end", past_the_end()},
                 {"not an address", (char *)(1UL << 55)},
                 {"the kernel's", (char *)(0xffffUL << 48)},
                 {"read only", page(PROT_READ)}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i) {
        kind = kinds[i].name;
        bad = kinds[i].at;
        for (size_t k = 0; k < (is("read only") ? 1 : sizeof groups / sizeof groups[0]); ++k) {
            if (is("cut short")) // the kernel has written as far as it goes
                memset(bad, 0, 4);
            groups[k]();
        }
        pthread_t t;
        pthread_create(&t, NULL, list_of_nothing, NULL);
        pthread_join(t, NULL);
    }
    return unused;
}

// ---- The program's own faults stay its own

static sigjmp_buf back;
static volatile int faults;
static void on_fault(int s, siginfo_t *info, void *context) {
    (void)context;
    ++faults;
    printf("signal %d, code %d, at the address: %d\n", s, info->si_code, info->si_addr == bad);
    siglongjmp(back, 1);
}
static void *faults_of_its_own(void *unused) {
    struct sigaction a = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    struct sigaction now;
    kind = "with a handler";
    bad = page(PROT_READ);
    sigaction(SIGSEGV, &a, NULL);
    SAY(read(event, bad, 8) < 0 ? read(tube[0], (char *)1, 0) : 0);
    SAY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, bad, MASK_BYTES));
    printf("handlers ran: %d\n", faults);
    if (sigsetjmp(back, 1) == 0)
        *bad = 1;
    printf("handlers ran: %d\n", faults);
    SAY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, bad, MASK_BYTES));
    sigaction(SIGSEGV, NULL, &now);
    printf("it is still there: %d\n", now.sa_sigaction == on_fault);
    return unused;
}

// In a child with a second thread, which ends as it would.
static void child_says(const char *what, void *(*f)(void *)) {
    kind = what;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t t;
        pthread_create(&t, NULL, f, NULL);
        pthread_join(t, NULL);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    printf("%s: status %d, signal %d\n", what, WEXITSTATUS(status), WTERMSIG(status));
}
static void *follows(void *unused) {
    bad = page(PROT_NONE);
    *bad = 1;
    return unused;
}
static void is_handled(int s) { faults += s == SIGSEGV; }
static void *unblocks(void *both) {
    faults = 0;
    pthread_sigmask(SIG_UNBLOCK, both, NULL);
    return NULL;
}
static void *blocks_all(void *unused) {
    sigset_t full, former;
    struct timespec soon = {1, 0};
    sigfillset(&full);
    bad = page(PROT_NONE);
    SAY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, bad, MASK_BYTES));
    kill(getpid(), SIGSEGV);
    kill(getpid(), SIGBUS);
    sigpending(&former);
    printf("pending: %d %d\n", sigismember(&former, SIGSEGV), sigismember(&former, SIGBUS));
    SAY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, bad, MASK_BYTES)); // and is no fault of ours
    SAY(sigtimedwait(&full, NULL, &soon));
    SAY(sigtimedwait(&full, NULL, &soon));
    SAY(sigtimedwait(&full, NULL, &(struct timespec){0, 0}));
    SAY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, bad, MASK_BYTES));
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGSEGV);
    sigaddset(&both, SIGBUS);
    int fd = signalfd(-1, &both, 0);
    struct signalfd_siginfo info[3] = {{0}};
    kill(getpid(), SIGSEGV);
    SAY(read(fd, info, sizeof info[0]));
    SAY(info[0].ssi_signo);
    signal(SIGSEGV, is_handled);
    pthread_t t;
    kill(getpid(), SIGSEGV);
    kill(getpid(), SIGSEGV); // one is pending, not two
    pthread_create(&t, NULL, unblocks, &both);
    pthread_join(t, NULL);
    SAY(faults);
    return unused;
}
static void *ignores(void *unused) {
    signal(SIGSEGV, SIG_IGN);
    bad = page(PROT_NONE);
    kill(getpid(), SIGSEGV);
    SAY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, bad, MASK_BYTES));
    fflush(stdout);
    return follows(unused);
}
static void *is_sent_one(void *unused) {
    kill(getpid(), SIGSEGV);
    pause();
    return unused;
}

static void run(void *(*f)(void *)) {
    pthread_t t;
    pthread_create(&t, NULL, f, NULL);
    pthread_join(t, NULL);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct epoll_event readable = {.events = EPOLLIN};
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr any = {AF_UNIX, {0}};
    if (pipe(tube) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, streams) != 0 ||
        bind(listener, &any, sizeof any.sa_family) != 0 || listen(listener, 8) != 0)
        return 1;
    epoll = epoll_create1(0);
    event = eventfd(1, 0);
    readable.data.fd = event;
    epoll_ctl(epoll, EPOLL_CTL_ADD, event, &readable);
    char name[] = "/tmp/pointers_XXXXXX"; // on a disk, if that is one
    file = mkstemp(name);
    unlink(name);
    if (write(file, "contents", 8) != 8)
        return 1;
    run(all);
    run(faults_of_its_own);
    signal(SIGSEGV, SIG_DFL);
    child_says("a fault of its own", follows);
    child_says("one that is sent", is_sent_one);
    child_says("ignored", ignores);
    sigset_t full;
    sigfillset(&full);
    pthread_sigmask(SIG_BLOCK, &full, NULL);
    child_says("all blocked", blocks_all);
    child_says("a fault while it is blocked", follows);
    return 0;
}
