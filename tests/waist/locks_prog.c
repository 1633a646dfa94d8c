// SPDX-License-Identifier: Apache-2.0
// Locks whose word names an owner, by libc and by raw system calls: what they answer, line by line. Run
// natively and under corun by locks_test.sh, which compares.
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *what, int result) {
    printf("%s: %s\n", what, result == 0 ? "0" : strerrorname_np(result));
}

static long futex(atomic_uint *at, int operation, unsigned value, const struct timespec *until,
                  atomic_uint *at2, unsigned value3) {
    long r = syscall(SYS_futex, at, operation, value, until, at2, value3);
    return r < 0 ? -errno : r;
}
static void say_futex(const char *what, long r) {
    printf("%s: %s%ld\n", what, r < 0 ? strerrorname_np((int)-r) : "", r < 0 ? 0 : r);
}

static struct timespec soon(int clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    t.tv_nsec += 20 * 1000 * 1000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        ++t.tv_sec;
    }
    return t;
}

static void make(pthread_mutex_t *m, int protocol, int robust, int type, int shared) {
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    if (pthread_mutexattr_setprotocol(&a, protocol) || pthread_mutexattr_setrobust(&a, robust) ||
        pthread_mutexattr_settype(&a, type) || pthread_mutexattr_setpshared(&a, shared) ||
        pthread_mutex_init(m, &a))
        puts("this mutex cannot be made");
    pthread_mutexattr_destroy(&a);
}

// Eight threads count under one mutex.
static pthread_mutex_t counted;
static int count;
static void *count_up(void *unused) {
    for (int i = 0; i < 500; ++i) {
        pthread_mutex_lock(&counted);
        int seen = count;
        if (i % 16 == 0)
            usleep(100);
        count = seen + 1;
        pthread_mutex_unlock(&counted);
    }
    return unused;
}
static void counting(const char *name, int protocol, int robust, int shared) {
    make(&counted, protocol, robust, PTHREAD_MUTEX_NORMAL, shared);
    count = 0;
    pthread_t t[8];
    for (int i = 0; i < 8; ++i)
        pthread_create(&t[i], NULL, count_up, NULL);
    for (int i = 0; i < 8; ++i)
        pthread_join(t[i], NULL);
    printf("%s: %d\n", name, count);
    pthread_mutex_destroy(&counted);
}

// Answers of one mutex that another thread holds.
struct held {
    pthread_mutex_t mutex;
    pthread_barrier_t there, over;
};
static void *hold(void *argument) {
    struct held *h = argument;
    pthread_mutex_lock(&h->mutex);
    pthread_barrier_wait(&h->there);
    pthread_barrier_wait(&h->over);
    pthread_mutex_unlock(&h->mutex);
    return NULL;
}
static void answers(const char *name, int protocol, int robust, int type) {
    printf("-- %s\n", name);
    struct held h;
    make(&h.mutex, protocol, robust, type, PTHREAD_PROCESS_PRIVATE);
    pthread_barrier_init(&h.there, NULL, 2);
    pthread_barrier_init(&h.over, NULL, 2);
    pthread_t t;
    pthread_create(&t, NULL, hold, &h);
    pthread_barrier_wait(&h.there);
    say("trylock of a held one", pthread_mutex_trylock(&h.mutex));
    struct timespec until = soon(CLOCK_REALTIME);
    say("timedlock of a held one", pthread_mutex_timedlock(&h.mutex, &until));
    until = soon(CLOCK_MONOTONIC);
    say("clocklock of a held one", pthread_mutex_clocklock(&h.mutex, CLOCK_MONOTONIC, &until));
    if (type == PTHREAD_MUTEX_ERRORCHECK)
        say("unlock by a stranger", pthread_mutex_unlock(&h.mutex));
    pthread_barrier_wait(&h.over);
    pthread_join(t, NULL);
    say("lock", pthread_mutex_lock(&h.mutex));
    if (type == PTHREAD_MUTEX_ERRORCHECK)
        say("lock again", pthread_mutex_lock(&h.mutex));
    if (type == PTHREAD_MUTEX_RECURSIVE) {
        say("lock again", pthread_mutex_lock(&h.mutex));
        say("unlock", pthread_mutex_unlock(&h.mutex));
    }
    say("unlock", pthread_mutex_unlock(&h.mutex));
    say("destroy", pthread_mutex_destroy(&h.mutex));
}

// A thread that ends with three locks of one kind; others wait for the first.
static pthread_mutex_t left[3];
static pthread_barrier_t both;
static void *leave_locked(void *unused) {
    for (int i = 0; i < 3; ++i)
        pthread_mutex_lock(&left[i]);
    pthread_barrier_wait(&both);
    usleep(30000);
    return unused;
}
static void *inherit(void *unused) {
    int r = pthread_mutex_lock(&left[0]);
    if (r == EOWNERDEAD) {
        pthread_mutex_consistent(&left[0]);
        pthread_mutex_unlock(&left[0]);
        return (void *)1L;
    }
    pthread_mutex_unlock(&left[0]);
    return unused;
}
static void owner_ends(const char *name, int protocol, int shared) {
    printf("-- %s\n", name);
    for (int i = 0; i < 3; ++i)
        make(&left[i], protocol, PTHREAD_MUTEX_ROBUST, PTHREAD_MUTEX_NORMAL, shared);
    pthread_barrier_init(&both, NULL, 2);
    pthread_t owner, waiters[3];
    pthread_create(&owner, NULL, leave_locked, NULL);
    pthread_barrier_wait(&both);
    for (int i = 0; i < 3; ++i)
        pthread_create(&waiters[i], NULL, inherit, NULL);
    pthread_join(owner, NULL);
    long inherited = 0;
    for (int i = 0; i < 3; ++i) {
        void *r;
        pthread_join(waiters[i], &r);
        inherited += (long)r;
    }
    printf("%ld of 3 waiters found the owner dead\n", inherited);
    say("lock of the second", pthread_mutex_lock(&left[1]));
    say("unlock without repair", pthread_mutex_unlock(&left[1]));
    say("lock after that", pthread_mutex_lock(&left[1]));
    say("trylock of the third", pthread_mutex_trylock(&left[2]));
    say("consistent", pthread_mutex_consistent(&left[2]));
    say("unlock", pthread_mutex_unlock(&left[2]));
    say("lock", pthread_mutex_lock(&left[2]));
    say("unlock", pthread_mutex_unlock(&left[2]));
}

