// SPDX-License-Identifier: Apache-2.0
// Exceptions and cancellation pass through system calls: natively, and with the waist in between, this
// prints the same.
#include <csignal>
#include <cstdio>
#include <pthread.h>
#include <semaphore.h>
#include <stdexcept>
#include <sys/time.h>
#include <unistd.h>

namespace {

struct witness {
    const char *name;
    ~witness() { printf("%s: unwound\n", name); }
};

int pipe_ends[2];
sem_t ready;

// Blocked in the kernel.
void *in_read(void *) {
    witness w{"read"};
    char byte;
    sem_post(&ready);
    ssize_t n = read(pipe_ends[0], &byte, 1);
    printf("read: %zd\n", n);
    return nullptr;
}

void *in_pause(void *) {
    witness w{"pause"};
    sem_post(&ready);
    pause();
    return nullptr;
}

void *in_condition(void *) {
    witness w{"condition"};
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&m);
    sem_post(&ready);
    while (true)
        pthread_cond_wait(&c, &m);
}

// Cancelled at whatever instruction it is, mostly in or around a system call. (With anything to destroy
// it would have to be compiled for exceptions at any instruction.)
void *anywhere(void *) {
    int old;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
    sem_post(&ready);
    while (true)
        getppid();
}

void cancel(const char *name, void *(*body)(void *), useconds_t after) {
    pthread_t t;
    void *result = nullptr;
    pthread_create(&t, nullptr, body, nullptr);
    while (sem_wait(&ready) != 0) {
    }
    usleep(after);
    pthread_cancel(t);
    pthread_join(t, &result);
    printf("%s: %s\n", name, result == PTHREAD_CANCELED ? "cancelled" : "returned");
}

// Thrown by a handler, caught by whoever made the call that the signal interrupted.
void thrower(int) { throw std::runtime_error("from a handler"); }

__attribute__((noinline)) void wait_for_signal() {
    witness w{"wait"};
    itimerval soon = {{0, 0}, {0, 10000}};
    setitimer(ITIMER_REAL, &soon, nullptr);
    char byte;
    ssize_t n = read(pipe_ends[0], &byte, 1);
    printf("wait: %zd\n", n);
}

} // namespace

int main() {
    setvbuf(stdout, nullptr, _IOLBF, 0);
    sem_init(&ready, 0, 0);
    if (pipe(pipe_ends) != 0)
        return 1;
    cancel("read", in_read, 20000);
    cancel("pause", in_pause, 20000);
    cancel("condition", in_condition, 20000);
    for (int i = 0; i < 20; ++i)
        cancel("anywhere", anywhere, static_cast<useconds_t>(i * 37));
    struct sigaction action = {};
    action.sa_handler = thrower;
    action.sa_flags = SA_NODEFER;
    sigaction(SIGALRM, &action, nullptr);
    for (int i = 0; i < 3; ++i) {
        try {
            wait_for_signal();
            printf("not thrown\n");
        } catch (const std::exception &e) {
            printf("caught: %s\n", e.what());
        }
    }
    return 0;
}
