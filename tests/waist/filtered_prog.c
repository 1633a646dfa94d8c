// SPDX-License-Identifier: Apache-2.0
// For filtered_test.sh. `filtered_prog NUMBER ERRNO|kill COMMAND...` runs a command under a seccomp filter
// that answers one system call so; `filtered_prog LIBRARY` is such a command: threads that do a bit of all.
// The library's number_of_thread makes a system call of its own.
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int run_under(int number, const char *answer, char **command) {
    unsigned action = strcmp(answer, "kill") == 0 ? SECCOMP_RET_KILL_PROCESS
                                                  : SECCOMP_RET_ERRNO | (unsigned)atoi(answer);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog filter = {sizeof code / sizeof code[0], code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        return 77;
    execvp(command[0], command);
    return 77;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static int served, bad;

static void check(int holds) {
    if (!holds)
        bad = 1;
}

static void files(void) {
    char name[] = "/var/tmp/filtered_XXXXXX", bytes[8];
    struct stat about;
    int fd = mkstemp(name);
    check(write(fd, "contents", 8) == 8 && fsync(fd) == 0);
    check(pread(fd, bytes, 8, 0) == 8 && memcmp(bytes, "contents", 8) == 0);
    check(stat(name, &about) == 0 && about.st_size == 8);
    close(fd);
    fd = open(name, O_RDONLY);
    check(read(fd, bytes, 8) == 8 && memcmp(bytes, "contents", 8) == 0);
    close(fd);
    check(unlink(name) == 0);
}

static void waits(void) {
    int tube[2];
    char c = 'x';
    struct timespec moment = {0, 1000000};
    struct timeval also = {0, 1000};
    fd_set set;
    check(pipe(tube) == 0);
    struct pollfd one = {tube[0], POLLIN, 0};
    check(poll(&one, 1, 1) == 0);
    FD_ZERO(&set);
    FD_SET(tube[0], &set);
    check(select(tube[0] + 1, &set, NULL, NULL, &also) == 0);
    check(write(tube[1], &c, 1) == 1 && read(tube[0], &c, 1) == 1);
    check(nanosleep(&moment, NULL) == 0);
    close(tube[0]);
    close(tube[1]);
}

// A signal for this thread alone, which the others block too: seen once on the descriptor that they share,
// and by this thread.
static int signals_seen_on;
static void signals(void) {
    struct signalfd_siginfo info;
    struct pollfd one = {signals_seen_on, POLLIN, 0};
    pthread_mutex_lock(&lock); // they take turns at it
    check(pthread_kill(pthread_self(), SIGUSR1) == 0);
    check(poll(&one, 1, 0) == 1 && read(one.fd, &info, sizeof info) == sizeof info);
    check(info.ssi_signo == SIGUSR1 && poll(&one, 1, 0) == 0);
    pthread_mutex_unlock(&lock);
}

static const char *library;
static void loads(void) {
    void *loaded = dlopen(library, RTLD_NOW),
         *there = loaded ? dlsym(loaded, "number_of_thread") : NULL;
    int (*number_of_thread)(void);
    memcpy(&number_of_thread, &there, sizeof there);
    check(there != NULL && number_of_thread() == gettid());
}

static void *client(void *name) {
    char bytes[4];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(fd, name, sizeof(struct sockaddr_in)) == 0);
    check(write(fd, "ping", 4) == 4 && read(fd, bytes, 4) == 4 && memcmp(bytes, "pong", 4) == 0);
    close(fd);
    files();
    waits();
    signals();
    loads();
    pthread_mutex_lock(&lock);
    ++served;
    pthread_cond_signal(&more);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void *server(void *listener) {
    char bytes[4];
    for (int i = 0; i < 4; ++i) {
        int fd = accept(*(int *)listener, NULL, NULL);
        check(recv(fd, bytes, 4, 0) == 4 && send(fd, "pong", 4, 0) == 4);
        close(fd);
    }
    return NULL;
}

static volatile sig_atomic_t alarms;
static void on_alarm(int s) { alarms += s == SIGALRM; }

int main(int argc, char **argv) {
    if (argc > 3)
        return run_under(atoi(argv[1]), argv[2], argv + 3);
    if (argc != 2)
        return 2;
    library = argv[1];
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    signals_seen_on = signalfd(-1, &usr1, SFD_CLOEXEC);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM, 0), status = 0;
    pthread_t t[5];
    if (bind(listener, (struct sockaddr *)&here, sizeof here) != 0 || listen(listener, 8) != 0)
        return 2;
    getsockname(listener, (struct sockaddr *)&here, &length);
    check(pthread_create(&t[4], NULL, server, &listener) == 0);
    for (int i = 0; i < 4 && !bad; ++i)
        check(pthread_create(&t[i], NULL, client, &here) == 0);
    char name[16]; // nothing depends on its being told
    pthread_getname_np(t[0], name, sizeof name);
    pthread_mutex_lock(&lock);
    while (served < 4 && !bad)
        pthread_cond_wait(&more, &lock);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < 5 && !bad; ++i)
        pthread_join(t[i], NULL);
    signal(SIGALRM, on_alarm);
    ualarm(1000, 0);
    while (!alarms && !bad)
        usleep(500);
    pid_t child = fork();
    if (child == 0)
        _exit(3);
    check(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3);
    puts(bad ? "something failed" : "all is well");
    return bad;
}