// Raw calls.
static atomic_uint word, condition;
static atomic_int step;
static void *wait_and_lock(void *results) {
    long *r = results;
    atomic_fetch_add(&step, 1);
    r[0] = futex(&condition, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, NULL, &word, 0);
    r[1] = (word & FUTEX_TID_MASK) == (unsigned)syscall(SYS_gettid);
    r[2] = futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
    return NULL;
}
static void raw(void) {
    puts("-- raw calls");
    unsigned self = (unsigned)syscall(SYS_gettid);
    say_futex("lock_pi", futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    printf("the word names us: %d\n", word == self);
    say_futex("lock_pi again", futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    say_futex("trylock_pi again", futex(&word, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    say_futex("unlock_pi", futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    printf("the word is %u\n", word);
    say_futex("unlock_pi again", futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    word = FUTEX_TID_MASK - 1; // nobody
    say_futex("lock_pi of nobody's", futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    word = FUTEX_OWNER_DIED;
    say_futex("lock_pi of a dead one's", futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    printf("the word says so: %d\n", word == (self | FUTEX_OWNER_DIED));
    word = 0;
    struct timespec wrong = {0, -1};
    say_futex("lock_pi until -1 ns", futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, &wrong, NULL, 0));
    say_futex("lock_pi with a clock",
              futex(&word, FUTEX_LOCK_PI_PRIVATE | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0));
    say_futex("lock_pi at 2",
              futex((atomic_uint *)((char *)&word + 2), FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    say_futex("cmp_requeue_pi of two",
              futex(&condition, FUTEX_CMP_REQUEUE_PI_PRIVATE, 2, NULL, &word, 0));
    say_futex("cmp_requeue_pi of another value",
              futex(&condition, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, NULL, &word, 7));
    struct timespec until = soon(CLOCK_MONOTONIC);
    say_futex("wait_requeue_pi for 20 ms",
              futex(&condition, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &until, &word, 0));
    pthread_t t[3];
    long results[3][3];
    for (int i = 0; i < 3; ++i)
        pthread_create(&t[i], NULL, wait_and_lock, results[i]);
    while (step < 3)
        usleep(1000);
    usleep(50000);
    long moved = futex(&condition, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)10L, &word, 0);
    for (int i = 0; i < 3; ++i)
        pthread_join(t[i], NULL);
    say_futex("cmp_requeue_pi", moved);
    for (int i = 0; i < 3; ++i) {
        say_futex("wait_requeue_pi", results[i][0]);
        printf("it owned the lock: %ld\n", results[i][1]);
        say_futex("unlock_pi", results[i][2]);
    }
    printf("in the end the word is %u\n", word);
}

// In memory of two processes; the child is gone before the parent asks.
static void shared_with_a_child(int protocol) {
    pthread_mutex_t *m =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    make(m, protocol, PTHREAD_MUTEX_ROBUST, PTHREAD_MUTEX_NORMAL, PTHREAD_PROCESS_SHARED);
    pid_t child = fork();
    if (child == 0) {
        pthread_mutex_lock(m);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    say("lock that a dead child holds", pthread_mutex_lock(m));
    say("consistent", pthread_mutex_consistent(m));
    say("unlock", pthread_mutex_unlock(m));
    munmap(m, 4096);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    counting("priority", PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_PRIVATE);
    counting("robust", PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_PRIVATE);
    counting("robust priority", PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_ROBUST,
             PTHREAD_PROCESS_PRIVATE);
    counting("shared, in private memory", PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED,
             PTHREAD_PROCESS_SHARED);
    answers("errorcheck, priority", PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED,
            PTHREAD_MUTEX_ERRORCHECK);
    answers("recursive, priority", PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED,
            PTHREAD_MUTEX_RECURSIVE);
    answers("errorcheck, robust", PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST,
            PTHREAD_MUTEX_ERRORCHECK);
    answers("normal", PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_NORMAL);
    owner_ends("an owner that ends", PTHREAD_PRIO_NONE, PTHREAD_PROCESS_PRIVATE);
    owner_ends("an owner that ends, priority", PTHREAD_PRIO_INHERIT, PTHREAD_PROCESS_PRIVATE);
    owner_ends("an owner that ends, shared", PTHREAD_PRIO_NONE, PTHREAD_PROCESS_SHARED);
    raw();
    shared_with_a_child(PTHREAD_PRIO_NONE);
    return 0;
}
