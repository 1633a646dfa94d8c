// SPDX-License-Identifier: Apache-2.0
// System calls of the program's own, far from every library: prints whether libnative_waist.so sees
// them, and their results.
#include <cstdio>
#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

#define MAKE_CALL(code, input)                                                                     \
    long result;                                                                                   \
    __asm__ volatile(code : "=a"(result) : input : "rcx", "r11", "memory");                        \
    return result

// In front: mov $number, %eax.
__attribute__((noinline)) long by_constant() {
    MAKE_CALL("mov %1, %%eax\n\tsyscall", "i"(SYS_getppid));
}

// No room in front, and eight bytes behind.
__attribute__((noinline)) long by_register(long number) {
    MAKE_CALL("jmp 1f\n1:\tsyscall\n\tmov %%rax, %%rcx\n\tmov %%rcx, %%rax\n\tnop\n\tnop",
              "0"(number));
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
        wrong += (by_constant() != parent) + (by_register(SYS_getppid) != parent);
    printf("%d wrong, %lu seen\n", wrong, calls() - before);
    return 0;
}
