// SPDX-License-Identifier: Apache-2.0
// CORUN_DEBUG=overflow and =stacks: what is said when a thread faults, and what happens then. Each
// case is a child process; its stderr is what is looked at.
#include "co_routine/co_routine.h"
#include "co_routine/debug/fault_report.h"

#include "tests/debug/child.h"

#include <alloca.h>
#include <csetjmp>
#include <csignal>
#include <cstring>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/mman.h>

namespace {

using body = void (*)();

// 64 KiB stacks, so that the numbers in the reports are not the default's.
constexpr int stack_size = 64 * 1024;

stCoRoutine_t *create(const char *name, body run, stShareStack_t *shared = nullptr,
                      int size = stack_size) {
    stCoRoutineAttr_t attr;
    attr.stack_size = size;
    attr.share_stack = shared;
    stCoRoutine_t *co = nullptr;
    auto entry = [](void *run_argument) -> void * {
        reinterpret_cast<body>(run_argument)();
        return nullptr;
    };
    if (co_create(&co, &attr, entry, reinterpret_cast<void *>(run)) != 0)
        _exit(99);
    co_set_name(co, name);
    return co;
}

void debug(unsigned flags) {
    if (co_set_debug(flags) != 0)
        _exit(98);
}

__attribute__((noinline)) int dig(int depth) {
    volatile char frame[200];
    frame[0] = static_cast<char>(depth);
    return depth < 0 ? 0 : dig(depth + 1) + frame[0];
}

void dig_for_ever() { dig(0); }

__attribute__((noinline)) void touch_one_large_frame() {
    volatile char *frame = static_cast<volatile char *>(alloca(64 * 1024));
    frame[0] = 1;
}

bool guard_is_whole() { return corun::kernel_guard_kind() == corun::guard_kind::guard_install; }

// contract 34
TEST(FaultReport, NamesTheCoroutineThatRecursesTooDeep) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        debug(CO_DEBUG_OVERFLOW);
        co_resume(create("digger", dig_for_ever));
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.text;
    EXPECT_TRUE(
        r.says("coroutine 'digger' (#N): stack overflow: its private stack has 65536 bytes"))
        << r.text;
    EXPECT_TRUE(r.says("raise attr.stack_size\n")) << r.text;
}

// contract 34
TEST(FaultReport, NamesTheCoroutineWithOneFrameOf64KiB) {
    SKIP_UNDER_SANITIZERS();
    if (!guard_is_whole())
        GTEST_SKIP() << "no MADV_GUARD_INSTALL: only 4 KiB of the guard fault";
    child_result r = in_child([] {
        debug(CO_DEBUG_OVERFLOW);
        co_resume(create("wide", touch_one_large_frame, nullptr, 32 * 1024));
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.text;
    EXPECT_TRUE(r.says("coroutine 'wide' (#N): stack overflow: its private stack has 32768 bytes"))
        << r.text;
}

TEST(FaultReport, SeesAFrameThatJumpsOverTheGuard) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        debug(CO_DEBUG_OVERFLOW);
        co_resume(create("jumper", [] {
            uintptr_t here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
            if (!corun::report_fault(here - (1 << 20), here - (1 << 20)))
                _exit(1);
        }));
    });
    EXPECT_TRUE(r.exited_with(0)) << r.text;
    EXPECT_TRUE(r.says("coroutine 'jumper' (#N): stack overflow")) << r.text;
}

// A frame so large that it ends below everything that is mapped.
TEST(FaultReport, NamesTheCoroutineWithOneFrameFarPastTheGuard) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        debug(CO_DEBUG_OVERFLOW);
        co_resume(create("giant", [] {
            volatile size_t bytes = size_t{900} << 20;
            *static_cast<volatile char *>(alloca(bytes)) = 1;
        }));
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.text;
    EXPECT_TRUE(r.says("coroutine 'giant' (#N): stack overflow: its private stack has 65536 bytes"))
        << r.text;
}

