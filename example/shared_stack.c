// SPDX-License-Identifier: Apache-2.0
/*
 * shared_stack - 20,000 coroutines take turns on 4 stacks. While one waits, only the bytes it has in
 * use are kept, so each costs some hundred bytes instead of a stack of its own.
 */
#include <co_routine.h>

#include <stdint.h>
#include <stdio.h>

enum { people = 20000 };

static co_wg_t gate; // closed while its count is not 0
static long intact;

static void *wait_at_the_gate(void *number) {
    char name[64];
    int length = snprintf(name, sizeof name, "number %ld", (long)(intptr_t)number);
    co_wg_wait(&gate); // the other 19,999 run here, on these very addresses

    char expected[64];
    snprintf(expected, sizeof expected, "number %ld", (long)(intptr_t)number);
    for (int i = 0; i <= length; i++)
        if (name[i] != expected[i])
            return NULL;
    intact++;
    return NULL;
}

int main(void) {
    stShareStack_t *stacks = co_alloc_sharestack(4, 128 * 1024);
    stCoRoutineAttr_t attr = {0, stacks, 0};
    co_wg_add(&gate, 1);
    for (long i = 0; i < people; i++)
        co_go(NULL, &attr, wait_at_the_gate, (void *)(intptr_t)i);
    co_yield_now(); // each runs up to the gate

    struct co_stats stats;
    co_get_stats(&stats);
    printf("%d coroutines wait on %d stacks\n", (int)stats.now_parked, 4);
    printf("each keeps less than 1 KiB: %s\n", stats.bytes_saved < people * 1024 ? "yes" : "no");
    co_wg_done(&gate);
    co_run();
    printf("%ld names survived\n", intact);
    return co_release_sharestack(stacks);
}
