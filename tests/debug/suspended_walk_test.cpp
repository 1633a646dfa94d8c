// SPDX-License-Identifier: Apache-2.0
// Walks from registers that hold anything.
#include "co_ctx/coctx.h"
#include "co_routine/co_routine.h"
#include "co_routine/debug/unwinder.h"
#if defined(__x86_64__)
#include "co_ctx/x86_64/layout.h"
constexpr size_t offset_of_pc = COCTX_OFFSET_RIP;
#else
#include "co_ctx/i386/layout.h"
constexpr size_t offset_of_pc = COCTX_OFFSET_EIP;
#endif

#include <gtest/gtest.h>
#include <sys/mman.h>

namespace {

__attribute__((noinline)) void code() { __asm__ volatile(""); }

// In an object, as far as the dynamic linker knows, and not readable.
alignas(4096) char shut_page[4096];

TEST(SuspendedWalk, RegistersThatLeadNowhereEndTheWalk) {
    co_backtrace(co_self(), nullptr, 0);
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

} // namespace