TEST(FaultReport, NamesASharedStackAndHowToRaiseIt) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        debug(CO_DEBUG_OVERFLOW);
        stShareStack_t *shared = co_alloc_sharestack(2, 128 * 1024);
        co_resume(create("tenant", dig_for_ever, shared));
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.text;
    EXPECT_TRUE(
        r.says("coroutine 'tenant' (#N): stack overflow: its shared stack has 131072 bytes"))
        << r.text;
    EXPECT_TRUE(r.says("raise the size given to co_alloc_sharestack\n")) << r.text;
}

// contract 34
TEST(FaultReport, NamesASharedStackWithOneFrameOf64KiB) {
    SKIP_UNDER_SANITIZERS();
    if (!guard_is_whole())
        GTEST_SKIP() << "no MADV_GUARD_INSTALL: only 4 KiB of the guard fault";
    child_result r = in_child([] {
        debug(CO_DEBUG_OVERFLOW);
        stShareStack_t *shared = co_alloc_sharestack(2, 32 * 1024);
        co_resume(create(
            "other", [] { co_yield_ct(); }, shared)); // the neighbour
        co_resume(create("wide tenant", touch_one_large_frame, shared));
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.text;
    EXPECT_TRUE(
        r.says("coroutine 'wide tenant' (#N): stack overflow: its shared stack has 32768 bytes"))
        << r.text;
}

TEST(FaultReport, ShowsTheInnermostFrames) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        debug(CO_DEBUG_OVERFLOW);
        co_resume(create("digger", dig_for_ever));
    });
    EXPECT_TRUE(r.says("corun:   #0 0x")) << r.text;
    if (dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL)) {
        EXPECT_TRUE(r.says("corun:   #15 0x")) << r.text;
    }
}

TEST(FaultReport, WorksInEachThread) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        debug(CO_DEBUG_OVERFLOW);
        auto one_thread = [](void *run) -> void * {
            stCoRoutine_t *co = create("of a thread", reinterpret_cast<body>(run));
            co_resume(co);
            co_release(co);
            return nullptr;
        };
        body nothing = [] {};
        for (body run : {nothing, nothing, body(dig_for_ever)}) { // alternate stacks come and go
            pthread_t thread;
            pthread_create(&thread, nullptr, one_thread, reinterpret_cast<void *>(run));
            pthread_join(thread, nullptr);
        }
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.text;
    EXPECT_TRUE(r.says("coroutine 'of a thread' (#N): stack overflow")) << r.text;
}

TEST(FaultReport, TellsAWildPointerIntoAGuardFromAnOverflow) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        debug(CO_DEBUG_OVERFLOW);
        static char *low;
        stCoRoutine_t *victim = create("victim", [] {
            low = static_cast<char *>(__builtin_frame_address(0)) - stack_size;
            co_yield_ct();
        });
        co_resume(victim);
        co_resume(create("culprit", [] { *const_cast<volatile char *>(low) = 1; }));
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.text;
    EXPECT_TRUE(r.says("coroutine 'culprit' (#N): touched 0x")) << r.text;
    EXPECT_TRUE(r.says("in the guard below the stack of coroutine 'victim' (#N)")) << r.text;
}

TEST(FaultReport, IsSilentWithoutTheFlag) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] { co_resume(create("digger", dig_for_ever)); });
    EXPECT_TRUE(r.killed_by(SIGSEGV));
    EXPECT_EQ("", r.text);
}

// ---- CO_DEBUG_STACKS ----------------------------------------------------------------------------

volatile char *leaked;

void leak_a_local() {
    volatile char local = 'x';
    leaked = &local;
    co_yield_ct();
}

//   owner    leaks &local, yields: in place
//   guest    takes the shared stack: owner is out; touches it
// contract 18
TEST(FaultReport, NamesBothWhenOneTouchesTheOthersAbsentStack) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        debug(CO_DEBUG_STACKS);
        stShareStack_t *shared = co_alloc_sharestack(1, stack_size);
        stCoRoutine_t *owner = create("owner", leak_a_local, shared);
        co_resume(owner);
        *leaked = 'y'; // in place: allowed
        co_resume(create(
            "guest", [] { *leaked = 'z'; }, shared));
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.text;
    EXPECT_TRUE(r.says("coroutine 'guest' (#N): touched 0x")) << r.text;
    EXPECT_TRUE(r.says("on the stack of coroutine 'owner' (#N), which is out")) << r.text;
}

