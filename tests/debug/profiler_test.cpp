// SPDX-License-Identifier: Apache-2.0
// What a profiler sees: backtrace() of glibc in a signal handler, while coroutines on private and shared
// stacks are resumed and yield. Each of them is in
//
//     entry -> nested, as many times as no other -> take_turns -> (the library)
#include "co_routine/co_routine.h"

#include "co_routine/base/sanitizer.h"
#include "tests/debug/child.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <ctime>
#include <execinfo.h>
#include <gtest/gtest.h>

namespace {

#define IN_SECTION(name) __attribute__((noinline, noclone, section(#name)))
#define KEEP_FRAME() __asm__ volatile("" ::: "memory") // no tail call

constexpr int most = 64, coroutines = 6, shared_stacks = 2;
// Entry, and what the library has under it: one more where a sanitizer is told.
constexpr int bottom_frames = CO_ASAN || CO_TSAN ? 4 : 3;
constexpr int depth_of(int i) { return 2 + 5 * i; }

extern "C" char __start_profiled_nested[], __stop_profiled_nested[];
bool is_nested(void *pc) { return pc > __start_profiled_nested && pc <= __stop_profiled_nested; }

void *bottom_of_coroutines[bottom_frames], *bottom_of_thread;
volatile bool over; // never

__attribute__((noinline)) void take_turns() {
    void *pcs[most];
    int n = backtrace(pcs, most);
    memcpy(bottom_of_coroutines, pcs + n - bottom_frames, sizeof bottom_of_coroutines);
    while (!over)
        co_yield_ct();
}
IN_SECTION(profiled_nested) void nested(int depth) {
    if (depth > 1)
        nested(depth - 1);
    else
        take_turns();
    KEEP_FRAME();
}
IN_SECTION(profiled_entry) void *entry(void *depth) {
    nested(static_cast<int>(reinterpret_cast<intptr_t>(depth)));
    KEEP_FRAME();
    return nullptr;
}

// ---- The samples --------------------------------------------------------------------------------

volatile sig_atomic_t active, samples, of_coroutines, of_thread, partial;
void *first_partial[most]; // for the report
volatile sig_atomic_t first_partial_length;

// i386: __x86.get_pc_thunk.bx (mov (%esp),%ebx; ret) comes from crti.o, which has no unwind data.
bool is_pc_thunk(const void *pc) {
    static const char code[] = {'\x8b', '\x1c', '\x24', '\xc3'};
    const char *at = static_cast<const char *>(pc);
    return sizeof(void *) == 4 &&
           (memcmp(at, code, 4) == 0 || (*at == '\xc3' && memcmp(at - 3, code, 4) == 0));
}

bool ends_in_a_coroutine(void **pcs, int n) {
    n -= bottom_frames;
    if (n <= 0 || memcmp(pcs + n, bottom_of_coroutines, sizeof bottom_of_coroutines) != 0)
        return false;
    int deep = 0;
    while (deep < n && is_nested(pcs[n - 1 - deep]))
        ++deep;
    return std::none_of(pcs, pcs + n - deep, is_nested) && deep % 5 == depth_of(0) &&
           deep <= depth_of(coroutines - 1);
}

void sample(int) {
    if (!active)
        return;
    void *pcs[most];
    int n = backtrace(pcs, most);
    samples = samples + 1;
    if (n > 0 && pcs[n - 1] == bottom_of_thread && std::none_of(pcs, pcs + n, is_nested)) {
        of_thread = of_thread + 1;
    } else if (ends_in_a_coroutine(pcs, n)) {
        of_coroutines = of_coroutines + 1;
    } else if (n == 0 || !is_pc_thunk(pcs[n - 1])) {
        if (partial == 0) {
            memcpy(first_partial, pcs, sizeof pcs);
            first_partial_length = n;
        }
        partial = partial + 1;
    }
}

void report() {
    printf("%d samples: %d whole in coroutines, %d whole in the thread, %d not\n",
           static_cast<int>(samples), static_cast<int>(of_coroutines), static_cast<int>(of_thread),
           static_cast<int>(partial));
    for (int i = 0; i < first_partial_length; ++i)
        printf("  %p\n", first_partial[i]);
}

struct switching {
    stShareStack_t *stacks = co_alloc_sharestack(shared_stacks, 64 * 1024);
    stCoRoutine_t *all[coroutines];
    switching() {
        void *pcs[most];
        bottom_of_thread = pcs[backtrace(pcs, most) - 1];
        for (auto *count : {&samples, &of_coroutines, &of_thread, &partial, &first_partial_length})
            *count = 0;
        for (int i = 0; i < coroutines; ++i) {
            stCoRoutineAttr_t attr;
            attr.share_stack = i % 3 == 0 ? nullptr : stacks; // two of each three share
            void *depth = reinterpret_cast<void *>(static_cast<intptr_t>(depth_of(i)));
            EXPECT_EQ(0, co_create(&all[i], &attr, entry, depth));
            co_resume(all[i]);
        }
    }
    ~switching() {
        for (stCoRoutine_t *co : all)
            co_release(co);
        EXPECT_EQ(0, co_release_sharestack(stacks));
    }
    void go_round() {
        for (stCoRoutine_t *co : all)
            co_resume(co);
    }
};

void handle(int signal) {
    struct sigaction action {};
    action.sa_handler = sample;
    action.sa_flags = SA_RESTART;
    sigaction(signal, &action, nullptr);
}

// The trap flag: SIGTRAP after each instruction. A signal frame keeps it, so it is off in the handler.
void trap_each_instruction(bool on) {
#if defined(__x86_64__)
    __asm__ volatile(
        "lea -128(%%rsp), %%rsp\n\tpushf\n\tandl $~0x100, (%%rsp)\n\torl %0, (%%rsp)\n\t"
        "popf\n\tlea 128(%%rsp), %%rsp" ::"r"(on ? 0x100 : 0)
        : "memory", "cc");
#else
    __asm__ volatile(
        "pushf\n\tandl $~0x100, (%%esp)\n\torl %0, (%%esp)\n\tpopf" ::"r"(on ? 0x100 : 0)
        : "memory", "cc");
#endif
}

// contract 3
TEST(Profiler, SeesTheWholeStackFromEachInstructionOfASwitch) {
    if (under_tsan)
        GTEST_SKIP() << "ThreadSanitizer delays signals";
    switching s;
    handle(SIGTRAP);
    trap_each_instruction(true);
    active = 1;
    s.go_round();
    s.go_round();
    active = 0;
    trap_each_instruction(false);
    signal(SIGTRAP, SIG_DFL);
    report();
    EXPECT_GT(of_coroutines, 500);
    EXPECT_GT(of_thread, 500);
    EXPECT_EQ(0, partial);
}

// Not ITIMER_PROF, which ticks with the scheduler's clock: this one comes anywhere, every 100 us.
TEST(Profiler, SeesTheWholeStackWheneverTheSignalComes) {
    if (under_tsan)
        GTEST_SKIP() << "ThreadSanitizer delays signals";
    constexpr int enough = 300;
    switching s;
    handle(SIGPROF);
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGPROF;
    itimerspec often{{0, 100000}, {0, 100000}};
    timer_t timer;
    ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
    active = 1;
    ASSERT_EQ(0, timer_settime(timer, 0, &often, nullptr));
    while ((of_coroutines < enough || of_thread < enough) && partial == 0)
        s.go_round();
    active = 0;
    timer_delete(timer);
    signal(SIGPROF, SIG_IGN);
    report();
    EXPECT_EQ(0, partial);
}

} // namespace
