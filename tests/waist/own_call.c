// SPDX-License-Identifier: Apache-2.0
// A library with a system call of its own, for tests that load it.
#include <sys/syscall.h>

int number_of_thread(void) {
    int r;
    __asm__ volatile("syscall" : "=a"(r) : "0"(SYS_gettid) : "rcx", "r11", "memory");
    return r;
}
