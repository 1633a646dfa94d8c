// SPDX-License-Identifier: Apache-2.0
// For arena_test.sh: says from which of glibc's arenas a second thread's memory is.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void *second_thread(void *unused) {
    size_t *volatile memory = malloc(5000); // the compiler knows what is before it: nothing
    const size_t not_of_main_arena = 4;     // in the word before it
    puts(memory[-1] & not_of_main_arena ? "an arena of its own" : "the one arena");
    free(memory);
    return unused;
}

int main(void) {
    pthread_t t;
    free(malloc(5000));
    pthread_create(&t, NULL, second_thread, NULL);
    pthread_join(t, NULL);
    return 0;
}
