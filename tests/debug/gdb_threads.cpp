// SPDX-License-Identifier: Apache-2.0
// For gdb_test.sh: six threads, in read or at a mutex, 1 to 6 calls of nest() deep. It knows nothing of
// corun, which runs it. "ready" when they are there; a byte on standard input lets them go.
#include <cstdio>
#include <pthread.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SEEN extern "C" __attribute__((noinline))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int gate[2], arrivals[2];

SEEN void in_lock() {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
}
SEEN void in_read() {
    char byte;
    while (read(gate[0], &byte, 1) > 0) {
    }
}
SEEN void nest(int number, int left) {
    if (left > 1)
        nest(number, left - 1);
    else if (number % 2 == 0)
        in_read();
    else
        in_lock();
}
SEEN void *begin(void *argument) {
    int number = *static_cast<int *>(argument);
    if (write(arrivals[1], "", 1) == 1)
        nest(number, number);
    return nullptr;
}

int main() {
    constexpr int count = 6;
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    if (pipe(gate) != 0 || pipe(arrivals) != 0)
        return 1;
    pthread_mutex_lock(&mutex);
    pthread_t threads[count];
    int numbers[count];
    for (int i = 0; i < count; ++i) {
        numbers[i] = i + 1;
        pthread_create(&threads[i], nullptr, begin, &numbers[i]);
    }
    char byte;
    for (int i = 0; i < count; ++i)
        if (read(arrivals[0], &byte, 1) != 1)
            return 1;
    usleep(1000); // under corun, one at a time: those that have written run on until they wait
    printf("ready\n");
    fflush(stdout);
    if (read(STDIN_FILENO, &byte, 1) != 1)
        return 1;
    pthread_mutex_unlock(&mutex);
    close(gate[1]);
    for (pthread_t t : threads)
        pthread_join(t, nullptr);
    return 0;
}
