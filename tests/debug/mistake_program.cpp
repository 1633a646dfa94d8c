// SPDX-License-Identifier: Apache-2.0
// A user's program that makes a mistake: mistake_program freed|undefined|leak native|private|shared, without
// coroutines or in one whose hooks are on, on a stack of that kind. What a sanitizer says of it looks the
// same, and comes to an end. sanitizers_test.sh builds it.
#include <co_routine.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace {

const char *which;
int *volatile block;
volatile int largest = 0x7fffffff;

__attribute__((noinline)) int use_freed() {
    block = new int[10]();
    delete[] block;
    return block[3];
}
__attribute__((noinline)) int add_too_much() { return largest + 1; }
__attribute__((noinline)) void lose_memory() {
    for (int i = 0; i < 20; ++i)
        block = new int[10];
    block = nullptr;
}

// Ends the process, by the sanitizer or by exit.
int go_wrong() {
    int result = 0;
    if (strcmp(which, "freed") == 0)
        result = use_freed();
    else if (strcmp(which, "undefined") == 0)
        result = add_too_much();
    else
        lose_memory();
    if (result == 12345)
        puts("!");
    exit(0); // leaks are looked for here, and ThreadSanitizer's own status comes
}

void *go_wrong_later(void *) {
    co_enable_hook_sys();
    usleep(1000);
    go_wrong();
    return nullptr;
}

// They want memory whenever they may run: a sanitizer that has the allocator's locks must not let them.
void *use_memory(void *) {
    co_enable_hook_sys();
    for (;;) {
        free(malloc(100000));
        usleep(10);
        co_yield_now();
    }
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 3)
        return 3;
    which = argv[1];
    if (strcmp(argv[2], "native") == 0)
        return go_wrong();
    stCoRoutineAttr_t attr;
    attr.stack_size = 256 * 1024;
    if (strcmp(argv[2], "shared") == 0)
        attr.share_stack = co_alloc_sharestack(1, 256 * 1024);
    for (int i = 0; i < 3; ++i)
        co_go(nullptr, nullptr, use_memory, nullptr);
    co_go(nullptr, &attr, go_wrong_later, nullptr);
    co_run();
}
