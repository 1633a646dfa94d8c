// SPDX-License-Identifier: Apache-2.0
// overflow_prog WAY [handler]: recursion, or large (one frame that reaches far into a large guard), or wide (one of
// 64 KiB, which jumps over a guard of a page towards the stack of another thread), or main (the first thread's
// recursion), or null (a fault that is no overflow), or jump (into its own stack, which is no code), or shut (a touch
// of a page of its own stack that it has made inaccessible). handler: the program has one, on a stack of its own.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

__attribute__((noinline)) static int one_wide_frame(void) {
    volatile char frame[64 * 1024];
    frame[0] = 1;
    return frame[0];
}

static int *volatile nowhere;

static int jump_into_stack(void) {
    volatile char frame[64] = {0};
    void *volatile at = (void *)frame;
    int (*function)(void);
    memcpy(&function, (void *)&at, sizeof function);
    return function() + frame[0];
}

static int touch_what_is_shut(void) {
    char frame[3 * 4096];
    char *volatile page = (char *)(((unsigned long)frame + 8191) & ~4095UL);
    mprotect(page, 4096, PROT_NONE);
    return page[8] = 1;
}

static void *overflow(void *way) {
    volatile char here = 0;
    if (strcmp(way, "large") == 0)
        return (void *)(long)one_large_frame();
    if (strcmp(way, "wide") == 0)
        return (void *)(long)one_wide_frame();
    if (strcmp(way, "null") == 0)
        *nowhere = 1;
    if (strcmp(way, "jump") == 0)
        return (void *)(long)jump_into_stack();
    if (strcmp(way, "shut") == 0)
        return (void *)(long)touch_what_is_shut();
    return (void *)(long)recurse(0, &here);
}
static void *nothing(void *unused) { return unused; }
static void *wait_for_ever(void *unused) {
    for (;;)
        pause();
    return unused;
}

static int guards_are_cheap(void) {
    const int guard_install = 102;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return madvise(page, 4096, guard_install) == 0;
}

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
    if (strcmp(argv[1], "wide") == 0) {
        if (!guards_are_cheap())
            return 77;
        pthread_attr_setstacksize(&a, 48 * 1024);
        pthread_create(&t, &a, wait_for_ever,
                       NULL); // on a mapping of the kernel's, being the first
        pthread_create(&t, &a, wait_for_ever, NULL); // whose stack is the one below
    }
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
