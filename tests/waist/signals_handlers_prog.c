// SPDX-License-Identifier: Apache-2.0
// Handlers: stacks, jumps, nesting, faults.
#include "tests/waist/signals.h"

#include <setjmp.h>
#include <sys/mman.h>

// ---- Handlers

static sigjmp_buf out;
static void jump(int s) { siglongjmp(out, s); }
static char other_stack[65536] __attribute__((aligned(64)));
static atomic_int on_other_stack;
static void look_at_stack(int s) {
    char here;
    on_other_stack = &here >= other_stack && &here < other_stack + sizeof other_stack;
    stack_t now;
    sigaltstack(NULL, &now);
    printf("handler %d on the alternate stack %d, it says %d\n", s, on_other_stack,
           (now.ss_flags & SS_ONSTACK) != 0);
}
static void nested_two(int s) {
    sigset_t m;
    pthread_sigmask(SIG_BLOCK, NULL, &m);
    printf("in %d: USR1 %d USR2 %d\n", s, sigismember(&m, SIGUSR1), sigismember(&m, SIGUSR2));
}
static void nested_one(int s) {
    static int again;
    nested_two(s);
    raise(SIGUSR2);
    if (!again++)
        raise(SIGUSR1); // after this one
    printf("in %d: after raise\n", s);
}
static atomic_int spinning;
static void *spin(void *argument) {
    while (spinning)
        if (argument)
            syscall(SYS_getppid);
    return NULL;
}
static void *stack_and_jump(void *argument) {
    stack_t s = {other_stack, 0, sizeof other_stack}, small = {other_stack, 0, 100};
    say("too small", sigaltstack(&small, NULL));
    say("sigaltstack", sigaltstack(&s, NULL));
    raise(SIGUSR1);
    if (sigsetjmp(out, 1) == 0)
        in_read();
    else
        show_mask("jumped out of read");
    if (sigsetjmp(out, 1) == 0) {
        raise(SIGUSR2);
        puts("not reached");
    } else {
        show_mask("jumped out of raise");
    }
    return argument;
}
static void part_handlers(void) {
    pthread_t t;
    on(SIGUSR1, look_at_stack, SA_ONSTACK | SA_RESTART);
    on(SIGUSR2, jump, 0);
    pthread_create(&t, NULL, stack_and_jump, NULL);
    pause_ms(100);
    pthread_kill(t, SIGUSR2);
    pthread_join(t, NULL);
    raise(SIGUSR1);
    on(SIGUSR1, nested_one, 0);
    on(SIGUSR2, nested_two, 0);
    raise(SIGUSR1);
    // Two at once: the later one's handler runs first, for it interrupts the other's.
    mask(SIG_BLOCK, SIGUSR1);
    mask(SIG_BLOCK, SIGUSR2);
    on(SIGUSR1, nested_two, 0);
    raise(SIGUSR1);
    raise(SIGUSR2);
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    on(SIGUSR1, count, SA_RESETHAND);
    handled = 0;
    raise(SIGUSR1);
    struct sigaction a;
    sigaction(SIGUSR1, NULL, &a);
    printf("reset to default %d, handled %d\n", a.sa_handler == SIG_DFL, handled);
    on(SIGUSR1, SIG_IGN, 0);
    raise(SIGUSR1);
    on(SIGUSR1, count, SA_NODEFER | SA_SIGINFO);
    sigaction(SIGUSR1, NULL, &a);
    printf("flags %x\n", (unsigned)a.sa_flags & ~0x04000000U);
    for (int natively = 0; natively < 2; ++natively) { // one that runs, in calls and without
        spinning = 1;
        handled = 0;
        pthread_create(&t, NULL, spin, natively ? &spinning : NULL);
        pid_t child = fork();
        if (child == 0) { // nobody else would: the thread that spins never yields
            pause_ms(50);
            kill(getppid(), SIGALRM);
            _exit(0);
        }
        on(SIGALRM, count, 0);
        mask(SIG_BLOCK, SIGALRM);
        struct sigaction stop = {.sa_handler = count};
        sigaction(SIGALRM, &stop, NULL);
        spinning = 0;
        pthread_join(t, NULL);
        waitpid(child, NULL, 0);
        mask(SIG_UNBLOCK, SIGALRM);
        printf("handled %d\n", handled);
    }
}

// ---- Faults

static char *volatile page, *volatile nowhere;
static void mend(int s, siginfo_t *info, void *context) {
    (void)context;
    ++handled;
    if (s == SIGSEGV && (char *)info->si_addr == page)
        mprotect(page, 4096, PROT_READ | PROT_WRITE);
    else
        siglongjmp(out, s);
}
static void *fault(void *argument) {
    page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *(volatile char *)page = 7;
    printf("written: %d after %d\n", *page, handled);
    int s = sigsetjmp(out, 1);
    if (s == 0)
        *(volatile char *)nowhere = 1;
    printf("came back from %d\n", s);
    s = sigsetjmp(out, 1);
    if (s == 0)
        __builtin_trap();
    printf("came back from %d\n", s);
    volatile int zero = 0;
    s = sigsetjmp(out, 1);
    if (s == 0)
        zero = 100 / zero;
    printf("came back from %d\n", s);
    double before = 1.5, after;
    __asm__ volatile("movsd %1, %%xmm9; int3; movsd %%xmm9, %0"
                     : "=m"(after)
                     : "m"(before)
                     : "xmm9");
    printf("vectors kept %d\n", after == before);
    return argument;
}
static void scribble(int s, siginfo_t *info, void *context) {
    (void)s;
    (void)info;
    (void)context;
    __asm__ volatile("pxor %%xmm9, %%xmm9; vzeroall" ::: "xmm9");
}
// An overflow: the handler needs its other stack.
static void leave_overflow(int s) {
    char here;
    printf("overflow: %d on the alternate stack %d\n", s,
           &here >= other_stack && &here < other_stack + sizeof other_stack);
    siglongjmp(out, 1);
}
static __attribute__((noinline)) int fall(volatile int n) {
    volatile char frame[1000];
    frame[0] = (char)n;
    return n < 0 ? 0 : fall(n + 1) + frame[0];
}
static void *overflow(void *argument) {
    stack_t s = {other_stack, 0, sizeof other_stack};
    sigaltstack(&s, NULL);
    on(SIGSEGV, leave_overflow, SA_ONSTACK);
    if (sigsetjmp(out, 1) == 0)
        printf("%d\n", fall(1));
    show_mask("after the overflow");
    return argument;
}

static void part_faults(void) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = mend;
    a.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &a, NULL);
    sigaction(SIGILL, &a, NULL);
    sigaction(SIGFPE, &a, NULL);
    a.sa_sigaction = scribble;
    sigaction(SIGTRAP, &a, NULL);
    pthread_t t;
    pthread_create(&t, NULL, fault, NULL);
    pthread_join(t, NULL);
    pthread_create(&t, NULL, overflow, NULL);
    pthread_join(t, NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        pthread_create(&t, NULL, fault, NULL);
        pthread_join(t, NULL);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    printf("without a handler: signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static const struct part parts[] = {{"handlers", part_handlers}, {"faults", part_faults}};

int main(int argc, char **argv) {
    return run_part(parts, sizeof parts / sizeof parts[0], argc, argv);
}
