// SPDX-License-Identifier: Apache-2.0
// looked_at_prog compute|turns|deep|vfork: threads for who looks from outside; "ready PID" once they are there, then it
// lives until its stdin ends. compute: one never makes a system call. turns: two of them, 'ping' and 'pong', which a terminal
// would obey, hand a byte to and fro, and 'idle' waits. deep: one waits below 50,000 calls. vfork: the
// first one waits in the kernel for a child, which ends by a byte on stdin; then it says "gone on".
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NESTED __attribute__((noinline))
#define KEEP_FRAME() __asm__ volatile("" ::: "memory")

static volatile int over;
static volatile unsigned long steps;
static int there[2], back[2], never[2];

NESTED static void in_loop(void) {
    while (!over)
        ++steps;
}
NESTED static void *computing(void *unused) {
    pthread_setname_np(pthread_self(), "computing");
    in_loop();
    KEEP_FRAME();
    return unused;
}

NESTED static void in_turns(int from, int to) {
    char c = 0;
    while (read(from, &c, 1) == 1 && write(to, &c, 1) == 1)
        ;
    close(to);
}
NESTED static void *ping(void *unused) {
    pthread_setname_np(pthread_self(), "ping");
    if (write(there[1], "", 1) == 1)
        in_turns(back[0], there[1]);
    KEEP_FRAME();
    return unused;
}
NESTED static void *pong(void *unused) {
    pthread_setname_np(pthread_self(), "pong\302\233 31m"); // CSI, in UTF-8
    while (!over) {
        char c;
        if (read(there[0], &c, 1) != 1 || write(back[1], &c, 1) != 1)
            break;
    }
    close(back[1]);
    KEEP_FRAME();
    return unused;
}
NESTED static void idle_there(int depth) {
    char c;
    if (depth > 0)
        idle_there(depth - 1);
    else if (read(never[0], &c, 1) != 0)
        _exit(1);
    KEEP_FRAME();
}
NESTED static void *idle(void *depth) {
    pthread_setname_np(pthread_self(), "idle");
    idle_there((int)(long)depth);
    KEEP_FRAME();
    return NULL;
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    pthread_t threads[3];
    int n = 0;
    if (pipe(there) != 0 || pipe(back) != 0 || pipe(never) != 0)
        return 2;
    pthread_create(&threads[n++], NULL, idle, (void *)(strcmp(mode, "deep") == 0 ? 50000L : 0L));
    if (strcmp(mode, "compute") == 0)
        pthread_create(&threads[n++], NULL, computing, NULL);
    if (strcmp(mode, "turns") == 0) {
        pthread_create(&threads[n++], NULL, ping, NULL);
        pthread_create(&threads[n++], NULL, pong, NULL);
    }
    usleep(20000);
    printf("ready %d\n", getpid());
    fflush(stdout);
    char c;
    if (strcmp(mode, "vfork") == 0) {
        if (vfork() == 0)
            _exit(read(0, &c, 1) == 1 ? 0 : 1);
        puts("gone on");
        fflush(stdout);
    }
    while (read(0, &c, 1) > 0)
        ;
    over = 1;
    close(never[1]);
    for (int i = 0; i < n; ++i)
        pthread_join(threads[i], NULL);
    printf("joined %d\n", n);
    return 0;
}
