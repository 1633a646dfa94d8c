// SPDX-License-Identifier: Apache-2.0
// Odd turns in the lives of threads and processes: what is awaited, shared, named and mapped in unusual
// ways. Run natively and under corun by lives_test.sh, which compares.
#include "tests/waist/signals.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

static pthread_t begin(void *(*f)(void *), void *argument) {
    pthread_t t;
    if (pthread_create(&t, NULL, f, argument) != 0) {
        puts("no thread");
        exit(9);
    }
    return t;
}
static void *nothing(void *argument) { return argument; }
static void be_several(void) { pthread_join(begin(nothing, NULL), NULL); }
static void end_of_child(int pid) {
    int s = 0;
    waitpid(pid, &s, 0);
    printf("child: %x\n", s);
}

// ---- Joining the first thread

static pthread_t first;
static void *join_first(void *unused) {
    void *result = NULL;
    printf("join: %d", pthread_join(first, &result));
    printf(", result: %ld\n", (long)result);
    exit(4);
    return unused;
}
static void the_first_thread_is_joined(void) {
    first = pthread_self();
    begin(join_first, NULL);
    pthread_exit((void *)5);
}

static void *fork_and_join(void *unused) {
    int pid = fork();
    if (pid == 0) {
        first = pthread_self();
        begin(join_first, NULL);
        pthread_exit((void *)6);
    }
    end_of_child(pid);
    return unused;
}
static void in_a_child_too(void) { pthread_join(begin(fork_and_join, NULL), NULL); }

// ---- Reads that ask for too little

static void less_than_one_of_what_there_is(void) {
    char room[200];
    uint64_t one = 1;
    be_several();
    int counter = eventfd(0, 0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
    say("write", write(counter, &one, sizeof one));
    say("read", read(counter, room, sizeof one));
    say("7 of an eventfd", read(counter, room, 7));
    say("4 of a timerfd", read(timer, room, 4));
    mask(SIG_BLOCK, SIGUSR1);
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGUSR1);
    int signals = signalfd(-1, &s, 0);
    say("8 of a signalfd", read(signals, room, 8));
    say("127 of a signalfd", read(signals, room, 127));
    say("... once more", read(signals, room, 127));
    say("8 of an epoll", read(epoll_create1(0), room, 8));
}

// ---- Files mapped as if they were objects

