// SPDX-License-Identifier: Apache-2.0
// How many instructions a system call takes, counted one by one by a tracer: no time is measured.
//
//     steps_prog LIBRARY|- [threads]    getppid between two marks; with a library preloaded, or without
//
// Two marks, with nothing in between, are 1 instruction apart: the second mark.
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARK() __asm__ volatile("int3" ::: "memory")

static sem_t never;
static void *wait_for_ever(void *unused) {
    sem_wait(&never);
    return unused;
}

static int traced(int threads) {
    pthread_t t;
    sem_init(&never, 0, 0);
    if (threads && pthread_create(&t, NULL, wait_for_ever, NULL) != 0)
        return 2;
    getppid(); // the dynamic linker is done with it
    MARK();
    getppid();
    MARK();
    _exit(0);
}

// Goes on until a mark, which is seen behind it: how many steps that took, or by one go: 0.
static int until_mark(pid_t child, int by_step) {
    for (int steps = 0;;) {
        int status;
        if (ptrace(by_step ? PTRACE_SINGLESTEP : PTRACE_CONT, child, NULL, NULL) != 0 ||
            waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
            puts("the program has ended");
            exit(1);
        }
        siginfo_t why;
        ptrace(PTRACE_GETSIGINFO, child, NULL, &why);
        if (WSTOPSIG(status) != SIGTRAP)
            continue; // a signal of its own, which it does not get
        ++steps;
        if (why.si_code == SI_KERNEL) // int3, and not a step
            return steps;
    }
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "traced") == 0)
        return traced(argc > 2);
    if (argc < 2)
        return 2;
    pid_t child = fork();
    if (child == 0) {
        char *arguments[] = {argv[0], "traced", argc > 2 ? argv[2] : NULL, NULL};
        if (strcmp(argv[1], "-") != 0)
            setenv("LD_PRELOAD", argv[1], 1);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        execv(argv[0], arguments);
        _exit(2);
    }
    int status;
    waitpid(child, &status, 0); // it has become the traced program
    if (!WIFSTOPPED(status))
        return WEXITSTATUS(status);
    until_mark(child, 0);
    printf("%d\n", until_mark(child, 1));
    kill(child, SIGKILL);
    return 0;
}