// contract 18
TEST(FaultReport, NamesTheThreadsOwnStackAsTheOneThatTouched) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        debug(CO_DEBUG_STACKS | CO_DEBUG_OVERFLOW);
        stShareStack_t *shared = co_alloc_sharestack(1, stack_size);
        co_resume(create("owner", leak_a_local, shared));
        co_resume(create(
            "guest", [] { co_yield_ct(); }, shared));
        *leaked = 'z';
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.text;
    EXPECT_TRUE(r.says("corun: the thread's own stack touched 0x")) << r.text;
    EXPECT_TRUE(r.says("on the stack of coroutine 'owner' (#N), which is out")) << r.text;
}

TEST(FaultReport, OverflowOfARangeOfItsOwn) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        debug(CO_DEBUG_STACKS | CO_DEBUG_OVERFLOW);
        stShareStack_t *shared = co_alloc_sharestack(1, stack_size);
        co_resume(create(
            "first", [] { co_yield_ct(); }, shared));
        co_resume(create("tenant", dig_for_ever, shared));
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.text;
    EXPECT_TRUE(r.says("coroutine 'tenant' (#N): stack overflow: its shared stack has 65536 bytes"))
        << r.text;
}

// ---- The program's own disposition --------------------------------------------------------------

sigjmp_buf back;
volatile sig_atomic_t own_faults;
void *volatile seen_address;
volatile int seen_code;

void own_handler(int, siginfo_t *info, void *) {
    own_faults = own_faults + 1;
    seen_address = info->si_addr;
    seen_code = info->si_code;
    siglongjmp(back, 1);
}

void install_own_handler() {
    struct sigaction action {};
    action.sa_sigaction = own_handler;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, nullptr);
}

void *unmapped_page() {
    void *page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page;
}

bool fault_at(void *address) {
    if (sigsetjmp(back, 1))
        return seen_address == address;
    *static_cast<volatile char *>(address) = 1;
    return false;
}

TEST(FaultReport, ForeignFaultsGoToTheProgramsHandlerEachTimeWithoutAWord) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        install_own_handler();
        debug(CO_DEBUG_OVERFLOW | CO_DEBUG_STACKS);
        static void *page = unmapped_page();
        static bool inside;
        co_resume(create("innocent", [] { inside = fault_at(page) && fault_at(page); }));
        bool outside = fault_at(page);
        _exit(inside && outside && own_faults == 3 ? 42 : 1);
    });
    EXPECT_TRUE(r.exited_with(42)) << r.status;
    EXPECT_EQ("", r.text);
}

TEST(FaultReport, AfterAReportTheProgramsHandlerSeesTheSameFault) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        install_own_handler();
        debug(CO_DEBUG_OVERFLOW);
        static stCoRoutine_t *co = create("digger", dig_for_ever);
        if (sigsetjmp(back, 1) == 0)
            co_resume(co);
        char text[64];
        snprintf(text, sizeof text, "at 0x%lx\n",
                 static_cast<unsigned long>(reinterpret_cast<uintptr_t>(seen_address)));
        write(2, text, strlen(text));
        struct sigaction now;
        sigaction(SIGSEGV, nullptr, &now);
        _exit(own_faults == 1 && now.sa_sigaction == own_handler ? 42 : 1);
    });
    EXPECT_TRUE(r.exited_with(42)) << r.text;
    size_t at = r.text.rfind("at 0x");
    ASSERT_NE(std::string::npos, at) << r.text;
    std::string address = r.text.substr(at + 3);
    address.pop_back();
    EXPECT_TRUE(r.says("used; " + address + " was touched")) << r.text;
}

