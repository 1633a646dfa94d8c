// SPDX-License-Identifier: Apache-2.0
// Threads that never make a system call while they compute or spin: they end only if the others get
// their turn, and their results are right only if every register comes back. Prints the same natively.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { workers = 4, together = 20, turns = 40000000 };
static volatile int flag, stop, come;
static volatile unsigned alarms;
static pthread_spinlock_t spin;
static unsigned counted;

// Live in general and in vector registers, with a result that can be known.
static void *compute(void *seed) {
    double a = (double)(long)seed, b = 1.0, c = 0.5, d = 3.0;
    unsigned long x = (unsigned long)seed, y = 7;
    for (int i = 0; i < turns; i++) {
        a = a * 0.5 + b, b = b * 0.25 + c, c = c * 0.5 + d, d = d * 0.125 + 1.0;
        x = x * 6364136223846793005UL + y, y = y * 5 + 1;
    }
    double *result = malloc(2 * sizeof *result);
    result[0] = a + b + c + d, result[1] = (double)(x >> 32);
    return result;
}

static void *wait_for_flag(void *argument) {
    while (!flag)
        ;
    return argument;
}

// Each but the last spins until all of them have come, so the ticks take it from all of those.
static void *spin_together(void *argument) {
    __atomic_add_fetch(&come, 1, __ATOMIC_SEQ_CST);
    while (come < together)
        ;
    return argument;
}

// No stack at all meanwhile: natively nobody writes there.
static void *compute_without_stack(void *argument) {
    unsigned long left = 300000000, former;
    __asm__ volatile("mov %%rsp, %1\n\t"
                     "mov $8, %%esp\n"
                     "1:\tdec %0\n\t"
                     "jnz 1b\n\t"
                     "mov %1, %%rsp"
                     : "+r"(left), "=&r"(former)
                     :
                     : "cc", "memory");
    return left == 0 ? argument : NULL;
}

static void *hold_and_count(void *argument) {
    for (int i = 0; i < 2000; i++) {
        pthread_spin_lock(&spin);
        unsigned before = counted;
        for (volatile int k = 0; k < 2000; k++)
            ;
        counted = before + 1;
        pthread_spin_unlock(&spin);
    }
    return argument;
}

static void on_alarm(int signal) { alarms += signal == SIGALRM; }

static void *count_until_stopped(void *argument) {
    unsigned long *n = argument;
    while (!stop)
        ++*n;
    return NULL;
}

int main(void) {
    double *expected[workers];
    for (long i = 0; i < workers; i++)
        expected[i] = compute((void *)i);
    pthread_t t[workers];
    for (long i = 0; i < workers; i++)
        pthread_create(&t[i], NULL, compute, (void *)i);
    int right = 0;
    for (int i = 0; i < workers; i++) {
        void *result;
        pthread_join(t[i], &result);
        right += memcmp(result, expected[i], 2 * sizeof(double)) == 0;
    }
    printf("computed: %d of %d right\n", right, workers);

    pthread_create(&t[0], NULL, wait_for_flag, NULL);
    usleep(50000);
    flag = 1;
    pthread_join(t[0], NULL);
    puts("the flag was seen");

    pthread_t many[together];
    for (int i = 0; i < together; i++)
        pthread_create(&many[i], NULL, spin_together, NULL);
    for (int i = 0; i < together; i++)
        pthread_join(many[i], NULL);
    printf("come: %d\n", come);

    void *done;
    pthread_create(&t[0], NULL, compute_without_stack, t);
    pthread_join(t[0], &done);
    printf("without a stack: %s\n", done ? "computed" : "nothing");

    pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
    for (int i = 0; i < workers; i++)
        pthread_create(&t[i], NULL, hold_and_count, NULL);
    for (int i = 0; i < workers; i++)
        pthread_join(t[i], NULL);
    printf("spin lock: %u\n", counted);

    signal(SIGALRM, on_alarm);
    unsigned long n[workers] = {0};
    for (int i = 0; i < workers; i++)
        pthread_create(&t[i], NULL, count_until_stopped, &n[i]);
    alarm(1);
    while (!alarms)
        usleep(1000);
    stop = 1;
    int all = 1;
    for (int i = 0; i < workers; i++) {
        pthread_join(t[i], NULL);
        all &= n[i] > 0;
    }
    printf("an alarm in time, everybody counted: %d\n", all);
    return 0;
}
