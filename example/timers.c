// SPDX-License-Identifier: Apache-2.0
/*
 * timers - a row of sleepers, woken in the order of their clocks and not of their birth; and a wait
 * with a time limit.
 */
#include <co_routine.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>

static const int clocks[] = {80, 20, 60, 40};
static co_sem_t parcel; // all zero: none has come

static void *sleeper(void *ms) {
    co_sleep_ms((long)(intptr_t)ms);
    printf("%2ld ms\n", (long)(intptr_t)ms);
    return NULL;
}

static void *postman(void *unused) {
    (void)unused;
    co_sleep_ms(120);
    co_sem_post(&parcel);
    return NULL;
}

static void *at_the_door(void *unused) {
    (void)unused;
    if (co_sem_timedwait(&parcel, 100) == ETIMEDOUT)
        puts("nothing after 100 ms");
    if (co_sem_timedwait(&parcel, 10000) == 0)
        puts("a parcel");
    return NULL;
}

int main(void) {
    for (unsigned i = 0; i < sizeof clocks / sizeof *clocks; i++)
        co_go(NULL, NULL, sleeper, (void *)(intptr_t)clocks[i]);
    co_go(NULL, NULL, at_the_door, NULL);
    co_go(NULL, NULL, postman, NULL);
    co_run();
    return 0;
}
