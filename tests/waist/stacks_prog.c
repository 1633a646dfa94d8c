// SPDX-License-Identifier: Apache-2.0
// The stacks of threads: their sizes and bounds as libc tells them, guards, memory that is zero, and what
// happens to mappings that look like stacks. Run natively and under corun by stacks_test.sh, which
// compares. With an argument: one of the parts below.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/poll.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL

static void bounds(char **low, size_t *size, size_t *guard) {
    pthread_attr_t a;
    void *at;
    pthread_getattr_np(pthread_self(), &a);
    pthread_attr_getstack(&a, &at, size);
    pthread_attr_getguardsize(&a, guard);
    pthread_attr_destroy(&a);
    *low = at;
}

static void *tell(void *unused) {
    char *low, here;
    size_t size, guard;
    bounds(&low, &size, &guard);
    printf("stack of %zu KiB, guard of %zu, we stand in it: %d\n", size >> 10, guard >> 10,
           &here > low && &here < low + size);
    return unused;
}

static void with(size_t size, size_t guard, void *(*f)(void *)) {
    pthread_attr_t a;
    pthread_t t;
    pthread_attr_init(&a);
    if (size && pthread_attr_setstacksize(&a, size))
        puts("no such size");
    pthread_attr_setguardsize(&a, guard);
    if (pthread_create(&t, &a, f, NULL) == 0)
        pthread_join(t, NULL);
    else
        puts("no thread");
    pthread_attr_destroy(&a);
}

// Of the lowest page of the stack and the highest of the guard, which can be used?
static int faults(char *at) {
    char c;
    struct iovec here = {&c, 1}, there = {at, 1};
    return process_vm_readv(getpid(), &here, 1, &there, 1, 0) != 1 ||
           process_vm_writev(getpid(), &here, 1, &there, 1, 0) != 1;
}
static void *touch_guard(void *unused) {
    char *low;
    size_t size, guard;
    bounds(&low, &size, &guard);
    char *above = low, *below = low - 1; // libc tells the stack without its guard
    printf("guard of %zu: the lowest byte of the stack faults: %d", guard >> 10, faults(above));
    if (guard)
        printf(", the one below: %d, the guard's lowest: %d", faults(below), faults(low - guard));
    puts("");
    return unused;
}

// Everything down to the guard is written; the next thread finds zeroes where it never was.
static void *fill(void *unused) {
    char *low, here;
    size_t size, guard;
    bounds(&low, &size, &guard);
    (void)size;
    memset(low, 0xEE, (size_t)(&here - low) - 4 * PAGE);
    return unused;
}
static void mappings_are_zero(size_t size) {
    int zero = 1;
    for (int round = 0; round < 50; ++round) {
        unsigned char *m =
            mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        mprotect(m + PAGE, size - PAGE, PROT_READ | PROT_WRITE);
        for (size_t i = PAGE; i < size; ++i)
            zero &= m[i] == 0;
        memset(m + PAGE, 0xEE, size - PAGE);
        munmap(m, size);
    }
    printf("%zu KiB again and again: zero: %d\n", size >> 10, zero);
}

static void *recurse(void *unused) {
    volatile char frame[16 * 1024];
    memset((void *)frame, 1, sizeof frame);
    return frame[5] ? recurse((char *)unused + frame[9]) : NULL;
}
static void overflow(void) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        with(1 << 20, PAGE, recurse);
        _exit(0);
    }
    int how;
    waitpid(child, &how, 0);
    printf("one that overflows ends by signal %d\n", WIFSIGNALED(how) ? WTERMSIG(how) : 0);
}

// Small ones: calls that wait, at the bottom of 16 KiB.
static int pipe_ends[2];
static void *read_one(void *unused) {
    char c;
    if (read(pipe_ends[0], &c, 1) != 1)
        puts("no byte");
    return unused;
}
static void *poll_one(void *unused) {
    struct pollfd p = {pipe_ends[0], POLLIN, 0};
    if (poll(&p, 1, 10000) == 1)
        read_one(NULL);
    return unused;
}
static void smallest(void *(*f)(void *)) {
    enum { n = 64 };
    pthread_t t[n];
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, 16384);
    for (int i = 0; i < n; ++i)
        if (pthread_create(&t[i], &a, f, NULL))
            puts("no thread");
    usleep(20000);
    for (int i = 0; i < n; ++i)
        if (write(pipe_ends[1], "x", 1) != 1)
            puts("not written");
    for (int i = 0; i < n; ++i)
        pthread_join(t[i], NULL);
    puts("64 threads on 16 KiB each");
}

