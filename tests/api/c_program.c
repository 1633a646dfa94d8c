/* SPDX-License-Identifier: Apache-2.0 */
/* A C program that uses corun as a C program would: built by c_program_test.sh as C99 to C2x with the
 * plain C compiler and libcorun.a. Exit status 0: all is as it should be. */
#include "co_hook.h"
#include "co_routine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int failures;
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

static char trace[64];
static void say(char c) {
    size_t length = strlen(trace);
    trace[length] = c;
    trace[length + 1] = 0;
}

static void *libco_style(void *name) {
    for (int i = 0; i < 3; i++) {
        say(*(const char *)name);
        co_yield(co_self());
    }
    return name;
}

static void resume_and_yield(void) {
    stCoRoutine_t *a = NULL, *b = NULL;
    static char name_a[] = "a", name_b[] = "b";
    CHECK(co_create(&a, NULL, libco_style, name_a) == 0);
    CHECK(co_create(&b, NULL, libco_style, name_b) == 0);
    for (int i = 0; i < 4; i++) {
        co_resume(a);
        co_resume(b);
    }
    CHECK(strcmp(trace, "ababab") == 0);
    co_release(a);
    co_release(b);
}

static co_chan_t *numbers;
static void *send_ten(void *unused) {
    (void)unused;
    for (int i = 1; i <= 10; i++)
        CHECK(co_chan_send(numbers, &i) == 0);
    CHECK(co_chan_close(numbers) == 0);
    return NULL;
}
static void *sum_up(void *result) {
    int n, *sum = result;
    while (co_chan_recv(numbers, &n) == 0)
        *sum += n;
    return sum;
}

static void channels_on_shared_stacks(void) {
    int sum = 0;
    void *returned = NULL;
    stShareStack_t *stacks = co_alloc_sharestack(1, 64 * 1024);
    stCoRoutineAttr_t attr = {0, NULL, 0};
    stCoRoutine_t *receiver = NULL;
    attr.share_stack = stacks;
    CHECK(co_chan_create(&numbers, sizeof(int), 0) == 0);
    CHECK(co_go(NULL, &attr, send_ten, NULL) == 0);
    CHECK(co_go(&receiver, &attr, sum_up, &sum) == 0);
    CHECK(co_join(receiver, &returned) == 0);
    CHECK(returned == &sum && sum == 55);
    co_release(receiver);
    co_run();
    CHECK(co_chan_destroy(numbers) == 0);
    CHECK(co_release_sharestack(stacks) == 0);
}

static void *sleep_long(void *slept) {
    co_sleep_ms(3600 * 1000L);
    *(int *)slept = 1;
    return NULL;
}

/* Unwinding in a C program: libgcc_s is loaded when it is first needed. */
static void cancel(void) {
    int slept = 0;
    void *returned = NULL;
    stCoRoutine_t *co = NULL;
    struct co_stats stats;
    CHECK(co_go(&co, NULL, sleep_long, &slept) == 0);
    co_yield_now();
    CHECK(co_set_name(co, "sleeper") == 0 && strcmp(co_get_name(co), "sleeper") == 0);
    CHECK(co_cancel(co) == 0);
    CHECK(co_join(co, &returned) == 0);
    CHECK(returned == CO_CANCELED && slept == 0);
    CHECK(co_cancel(co) == ESRCH);
    co_release(co);
    CHECK(co_get_stats(&stats) == 0 && stats.cancelled == 1 && stats.unwind_stopped == 0);
}

static void *choose_families(void *unused) {
    (void)unused;
    co_enable_hook_sys();
    CHECK(co_hook_get_families() == (unsigned)CO_HOOK_DEFAULT);
    CHECK(co_hook_set_families(CO_HOOK_READ | CO_HOOK_WRITE) == 0);
    CHECK(co_hook_get_families() == (CO_HOOK_READ | CO_HOOK_WRITE));
    CHECK(co_hook_set_families(1u << 31) == EINVAL);
    return NULL;
}

static void hooks(void) {
    FILE *nowhere = fopen("/dev/null", "w");
    CHECK(co_hook_set_families(CO_HOOK_READ) == EPERM);
    CHECK(co_go(NULL, NULL, choose_families, NULL) == 0);
    co_run();
    CHECK(co_hook_is_hooked("read") == 1 && co_hook_is_hooked("no_such_name") == -1);
    CHECK(nowhere && co_hook_report(nowhere) == 0);
    if (nowhere)
        fclose(nowhere);
}

int main(void) {
    resume_and_yield();
    channels_on_shared_stacks();
    cancel();
    hooks();
    return failures != 0;
}