TEST(FaultReport, AForeignFaultWithoutAHandlerKillsWithoutAWord) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        debug(CO_DEBUG_OVERFLOW | CO_DEBUG_STACKS);
        co_resume(create("culprit", [] { *static_cast<volatile char *>(unmapped_page()) = 1; }));
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.status;
    EXPECT_EQ("", r.text);
}

TEST(FaultReport, ASignalThatWasSentIsSentOn) {
    SKIP_UNDER_SANITIZERS();
    for (int number : {SIGSEGV, SIGBUS}) {
        child_result r = in_child([number] {
            debug(CO_DEBUG_OVERFLOW);
            co_release(create("nobody", [] {}));
            kill(getpid(), number);
            _exit(1);
        });
        EXPECT_TRUE(r.killed_by(number)) << r.status;
        EXPECT_EQ("", r.text);
    }
    child_result handled = in_child([] {
        install_own_handler();
        debug(CO_DEBUG_OVERFLOW);
        co_release(create("nobody", [] {}));
        if (sigsetjmp(back, 1) == 0)
            kill(getpid(), SIGSEGV);
        _exit(own_faults == 1 && seen_code == SI_USER ? 42 : 1);
    });
    EXPECT_TRUE(handled.exited_with(42)) << handled.status;
    child_result ignored = in_child([] {
        signal(SIGSEGV, SIG_IGN);
        debug(CO_DEBUG_OVERFLOW);
        co_release(create("nobody", [] {}));
        kill(getpid(), SIGSEGV);
        _exit(42);
    });
    EXPECT_TRUE(ignored.exited_with(42)) << ignored.status;
}

TEST(FaultReport, AThreadsOwnAlternateStackStays) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        static char own[16384];
        stack_t mine{};
        mine.ss_sp = own;
        mine.ss_size = sizeof own;
        sigaltstack(&mine, nullptr);
        debug(CO_DEBUG_OVERFLOW);
        stCoRoutine_t *co = create("digger", dig_for_ever);
        stack_t now;
        sigaltstack(nullptr, &now);
        if (now.ss_sp != own)
            _exit(1);
        co_resume(co);
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.status;
    EXPECT_TRUE(r.says("coroutine 'digger' (#N): stack overflow")) << r.text;
}

// ---- How it is switched on ----------------------------------------------------------------------

TEST(FaultReportChild, DISABLED_Overflow) { co_resume(create("digger", dig_for_ever)); }

TEST(FaultReport, IsSwitchedOnByTheEnvironment) {
    SKIP_UNDER_SANITIZERS();
    child_result r =
        in_fresh_process("FaultReportChild.DISABLED_Overflow", {"CORUN_DEBUG=stacks,overflow"});
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.status;
    EXPECT_TRUE(r.says("coroutine 'digger' (#N): stack overflow")) << r.text;
}

TEST(FaultReport, AnUnknownWordInTheEnvironmentEndsTheProcess) {
    child_result r =
        in_fresh_process("FaultReportChild.DISABLED_Overflow", {"CORUN_DEBUG=overflow,stakcs"});
    EXPECT_TRUE(r.killed_by(SIGABRT)) << r.status;
    EXPECT_TRUE(r.says("CORUN_DEBUG: unknown word 'stakcs'")) << r.text;
}

TEST(FaultReport, CanBeSwitchedOnAndOffWhileThereIsNoCoroutine) {
    child_result r = in_child([] {
        stCoRoutine_t *co = create("early", [] {});
        if (co_set_debug(CO_DEBUG_OVERFLOW) != EBUSY || co_set_debug(128) != EINVAL)
            _exit(1);
        co_release(co);
        debug(CO_DEBUG_OVERFLOW);
        co = create("late", [] {});
        struct sigaction now;
        sigaction(SIGSEGV, nullptr, &now);
        _exit(now.sa_handler == SIG_DFL ? 2 : 0);
    });
    EXPECT_TRUE(r.exited_with(0)) << r.status << r.text;
}

} // namespace
