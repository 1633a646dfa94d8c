// SPDX-License-Identifier: Apache-2.0
// overflow_prog WAY [handler]: recursion, or large (one frame that reaches far into a large guard), or main (the first
// thread's recursion), or null (a fault that is no overflow). handler: the program has one, on a stack of its own.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

__attribute__((noinline)) static int recurse(int depth, volatile char *above) {
    volatile char frame[200];
    frame[0] = (char)depth;
    if (depth < 0)
        return above[0];
    return recurse(depth + 1, frame) + frame[0];
}

__attribute__((noinline)) static int one_large_frame(void) {
    volatile char frame[40 * 1024];
    frame[0] = 1;
    return frame[0];
}

static int *volatile nowhere;

static void *overflow(void *way) {
    volatile char here = 0;
    if (strcmp(way, "large") == 0)
        return (void *)(long)one_large_frame();
    if (strcmp(way, "null") == 0)
        *nowhere = 1;
    return (void *)(long)recurse(0, &here);
}
static void *nothing(void *unused) { return unused; }

static void on_fault(int s) {
    const char text[] = "own handler\n";
    if (write(1, text, sizeof text - 1) < 0)
        _exit(2);
    _exit(s == SIGSEGV ? 3 : 4);
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    if (argc > 2) {
        static char stack[64 * 1024];
        stack_t s = {.ss_sp = stack, .ss_size = sizeof stack};
        sigaltstack(&s, NULL);
        struct sigaction a = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};
        sigaction(SIGSEGV, &a, NULL);
    }
    pthread_t t;
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, 32 * 1024);
    if (strcmp(argv[1], "large") == 0)
        pthread_attr_setguardsize(&a, 64 * 1024);
    if (strcmp(argv[1], "main") == 0) {
        pthread_create(&t, &a, nothing, NULL);
        pthread_join(t, NULL);
        overflow(argv[1]);
    }
    pthread_create(&t, &a, overflow, argv[1]);
    pthread_setname_np(t, "deep");
    pthread_join(t, NULL);
    return 0;
}
