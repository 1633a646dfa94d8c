// SPDX-License-Identifier: Apache-2.0
// Walks from registers that hold anything.
#include "co_ctx/coctx.h"
#include "co_routine/debug/unwinder.h"
#if defined(__x86_64__)
#include "co_ctx/x86_64/layout.h"
constexpr size_t offset_of_pc = COCTX_OFFSET_RIP, offset_of_sp = COCTX_OFFSET_RSP;
#else
#include "co_ctx/i386/layout.h"
constexpr size_t offset_of_pc = COCTX_OFFSET_EIP, offset_of_sp = COCTX_OFFSET_ESP;
#endif

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <gtest/gtest.h>
#include <iterator>
#include <random>
#include <sys/mman.h>
#include <vector>

namespace {

__attribute__((noinline)) void code() { __asm__ volatile(""); }

// In an object, as far as the dynamic linker knows, and not readable.
alignas(4096) char shut_page[4096];

TEST(SuspendedWalk, RegistersThatLeadNowhereEndTheWalk) {
    corun::load_libunwind(false);
    ASSERT_EQ(0, mprotect(shut_page, sizeof shut_page, PROT_NONE));
    for (uintptr_t bad :
         {reinterpret_cast<uintptr_t>(shut_page) + 64, uintptr_t{8}, UINTPTR_MAX - 7}) {
        void *regs[COCTX_LIVE_REGS], *pcs[8];
        for (void *&r : regs)
            r = reinterpret_cast<void *>(bad);
        regs[offset_of_pc / sizeof(void *)] = reinterpret_cast<void *>(&code);
        EXPECT_GE(1, corun::walk_suspended(regs, {}, pcs, 8));
    }
    mprotect(shut_page, sizeof shut_page, PROT_READ | PROT_WRITE);
}

struct range {
    uintptr_t low, high;
};
std::vector<range> all_code() {
    std::vector<range> found;
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    while (fgets(line, sizeof line, maps)) {
        unsigned long low = 0, high = 0;
        char readable = 0, executable = 0;
        if (sscanf(line, "%lx-%lx %c%*c%c", &low, &high, &readable, &executable) == 4 &&
            readable == 'r' && executable == 'x' && !strstr(line, "[vsyscall]"))
            found.push_back({low, high});
    }
    fclose(maps);
    return found;
}

// Anything that may stand in a register or on a stack: code, places of the stack, what leads nowhere.
struct any_word {
    std::mt19937_64 random{1};
    std::vector<range> code = all_code();
    range stack;

    uintptr_t below(uintptr_t n) { return static_cast<uintptr_t>(random() % n); }
    uintptr_t in(const range &r) { return r.low + below(r.high - r.low); }
    uintptr_t place_in_code() { return in(code[below(code.size())]); }
    uintptr_t place_in_stack() { return in(stack) & ~(sizeof(void *) - 1); }
    uintptr_t operator()() {
        switch (below(16)) {
        case 0:
            return static_cast<uintptr_t>(random());
        case 1:
            return below(4096);
        case 2:
            return reinterpret_cast<uintptr_t>(shut_page) + below(sizeof shut_page);
        case 3:
        case 4:
        case 5:
            return place_in_stack();
        default:
            return place_in_code();
        }
    }
};

// The stack is shut where it belongs: its bytes are read from where they are kept, or not at all.
TEST(SuspendedWalk, OfAnyRegistersAndAnyStackEnds) {
    constexpr int walks = sizeof(void *) == 8 ? 4000 : 300, most = 32; // each looks up new code
    constexpr size_t words = 4096, bytes = words * sizeof(void *);
    corun::load_libunwind(false);
    ASSERT_EQ(0, mprotect(shut_page, sizeof shut_page, PROT_NONE));
    auto *low =
        static_cast<char *>(mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    static uintptr_t kept[words];
    any_word word;
    word.stack = {reinterpret_cast<uintptr_t>(low), reinterpret_cast<uintptr_t>(low) + bytes};
    int longer = 0;
    for (int i = 0; i < walks; ++i) {
        if (i % 16 == 0)
            std::generate(std::begin(kept), std::end(kept), [&] { return word(); });
        uintptr_t regs[COCTX_LIVE_REGS];
        std::generate(std::begin(regs), std::end(regs), [&] { return word(); });
        regs[offset_of_pc / sizeof(void *)] = word.place_in_code();
        if (word.below(8) != 0)
            regs[offset_of_sp / sizeof(void *)] = word.place_in_stack();
        void *pcs[most + 1] = {};
        int n =
            corun::walk_suspended(reinterpret_cast<void **>(regs),
                                  {low, low + bytes, reinterpret_cast<char *>(kept)}, pcs, most);
        ASSERT_TRUE(n >= 0 && n <= most && pcs[most] == nullptr) << i;
        longer += n > 2;
    }
    printf("%d of %d walks are longer than two frames\n", longer, walks);
    if (corun::libunwind_loaded()) {
        EXPECT_GT(longer, walks / 20);
    }
    munmap(low, bytes);
    mprotect(shut_page, sizeof shut_page, PROT_READ | PROT_WRITE);
}

} // namespace