// What a program may do to such a mapping besides giving it back whole.
static char *map_one(size_t size) {
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
}
static void odd_calls(void) {
    enum { size = 64 * 1024 };
    for (int i = 0; i < 3; ++i) {
        char *m = map_one(size);
        memset(m, 1, size);
        printf("a hole: %d", munmap(m + 16 * PAGE / 2, PAGE));
        printf(", faults: %d, beside it: %d", faults(m + 8 * PAGE), faults(m + 9 * PAGE));
        printf(", the rest: %d %d\n", munmap(m, 8 * PAGE), munmap(m + 9 * PAGE, 7 * PAGE));
        m = map_one(size);
        memset(m, 2, size);
        printf("read only: %d", mprotect(m + 2 * PAGE, PAGE, PROT_READ));
        printf(", faults: %d", faults(m + 2 * PAGE));
        printf(", open again: %d", mprotect(m + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE));
        printf(", as it was: %d\n", m[2 * PAGE]);
        printf("open what is open: %d, as it was: %d\n",
               mprotect(m + 4 * PAGE, size - 4 * PAGE, PROT_READ | PROT_WRITE), m[PAGE]);
        printf("all of it executable: %d", mprotect(m, size, PROT_READ | PROT_WRITE | PROT_EXEC));
        printf(", back: %d\n", munmap(m, size));
        m = map_one(size);
        printf("and zero: %d\n", m[2 * PAGE] == 0 && m[size - 1] == 0);
        munmap(m, size);
    }
}

static int is_zero(const char *m, size_t size) {
    for (size_t i = 0; i < size; ++i)
        if (m[i] != 0)
            return 0;
    return 1;
}

// Mapped over, moved, locked in memory, with properties of its own: the next one has nothing of it.
static void changed_mappings(void) {
    const size_t size = 256 * 1024;
    FILE *file = tmpfile();
    if (!file || ftruncate(fileno(file), (off_t)size) != 0)
        return;
    for (size_t from = 0; from < size; from += size / 2) {
        char *m = map_one(size), byte = 0;
        memset(m, 1, size);
        mmap(m + from, size - from, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fileno(file),
             0);
        m[from] = 2;
        munmap(m, size);
        m = map_one(size);
        printf("after a file: zero %d", is_zero(m, size));
        m[from] = 3;
        printf(", the file has %zd %d\n", pread(fileno(file), &byte, 1, 0), byte);
        munmap(m, size);
    }
    char *m = map_one(size);
    m[5] = 7;
    char *moved = mremap(m, size, 2 * size, MREMAP_MAYMOVE);
    printf("moved: %d\n", moved[5]);
    memset(moved, 1, 2 * size);
    munmap(moved, 2 * size);
    for (int i = 0; i < 3; ++i) {
        m = map_one(size);
        printf("after it: zero %d\n", is_zero(m, size));
        m[0] = 1;
    }
    for (int advice = MADV_DONTFORK; advice <= MADV_WIPEONFORK;
         advice += MADV_WIPEONFORK - MADV_DONTFORK) {
        m = map_one(size);
        printf("advice: %d", madvise(m, size, advice));
        munmap(m, size);
        m = map_one(size);
        m[0] = 5;
        int status, pid = fork();
        if (pid == 0)
            _exit(m[0]);
        waitpid(pid, &status, 0);
        printf(", a child has %x\n", status);
        munmap(m, size);
    }
    m = map_one(size);
    memset(m, 1, size);
    printf("locked: %d\n", mlock(m, size));
    munmap(m, size);
    m = map_one(size);
    printf("after it: zero %d\n", is_zero(m, size));
    fclose(file);
}

static void count_mappings(void) {
    enum { n = 1000 };
    pthread_t t[n];
    for (int i = 0; i < n; ++i)
        if (pthread_create(&t[i], NULL, read_one, NULL))
            puts("no thread");
    FILE *maps = fopen("/proc/self/maps", "r");
    int c, lines = 0;
    while ((c = getc(maps)) != EOF)
        lines += c == '\n';
    printf("%d\n", lines);
    for (int i = 0; i < n; ++i)
        if (write(pipe_ends[1], "x", 1) != 1)
            puts("not written");
    for (int i = 0; i < n; ++i)
        pthread_join(t[i], NULL);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (pipe(pipe_ends))
        return 1;
    if (argc > 1 && strcmp(argv[1], "tell") == 0) {
        with(0, PAGE, tell);
        with(200 * 1024, PAGE, tell);
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "many") == 0) {
        count_mappings();
        return 0;
    }
    with(0, PAGE, tell); // the first thread of all
    for (size_t size = 16384; size <= (4 << 20); size *= 4)
        for (size_t guard = 0; guard <= 4 * PAGE; guard += 2 * PAGE)
            with(size + guard, guard, tell);
    with(0, PAGE, tell);
    overflow();
    for (size_t guard = 0; guard <= 8 * PAGE; guard = guard ? guard * 2 : PAGE)
        with(256 * 1024, guard, touch_guard);
    for (size_t guard = 8 * PAGE; guard >= PAGE;
         guard /= 2) // the same mapping, and a smaller guard
        with(256 * 1024, guard, touch_guard);
    for (int i = 0; i < 20; ++i)
        with(256 * 1024, PAGE, fill);
    mappings_are_zero(5 * PAGE);
    mappings_are_zero(128 * 1024);
    mappings_are_zero(12 << 20);
    smallest(read_one);
    smallest(poll_one);
    odd_calls();
    changed_mappings();
    return 0;
}
