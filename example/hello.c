// SPDX-License-Identifier: Apache-2.0
/*
 * hello - two coroutines greet in turn: each waits 10 ms, and the other runs meanwhile.
 */
#include <co_routine.h>

#include <stdio.h>

static void *greet(void *name) {
    for (int i = 1; i <= 3; i++) {
        printf("hello %d from %s\n", i, (const char *)name);
        co_sleep_ms(10); // the loop runs the others and comes back
    }
    return NULL;
}

int main(void) {
    co_go(NULL, NULL, greet, "one");
    co_go(NULL, NULL, greet, "two");
    co_run(); // until both have ended
    puts("goodbye");
    return 0;
}
