// SPDX-License-Identifier: Apache-2.0
// Threads that keep something in every vector register, mask, and flag across system calls of their own,
// in which others run: the kernel keeps all of it. By vectors_test.sh.
#include <immintrin.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct state {
    uint8_t zmm[32][64];
    uint64_t mask[8];
    uint64_t flags;
} __attribute__((aligned(64)));

// A function of its own, which corun's decoder can read to its end, and which may have something in a
// vector register.
__asm__("bare_call:\n\t"
        ".cfi_startproc\n\t"
        "movaps %xmm0, %xmm0\n\t"
        "movq %rax, %rax\n\t"
        "syscall\n\t"
        "movq %rax, %rax\n\t"
        "ret\n\t"
        ".cfi_endproc");

enum width { sse, avx, avx512 };

#define EACH16(f)                                                                                  \
    f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define EACH16_UPPER(f)                                                                            \
    f(16) f(17) f(18) f(19) f(20) f(21) f(22) f(23) f(24) f(25) f(26) f(27) f(28) f(29) f(30) f(31)
#define EACH7(f) f(1) f(2) f(3) f(4) f(5) f(6) f(7)
#define CLOBBERED                                                                                  \
    "memory", "cc", "rcx", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",  \
        "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

// All in one piece: nothing else touches a register between the loads, the call and the stores.
#define CALL(loads, stores)                                                                        \
    __asm__ volatile("subq $128, %%rsp\n\t" loads                                                  \
                     "pushq 2112(%[in])\n\tpopfq\n\tcall bare_call\n\tpushfq\n\tpopq "             \
                     "2112(%[out])\n\taddq $128, %%rsp\n\t" stores                                 \
                     : "+a"(nr)                                                                    \
                     : [in] "r"(in), [out] "r"(out), "D"(a), "S"(b), "d"(c), "r"(r10)              \
                     : CLOBBERED)

#define LOAD_XMM(n) "movups " #n "*64(%[in]), %%xmm" #n "\n\t"
#define STORE_XMM(n) "movups %%xmm" #n ", " #n "*64(%[out])\n\t"
#define LOAD_YMM(n) "vmovups " #n "*64(%[in]), %%ymm" #n "\n\t"
#define STORE_YMM(n) "vmovups %%ymm" #n ", " #n "*64(%[out])\n\t"
#define LOAD_ZMM(n) "vmovups " #n "*64(%[in]), %%zmm" #n "\n\t"
#define STORE_ZMM(n) "vmovups %%zmm" #n ", " #n "*64(%[out])\n\t"
#define LOAD_MASK(n) "kmovq 2048+" #n "*8(%[in]), %%k" #n "\n\t"
#define STORE_MASK(n) "kmovq %%k" #n ", 2048+" #n "*8(%[out])\n\t"

static long call(enum width w, const struct state *in, struct state *out, long nr, long a, long b,
                 long c, long d) {
    register long r10 __asm__("r10") = d;
    if (w == avx512)
        CALL(EACH16(LOAD_ZMM) EACH16_UPPER(LOAD_ZMM) EACH7(LOAD_MASK),
             EACH16(STORE_ZMM) EACH16_UPPER(STORE_ZMM) EACH7(STORE_MASK) "vzeroupper\n\t");
    else if (w == avx)
        CALL(EACH16(LOAD_YMM), EACH16(STORE_YMM) "vzeroupper\n\t");
    else
        CALL(EACH16(LOAD_XMM), EACH16(STORE_XMM));
    return nr;
}

static enum width widest;
static int ends[2];
static long wrong;
static int with_x87;

static void check(const struct state *in, const struct state *out, enum width w, const char *what) {
    static const unsigned bytes[] = {16, 32, 64};
    unsigned registers = w == avx512 ? 32 : 16;
    int bad = 0;
    for (unsigned i = 0; i < registers; ++i)
        bad |= memcmp(in->zmm[i], out->zmm[i], bytes[w]) != 0;
    if (w == avx512)
        bad |= memcmp(in->mask + 1, out->mask + 1, 7 * 8) != 0;
    if (((in->flags ^ out->flags) & 0x8D5) != 0)
        bad |= 2;
    if (bad && __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED) == 0)
        printf("%s: not kept: %d (width %d)\n", what, bad, w);
}

static void *work(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument;
    static __thread struct state in, out;
    for (int round = 0; round < 300; ++round) {
        enum width w = (enum width)(rand_r(&seed) % (widest + 1));
        for (unsigned i = 0; i < 32; ++i)
            for (unsigned k = 0; k < 64; ++k)
                in.zmm[i][k] = (uint8_t)rand_r(&seed);
        for (unsigned i = 0; i < 8; ++i)
            in.mask[i] = (uint64_t)rand_r(&seed) << 32 | (unsigned)rand_r(&seed);
        in.flags = 0x202 | ((unsigned)rand_r(&seed) & 0x8D5);
        int kept = rand_r(&seed);
        if (with_x87) // in use from here on, in this kernel thread
            __asm__ volatile("fildl %0" : : "m"(kept));
        char byte = 'x';
        switch (rand_r(&seed) % 4) {
        case 0:
            call(w, &in, &out, SYS_sched_yield, 0, 0, 0, 0);
            check(&in, &out, w, "sched_yield");
            break;
        case 1:
            call(w, &in, &out, SYS_write, ends[1], (long)&byte, 1, 0);
            check(&in, &out, w, "write");
            call(w, &in, &out, SYS_read, ends[0], (long)&byte, 1, 0);
            check(&in, &out, w, "read");
            break;
        case 2: {
            struct timespec t = {0, 50000};
            call(w, &in, &out, SYS_nanosleep, (long)&t, 0, 0, 0);
            check(&in, &out, w, "nanosleep");
            break;
        }
        default:
            call(w, &in, &out, SYS_getppid, 0, 0, 0, 0);
            check(&in, &out, w, "getppid");
        }
        int found = kept;
        if (with_x87)
            __asm__ volatile("fistpl %0" : "=m"(found));
        if (kept != found)
            __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

int main(void) {
    widest = __builtin_cpu_supports("avx512bw") ? avx512
             : __builtin_cpu_supports("avx")    ? avx
                                                : sse;
    if (pipe(ends))
        return 1;
    pthread_t t[8];
    for (with_x87 = 0; with_x87 <= 1; ++with_x87) {
        for (uintptr_t i = 0; i < 8; ++i)
            pthread_create(&t[i], NULL, work, (void *)(i + 1));
        for (int i = 0; i < 8; ++i)
            pthread_join(t[i], NULL);
    }
    printf("%ld calls changed a register\n", wrong);
    return wrong != 0;
}