static void map_code(const char *path, int flags, size_t length, size_t mapped, int stays) {
    int fd = open(path, flags, 0600);
    if (flags & O_CREAT && ftruncate(fd, (off_t)length) != 0)
        abort();
    void *at = mmap(NULL, mapped, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    if (!stays)
        munmap(at, mapped);
    close(fd);
    puts(at == MAP_FAILED ? "not mapped" : "closed");
}
static void what_is_mapped_as_code_is_closed(void) {
    char name[] = "/tmp/corun-lives-XXXXXX";
    close(mkstemp(name));
    for (int several = 0; several < 2; ++several) {
        map_code(name, O_RDWR | O_CREAT | O_TRUNC, 8192, 4096, 0);
        map_code(name, O_RDWR | O_CREAT | O_TRUNC, 0, 4096, 1);
        map_code("/lib/x86_64-linux-gnu/libc.so.6", O_RDONLY, 0, 4096, 1);
        map_code("/lib/x86_64-linux-gnu/libc.so.6", O_RDONLY, 0, 1 << 20, 0);
        be_several();
    }
    unlink(name);
}

// ---- Locks that processes share

struct shared {
    pthread_mutex_t lock;
    int count;
};
static struct shared *shared_lock(int type, int robust, int protocol) {
    struct shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_settype(&a, type);
    pthread_mutexattr_setrobust(&a, robust);
    pthread_mutexattr_setprotocol(&a, protocol);
    pthread_mutex_init(&s->lock, &a);
    return s;
}
static void *add_to(void *argument) {
    struct shared *s = argument;
    for (int i = 0; i < 300; ++i) {
        if (pthread_mutex_lock(&s->lock) != 0)
            puts("not locked");
        ++s->count;
        if (i % 100 == 0)
            pause_ms(1);
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}
static void priorities_are_inherited_from_another_process(void) {
    struct shared *s =
        shared_lock(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_INHERIT);
    be_several();
    int pid = fork();
    pthread_t t = begin(add_to, s);
    add_to(s);
    pthread_join(t, NULL);
    if (pid == 0)
        exit(0);
    end_of_child(pid);
    printf("%d\n", s->count);
}

static void *hold(void *argument) {
    struct shared *s = argument;
    pthread_mutex_lock(&s->lock);
    __atomic_store_n(&s->count, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&s->count, __ATOMIC_SEQ_CST) == 1)
        pause_ms(1);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}
static void *try(void *argument) {
    struct shared *s = argument;
    while (__atomic_load_n(&s->count, __ATOMIC_SEQ_CST) == 0)
        pause_ms(1);
    printf("%s\n", strerror(pthread_mutex_trylock(&s->lock)));
    __atomic_store_n(&s->count, 2, __ATOMIC_SEQ_CST);
    return NULL;
}
// Each is the first thread that its process makes.
static void a_recursive_lock_is_of_one_process(void) {
    struct shared *s =
        shared_lock(PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE);
    int pid = fork();
    pthread_join(begin(pid == 0 ? hold : try, s), NULL);
    if (pid == 0)
        exit(0);
    end_of_child(pid);
}

static void *lock_and_exit(void *argument) {
    struct shared *s = argument;
    pthread_mutex_lock(&s->lock);
    pause_ms(20);
    _exit(3);
}
static void a_thread_that_ends_its_process_leaves_its_locks(void) {
    for (int inherit = 0; inherit < 2; ++inherit) {
        struct shared *s = shared_lock(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST,
                                       inherit ? PTHREAD_PRIO_INHERIT : PTHREAD_PRIO_NONE);
        be_several();
        int pid = fork();
        if (pid == 0)
            pthread_join(begin(lock_and_exit, s), NULL);
        pause_ms(10);
        printf("%s\n", strerror(pthread_mutex_lock(&s->lock)));
        end_of_child(pid);
    }
}

// ---- Names and numbers

static void *keep_name(void *name) {
    char now[16] = "";
    if (name)
        prctl(PR_SET_NAME, name);
    in_read();
    prctl(PR_GET_NAME, now);
    return strdup(now);
}
static void *of_named(void *unused) {
    prctl(PR_SET_NAME, "parent");
    pthread_t t = begin(keep_name, NULL);
    pause_ms(10);
    end_read();
    void *name;
    pthread_join(t, &name);
    puts(name);
    return unused;
}
// What is closed may be another file than the one whose name it was opened for.
static void *of_another_file(void *unused) {
    char path[64], name[16] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", gettid());
    prctl(PR_SET_NAME, "mine");
    int other = open("/proc/self/exe", O_RDONLY), fd = open(path, O_WRONLY);
    printf("opened: %d", fd >= 0 && other >= 0);
    dup2(other, fd);
    close(fd);
    prctl(PR_GET_NAME, name);
    printf(", named %s\n", name);
    return unused;
}
static void names(void) {
    char name[16] = "";
    void *last;
    prctl(PR_SET_NAME, "process");
    pthread_t named = begin(keep_name, "own"), unnamed = begin(keep_name, NULL);
    pause_ms(10);
    printf("%d", pthread_getname_np(named, name, sizeof name));
    puts(name);
    printf("%d", pthread_setname_np(unnamed, "given"));
    printf("%d", pthread_getname_np(unnamed, name, sizeof name));
    puts(name);
    printf("%d", pthread_setname_np(pthread_self(), "mine"));
    printf("%d", pthread_getname_np(pthread_self(), name, sizeof name));
    puts(name);
    end_read();
    end_read();
    pthread_join(named, &last);
    puts(last);
    pthread_join(unnamed, &last);
    puts(last);
    pthread_join(begin(of_named, NULL), NULL);
    pthread_join(begin(of_another_file, NULL), NULL);
    prctl(PR_GET_NAME, name);
    puts(name);
    say("no name", prctl(PR_SET_NAME, 8));
}
static void *ask_by_number(void *unused) {
    printf("%d %d\n", getpgid(gettid()) == getpgid(0), getsid(gettid()) == getsid(0));
    struct rlimit l;
    say("prlimit", prlimit(gettid(), RLIMIT_NOFILE, NULL, &l));
    long place[3] = {0};
    say("robust list", syscall(SYS_set_robust_list, place, sizeof place - 1));
    say("robust list", syscall(SYS_set_robust_list, place, 4096));
    say("robust list", syscall(SYS_set_robust_list, NULL, sizeof place));
    return unused;
}
static void numbers(void) { pthread_join(begin(ask_by_number, NULL), NULL); }

// ---- Few descriptors

static void *wait_a_moment(void *unused) {
    pause_ms(5);
    return unused;
}
static int open_all(void) {
    int n = 0;
    while (open("/dev/null", O_RDONLY) >= 0)
        ++n;
    return n;
}
static void threads_need_no_descriptors(void) {
    struct rlimit l;
    getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = 20;
    setrlimit(RLIMIT_NOFILE, &l);
    open_all();
    pthread_join(begin(wait_a_moment, NULL), NULL);
    puts("joined");
}
static void all_numbers_are_the_programs(void) {
    struct rlimit l, now;
    getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = 20;
    setrlimit(RLIMIT_NOFILE, &l);
    be_several();
    printf("%d left\n", open_all());
    getrlimit(RLIMIT_NOFILE, &now);
    printf("limits as they were: %d %d\n", l.rlim_cur == now.rlim_cur, l.rlim_max == now.rlim_max);
    int pid = fork();
    pthread_join(begin(wait_a_moment, NULL), NULL);
    if (pid == 0)
        exit(2);
    end_of_child(pid);
}

// ---- A time limit that comes after a wait, and goes again

static int ends[2];
static void *write_later(void *unused) {
    usleep(20000);
    return send(ends[1], "x", 1, 0) == 1 ? unused : NULL;
}
static void receive(const char *what) {
    char c;
    void *sent;
    pthread_t t = begin(write_later, &c);
    say(what, recv(ends[0], &c, 1, 0));
    pthread_join(t, &sent);
    puts(sent == &c ? "sent" : "not sent");
}
static void limit(int ms) {
    struct timeval t = {.tv_usec = 1000L * ms};
    setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
}
static void limits_come_and_go(void) {
    char c;
    be_several();
    socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    receive("recv");
    limit(10);
    say("with a limit", recv(ends[0], &c, 1, 0));
    limit(0);
    receive("without");
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    say("non-blocking", recv(ends[0], &c, 1, 0));
    fcntl(ends[0], F_SETFL, 0);
    receive("blocking");
}

// ---- Another process changes the flags of what both have

static void in_a_child(int fd, int flags) {
    int pid = fork();
    if (pid == 0) {
        fcntl(fd, F_SETFL, flags);
        _exit(0);
    }
    end_of_child(pid);
}
static void *read_one(void *unused) {
    char c;
    return read(ends[0], &c, 1) == 1 ? unused : NULL;
}
static void flags_are_shared_with_a_child(void) {
    char c;
    be_several();
    if (pipe2(ends, O_NONBLOCK) != 0)
        return;
    say("non-blocking", read(ends[0], &c, 1));
    in_a_child(ends[0], 0);
    void *got;
    pthread_t t = begin(read_one, &c); // which waits, while the others go on
    usleep(20000);
    say("write", write(ends[1], "x", 1));
    pthread_join(t, &got);
    puts(got == &c ? "read" : "not read");
    in_a_child(ends[0], O_NONBLOCK);
    say("non-blocking again", read(ends[0], &c, 1));
    socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    receive("recv");
    in_a_child(ends[0], O_NONBLOCK);
    say("a socket", recv(ends[0], &c, 1, 0));
}

static const struct part parts[] = {
    {"the_first_thread_is_joined", the_first_thread_is_joined},
    {"in_a_child_too", in_a_child_too},
    {"less_than_one_of_what_there_is", less_than_one_of_what_there_is},
    {"what_is_mapped_as_code_is_closed", what_is_mapped_as_code_is_closed},
    {"priorities_are_inherited_from_another_process",
     priorities_are_inherited_from_another_process},
    {"a_recursive_lock_is_of_one_process", a_recursive_lock_is_of_one_process},
    {"a_thread_that_ends_its_process_leaves_its_locks",
     a_thread_that_ends_its_process_leaves_its_locks},
    {"names", names},
    {"numbers", numbers},
    {"threads_need_no_descriptors", threads_need_no_descriptors},
    {"all_numbers_are_the_programs", all_numbers_are_the_programs},
    {"limits_come_and_go", limits_come_and_go},
    {"flags_are_shared_with_a_child", flags_are_shared_with_a_child},
};

int main(int argc, char **argv) {
    return run_part(parts, sizeof parts / sizeof *parts, argc, argv);
}
