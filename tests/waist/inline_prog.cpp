// SPDX-License-Identifier: Apache-2.0
// System calls of the program's own, far from every library: prints whether libnative_waist.so sees
// them, and their results.
#include <cstdio>
#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

// Inputs are %2 and on; the code may leave an address in %1.
#define MAKE_CALL(code, ...)                                                                       \
    long result, *address;                                                                         \
    __asm__ volatile(code : "=&a"(result), "=&r"(address) : __VA_ARGS__ : "rcx", "r11", "memory")

// In front: mov $number, %eax.
__attribute__((noinline)) long by_constant() {
    MAKE_CALL("mov %2, %%eax\n\tsyscall", "i"(SYS_getppid));
    return result;
}

// No room in front, and eight bytes behind.
__attribute__((noinline)) long by_register(long number) {
    MAKE_CALL("jmp 1f\n1:\tsyscall\n\tmov %%rax, %%rcx\n\tmov %%rcx, %%rax\n\tnop\n\tnop",
              "0"(number));
    return result;
}

long here; // its distance to the code is what the instructions below hold

// In front, and behind: an operand that is near the program and nothing else.
__attribute__((noinline)) long *near_in_front(long *got) {
    MAKE_CALL("mov %2, %%eax\n\tlea %3, %1\n\tsyscall", "i"(SYS_getppid), "m"(here));
    *got = result;
    return address;
}
__attribute__((noinline)) long *near_behind(long *got) {
    MAKE_CALL("jmp 1f\n1:\tsyscall\n\tlea %3, %1", "0"(SYS_getppid), "m"(here));
    *got = result;
    return address;
}
// A branch is near, too.
__attribute__((noinline)) long before_a_branch(long number) {
    MAKE_CALL("jmp 1f\n1:\tsyscall\n\tnop\n\tjmp 2f\n\tud2\n2:", "0"(number));
    return result;
}

int wrong_near(long parent) {
    long first = 0, second = 0, *there = &here;
    return (near_in_front(&first) != there) + (near_behind(&second) != there) + (first != parent) +
           (second != parent) + (before_a_branch(SYS_getppid) != parent);
}

} // namespace

int main() {
    auto calls = reinterpret_cast<unsigned long (*)()>(dlsym(RTLD_DEFAULT, "native_waist_calls"));
    if (!calls)
        return 1;
    long parent = getppid();
    unsigned long before = calls();
    int wrong = 0;
    for (int i = 0; i < 10; ++i)
        wrong +=
            (by_constant() != parent) + (by_register(SYS_getppid) != parent) + wrong_near(parent);
    printf("%d wrong, %lu seen\n", wrong, calls() - before);
    return 0;
}
