// SPDX-License-Identifier: Apache-2.0
/*
 * producer_consumer - one bakes, two eat; the shelf holds three loaves. A condition each way, with
 * libco's own functions: no lock is needed, because coroutines of one thread change places only where
 * they wait.
 */
#include <co_routine.h>

#include <stdio.h>

enum { shelf_size = 3, batch = 8 };

static int shelf[shelf_size], on_shelf, baked;
static stCoCond_t *loaf_there, *room_there;

static void *bake(void *unused) {
    (void)unused;
    while (baked < batch) {
        while (on_shelf == shelf_size)
            co_cond_timedwait(room_there, -1); // -1: however long it takes
        shelf[on_shelf++] = ++baked;
        printf("baked %d, %d on the shelf\n", baked, on_shelf);
        co_cond_signal(loaf_there);
    }
    return NULL;
}

static void *eat(void *name) {
    for (int meals = 0; meals < batch / 2; meals++) {
        while (on_shelf == 0)
            co_cond_timedwait(loaf_there, -1);
        int loaf = shelf[--on_shelf];
        co_cond_signal(room_there);
        printf("%s eats %d\n", (const char *)name, loaf);
        co_yield_now(); // the other one is hungry too
    }
    return NULL;
}

int main(void) {
    loaf_there = co_cond_alloc();
    room_there = co_cond_alloc();
    co_go(NULL, NULL, eat, "Ann");
    co_go(NULL, NULL, eat, "Bob");
    co_go(NULL, NULL, bake, NULL);
    co_run();
    printf("%d left\n", on_shelf);
    co_cond_free(loaf_there);
    co_cond_free(room_there);
    return 0;
}
