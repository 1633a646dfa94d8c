// SPDX-License-Identifier: Apache-2.0
// Stacks of threads that wait for long, for corun alone: what one of them once used comes back, and of
// one that waits in a handler, on an alternate stack within its own, nothing that is alive.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { deep = 128 * 1024, alternate = 64 * 1024, page = 4096 };
static int pipes[2][2];
static char *volatile used; // by the thread that was deep once

static void wait_on(int which) {
    char c;
    if (read(pipes[which][0], &c, 1) != 1)
        perror("read");
}
static void on_signal(int signal) {
    (void)signal;
    wait_on(0);
}

static __attribute__((noinline)) void use(void) {
    volatile char below[deep];
    for (int i = 0; i < deep; i++)
        below[i] = 1;
    used = (char *)(((unsigned long)below + page - 1) & ~(page - 1UL));
}
static void *once_deep(void *unused) {
    use();
    wait_on(1);
    return unused;
}

static __attribute__((noinline)) int alive(void) {
    volatile unsigned char mine[deep]; // below the alternate stack
    for (int i = 0; i < deep; i++)
        mine[i] = (unsigned char)(i * 7);
    raise(SIGUSR1);
    int right = 0;
    for (int i = 0; i < deep; i++)
        right += mine[i] == (unsigned char)(i * 7);
    return right == deep;
}
static void *in_handler(void *result) {
    char other[alternate];
    stack_t stack = {.ss_sp = other, .ss_size = sizeof other};
    sigaltstack(&stack, NULL);
    *(int *)result = alive();
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, NULL);
    return result;
}

static void *stay(void *unused) {
    pause();
    return unused;
}

// 30 ms of processor time, which is what corun takes for activity, then a nap.
static void be_active(void) {
    for (clock_t end = clock() + CLOCKS_PER_SEC * 30 / 1000; clock() < end;)
        ;
    usleep(100000);
}

int main(void) {
    pthread_t threads[2], first;
    int right = 0;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    if (pipe(pipes[0]) != 0 || pipe(pipes[1]) != 0)
        return 1;
    pthread_create(&first, NULL, stay,
                   NULL); // corun begins with it, and its stack is not corun's yet
    pthread_create(&threads[0], NULL, in_handler, &right);
    be_active(); // it waits now; whoever comes later is looked at no sooner
    pthread_create(&threads[1], NULL, once_deep, NULL);
    unsigned char resident = 1;
    for (int tried = 0; tried < 80 && (!used || resident); tried++) {
        be_active();
        if (used)
            mincore(used, page, &resident);
    }
    printf("given back: %d\n", !(resident & 1));
    for (int i = 0; i < 2; i++) {
        if (write(pipes[i][1], "x", 1) != 1)
            return 1;
        pthread_join(threads[i], NULL);
    }
    printf("all that was alive is: %d\n", right);
    return 0;
}
