// SPDX-License-Identifier: Apache-2.0
// Two plain threads that take turns by a mutex and a condition: what a hand-over costs. Knows nothing
// of corun; run it natively on one core and under the launcher, and compare.
//
//     taskset -c 0 build/x86_64/perf/pingpong 200000
//     taskset -c 0 build/x86_64/corun build/x86_64/perf/pingpong 200000
//
// Prints nanoseconds for each hand-over (a turn of one thread), and the system's context switches.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long turn, turns;

static void play(long me) {
    pthread_mutex_lock(&mutex);
    while (turn < turns) {
        while (turn % 2 != me && turn < turns)
            pthread_cond_wait(&changed, &mutex);
        ++turn;
        pthread_cond_signal(&changed);
    }
    pthread_mutex_unlock(&mutex);
}

static void *play_other(void *unused) {
    play(1);
    return unused;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv) {
    turns = argc > 1 ? atol(argv[1]) : 200000;
    pthread_t other;
    if (pthread_create(&other, NULL, play_other, NULL) != 0) {
        fprintf(stderr, "no second thread\n");
        return 1;
    }
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    double start = now();
    play(0);
    pthread_join(other, NULL);
    double took = now() - start;
    getrusage(RUSAGE_SELF, &after);
    printf("%.1f ns for each of %ld hand-overs, %ld context switches\n", took / (double)turns,
           turns, after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw);
    return 0;
}
