// SPDX-License-Identifier: Apache-2.0
// CORUN_DEBUG=stacks and =private: who touched whose stack, where the variable stands, and what happens then.
// Each case is a child process; its stderr is what is looked at.
#include "co_routine/co_routine.h"

#include "tests/debug/child.h"

#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <utility>

namespace {

constexpr int stack_size = 64 * 1024;
volatile char *leaked, *leaked_by_other;

stCoRoutine_t *create(const char *name, pfn_co_routine_t entry, stShareStack_t *shared,
                      void *argument = nullptr) {
    stCoRoutineAttr_t attr;
    attr.share_stack = shared;
    stCoRoutine_t *co = nullptr;
    if (co_create(&co, &attr, entry, argument) != 0)
        _exit(99);
    co_set_name(co, name);
    return co;
}

stShareStack_t *one_shared_stack(unsigned flags) {
    stShareStack_t *shared = co_alloc_sharestack(1, stack_size);
    if (co_set_debug(flags) != 0) // after that: it is the first tenant that counts
        _exit(98);
    return shared;
}

// The number in front of what, or -1.
long number_before(const std::string &text, const std::string &what) {
    size_t end = text.find(what);
    if (end == std::string::npos)
        return -1;
    size_t begin = text.find_last_not_of("0123456789", end - 1) + 1;
    return begin < end ? std::stol(text.substr(begin, end - begin)) : -1;
}

bool can_walk() { return dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL) != nullptr; }
volatile long expected_below_end; // of stray_holder's frame, by its frame pointer

} // namespace

// Not static, so that backtraces have their names as they are.
extern "C" {
void stray_waits(bool deep);
void stray_holder(volatile char **out);
void stray_left(volatile char **out);
void stray_toucher(volatile char *at);
void *stray_owner(void *);
void *stray_other_owner(void *);
void *stray_user(void *);
void *stray_thread(void *);
}

__attribute__((noinline)) void stray_waits(bool again) {
    volatile char frame[500];
    frame[0] = 0;
    co_yield_ct();
    if (again && frame[0] == 0)
        co_yield_ct();
}

__attribute__((noinline)) void stray_holder(volatile char **out) {
    volatile char variable[100];
    variable[40] = 'x';
    *out = &variable[40];
    expected_below_end = static_cast<char *>(__builtin_frame_address(0)) + 2 * sizeof(void *) -
                         const_cast<char *>(*out);
    stray_waits(true);
    if (variable[40] == 'w')
        dprintf(2, "the owner sees what was written\n");
}

__attribute__((noinline)) void stray_left(volatile char **out) {
    volatile char variable[8192];
    variable[0] = 'x';
    auto at = reinterpret_cast<uintptr_t>(&variable[0]);
    asm("" : "+r"(at)); // the compiler need not know
    *out = reinterpret_cast<volatile char *>(at);
}

__attribute__((noinline)) void stray_toucher(volatile char *at) {
    *at = 'w';
    co_yield_ct();
}

void *stray_owner(void *) {
    stray_holder(&leaked);
    return nullptr;
}
void *stray_other_owner(void *) {
    stray_holder(&leaked_by_other);
    return nullptr;
}
void *stray_user(void *at) {
    stray_toucher(static_cast<char *>(at));
    return nullptr;
}
void *stray_thread(void *at) {
    dprintf(2, "%d is the toucher\n", gettid());
    *static_cast<volatile char *>(at) = 'w';
    return nullptr;
}

namespace {

char *leaked_now() { return const_cast<char *>(leaked); }

void *stand_there(void *) {
    co_yield_ct();
    return nullptr;
}

// The owner has leaked its variable and is out: somebody else stands there.
stCoRoutine_t *owner_that_is_out(stShareStack_t *shared, pfn_co_routine_t entry = stray_owner) {
    stCoRoutine_t *owner = create("owner", entry, shared);
    co_resume(owner);
    co_resume(create("other", stand_there, shared));
    return owner;
}

void in_another_thread(void *(*run)(void *), void *argument) {
    pthread_t thread;
    pthread_create(&thread, nullptr, run, argument);
    pthread_join(thread, nullptr);
}

// contract 18
TEST(StrayTouch, ShowsTheVariablesFrameAndBothBacktraces) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        stShareStack_t *shared = one_shared_stack(CO_DEBUG_STACKS);
        owner_that_is_out(shared);
        dprintf(2, "expected: %ld behind\n", expected_below_end);
        co_resume(create("guest", stray_user, shared, leaked_now()));
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.text;
    EXPECT_TRUE(r.says("coroutine 'guest' (#N): touched 0x")) << r.text;
    if (!can_walk())
        GTEST_SKIP() << "frames: no libunwind";
    size_t owners = r.text.find("corun:   the stack of coroutine 'owner' (#N); 0x");
    ASSERT_NE(std::string::npos, owners) << r.text;
    std::string touchers = r.text.substr(0, owners), line = r.text.substr(owners);
    EXPECT_NE(std::string::npos, touchers.find("corun:   #0 0x")) << r.text;
    EXPECT_NE(std::string::npos, touchers.find(" stray_toucher+0x")) << r.text;
    EXPECT_NE(std::string::npos, touchers.find(" stray_user+0x")) << r.text;
    long frame = number_before(line, ", stray_holder+0x");
    ASSERT_LE(1, frame) << r.text;
    EXPECT_NE(std::string::npos, line.find(" is in frame #" + std::to_string(frame) + ", "))
        << line;
    EXPECT_EQ(number_before(r.text, " behind"), number_before(line, " below its end:")) << r.text;
    EXPECT_GE(number_before(line, " bytes above its stack pointer"), 0) << r.text;
    size_t waits = line.find(" stray_waits+0x"), holds = line.find(" stray_holder+0x", waits);
    EXPECT_EQ(holds, line.find(" stray_holder+0x", line.find("#" + std::to_string(frame) + " 0x")));
    EXPECT_NE(std::string::npos, line.find(" stray_owner+0x", holds)) << r.text;
}

TEST(StrayTouch, OfAFrameThatIsGoneIsToldAsThat) {
    SKIP_UNDER_SANITIZERS();
    if (!can_walk())
        GTEST_SKIP() << "no libunwind";
    child_result r = in_child([] {
        stShareStack_t *shared = one_shared_stack(CO_DEBUG_STACKS);
        auto leaves = [](void *) -> void * {
            stray_left(&leaked);
            stray_waits(false);
            return nullptr;
        };
        owner_that_is_out(shared, leaves);
        *leaked = 'w';
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.text;
    EXPECT_TRUE(r.says(" bytes below its stack pointer: the function that had it has returned:"))
        << r.text;
}

//   main thread   the owner is out
//   second        has no coroutine; touches the owner's variable
TEST(StrayTouch, ByAnotherThreadNamesTheThreadsToo) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        owner_that_is_out(one_shared_stack(CO_DEBUG_STACKS));
        dprintf(2, "%d is the owner's\n", gettid());
        in_another_thread(stray_thread, leaked_now());
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.text;
    std::string toucher = std::to_string(number_before(r.text, " is the toucher")),
                owner = std::to_string(number_before(r.text, " is the owner's"));
    EXPECT_TRUE(r.says("corun: thread " + toucher + " touched 0x")) << r.text;
    EXPECT_TRUE(
        r.says(" on the stack of coroutine 'owner' (#N) of thread " + owner + ", which is out"))
        << r.text;
    if (can_walk()) {
        EXPECT_TRUE(r.says(" stray_thread+0x")) << r.text;
        EXPECT_TRUE(r.says(", stray_holder+0x")) << r.text;
        EXPECT_TRUE(r.says(" stray_owner+0x")) << r.text;
    }
}

TEST(StrayTouch, ByACoroutineOfAnotherThreadNamesIt) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        owner_that_is_out(one_shared_stack(CO_DEBUG_STACKS));
        in_another_thread(
            [](void *) -> void * {
                co_resume(create("far guest", stray_user, nullptr, leaked_now()));
                return nullptr;
            },
            nullptr);
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.text;
    EXPECT_TRUE(r.says("corun: coroutine 'far guest' (#N): touched 0x")) << r.text;
    EXPECT_TRUE(r.says("coroutine 'owner' (#N) of thread ")) << r.text;
}

TEST(StrayTouch, IsNoneOnceItIsSwitchedOff) {
    child_result r = in_child([] {
        stShareStack_t *shared = one_shared_stack(CO_DEBUG_STACKS);
        stCoRoutine_t *co = create("early", stand_there, shared);
        co_release(co);
        if (co_set_debug(0) != 0)
            _exit(97);
        owner_that_is_out(shared);
        leaked[0] = leaked[0]; // somebody else's byte, or nobody's
    });
    EXPECT_TRUE(r.exited_with(0)) << r.status << r.text;
    EXPECT_EQ("", r.text);
}

// ---- CO_DEBUG_PRIVATE ---------------------------------------------------------------------------

TEST(PrivateOnceCaught, TheTouchSucceedsAndTheOwnerSeesIt) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        stShareStack_t *shared = one_shared_stack(CO_DEBUG_PRIVATE);
        stCoRoutine_t *owner = owner_that_is_out(shared);
        errno = 77;
        if (*leaked != 'x' || errno != 77)
            _exit(1);
        stCoRoutine_t *guest = create("guest", stray_user, shared, leaked_now());
        co_resume(guest); // writes, and takes the place of whoever is there
        co_resume(owner);
        co_resume(guest);
        if (write(2, leaked_now(), 1) != 1 || *leaked != 'w') // the kernel may, too: it stays open
            _exit(2);
        co_resume(owner);
    });
    EXPECT_TRUE(r.exited_with(0)) << r.status << r.text;
    EXPECT_TRUE(r.says("the owner sees what was written")) << r.text;
    EXPECT_EQ(1U, count_of(r.text, ": touched 0x") + count_of(r.text, "stack touched 0x"))
        << r.text;
    EXPECT_TRUE(
        r.says("; the program goes on, and new coroutines of stray_owner get private stacks\n"))
        << r.text;
    if (can_walk()) {
        EXPECT_TRUE(r.says(", stray_holder+0x")) << r.text;
    }
}

//   entry         made before the touch   made after it
//   stray_owner   shared, opened          private
//   other_owner   shared                  shared, until it is caught too
TEST(PrivateOnceCaught, GoesByTheEntryFunction) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        stShareStack_t *shared = one_shared_stack(CO_DEBUG_PRIVATE);
        owner_that_is_out(shared);
        volatile char *of_first = leaked;
        stCoRoutine_t *second = owner_that_is_out(shared);
        owner_that_is_out(shared, stray_other_owner);
        if (*of_first != 'x') // reported
            _exit(1);
        if (*leaked != 'x' || *of_first != 'x') // known already
            _exit(2);
        create("late", stray_owner, shared);
        create("late other", stray_other_owner, shared);
        co_dump(2, 0);
        if (*leaked_by_other != 'x') // reported, too
            _exit(3);
        create("latest other", stray_other_owner, shared);
        co_dump(2, 0);
        co_release(second);
    });
    EXPECT_TRUE(r.exited_with(0)) << r.status << r.text;
    EXPECT_EQ(2U, count_of(r.text, "stack touched 0x")) << r.text;
    EXPECT_EQ(1U, count_of(r.text, "coroutines of stray_owner get private stacks")) << r.text;
    EXPECT_EQ(1U, count_of(r.text, "coroutines of stray_other_owner get private stacks")) << r.text;
    EXPECT_EQ(2U, count_of(r.text, "'late' fresh; private stack")) << r.text;
    EXPECT_EQ(2U, count_of(r.text, "'late other' fresh; shared stack")) << r.text;
    EXPECT_EQ(1U, count_of(r.text, "'latest other' fresh; private stack")) << r.text;
}

TEST(PrivateOnceCaught, WhoIsPrivateDoesNotHoldTheSharedStack) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        stShareStack_t *shared = one_shared_stack(CO_DEBUG_PRIVATE);
        stCoRoutine_t *owner = create("owner", stray_owner, shared);
        co_resume(owner);
        stCoRoutine_t *other = create("other", stand_there, shared);
        co_resume(other);
        *leaked = 'w';
        stCoRoutine_t *late = create("late", stray_owner, shared);
        co_resume(late);
        co_release(owner);
        if (co_release_sharestack(shared) != EBUSY)
            _exit(1);
        co_release(other);
        if (co_release_sharestack(shared) != 0)
            _exit(2);
        if (*leaked != 'x') // the late one's, which was never shut
            _exit(3);
        co_resume(late);
        co_resume(late);
        co_stats stats;
        if (co_get_stats(&stats) != 0 || stats.now_ended != 1 || stats.stacks_in_use != 1)
            _exit(4);
        co_release(late);
    });
    EXPECT_TRUE(r.exited_with(0)) << r.status << r.text;
}

// Entry functions that were never caught.
template <int n> void *keeper(void *) {
    volatile char variable = n;
    leaked = &variable;
    for (;;)
        co_yield_ct();
}
constexpr int rounds = 64;
template <int... n> void all_keepers(pfn_co_routine_t *out, std::integer_sequence<int, n...>) {
    ((out[n] = keeper<n>), ...);
}

//   main thread   two coroutines take turns on one stack
//   second        at some moment reads the variable of one of them
TEST(PrivateOnceCaught, AnotherThreadMayTouchDuringSwitches) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        pfn_co_routine_t keepers[rounds];
        all_keepers(keepers, std::make_integer_sequence<int, rounds>());
        stShareStack_t *shared = one_shared_stack(CO_DEBUG_PRIVATE);
        static int round;
        static unsigned turns; // atomic
        static bool read;      // atomic
        for (round = 0; round < rounds; ++round) {
            stCoRoutine_t *owner = create("owner", keepers[round], shared),
                          *other = create("other", keeper<rounds>, shared);
            co_resume(other);
            co_resume(owner);
            turns = 0;
            read = false;
            pthread_t reader;
            pthread_create(
                &reader, nullptr,
                [](void *) -> void * {
                    volatile char *at = leaked;
                    while (__atomic_load_n(&turns, __ATOMIC_RELAXED) < 10)
                        sched_yield();
                    for (int i = 0; i < 1000 + round * 10; ++i)
                        if (*at != round)
                            _exit(1);
                    __atomic_store_n(&read, true, __ATOMIC_RELAXED);
                    return nullptr;
                },
                nullptr);
            while (!__atomic_load_n(&read, __ATOMIC_RELAXED)) {
                co_resume(other);
                co_resume(owner);
                __atomic_fetch_add(&turns, 1U, __ATOMIC_RELAXED);
            }
            pthread_join(reader, nullptr);
            co_release(owner);
            co_release(other);
        }
    });
    EXPECT_TRUE(r.exited_with(0)) << r.status << r.text;
    EXPECT_LT(0U, count_of(r.text, " touched 0x")) << r.text;
    EXPECT_GE(size_t{rounds}, count_of(r.text, " touched 0x")) << r.text;
}

sigjmp_buf back;
volatile sig_atomic_t own_faults;
TEST(PrivateOnceCaught, OtherFaultsGoToTheProgramsHandlerAsEver) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        signal(SIGSEGV, [](int) {
            own_faults = own_faults + 1;
            siglongjmp(back, 1);
        });
        stShareStack_t *shared = one_shared_stack(CO_DEBUG_PRIVATE);
        owner_that_is_out(shared);
        auto *nowhere = static_cast<volatile char *>(
            mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        for (int i = 0; i < 2; ++i) {
            if (sigsetjmp(back, 1) == 0)
                *nowhere = 1;
            *leaked = 'w'; // and this does not
        }
        _exit(own_faults == 2 ? 42 : 1);
    });
    EXPECT_TRUE(r.exited_with(42)) << r.status << r.text;
}

// Code is not let through: it would fault again for ever.
TEST(PrivateOnceCaught, AJumpIntoTheStackIsAFault) {
    SKIP_UNDER_SANITIZERS();
    child_result r = in_child([] {
        owner_that_is_out(one_shared_stack(CO_DEBUG_PRIVATE));
        reinterpret_cast<void (*)()>(leaked_now())();
    });
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.status << r.text;
}

TEST(PrivateOnceCaughtChild, DISABLED_Touch) {
    stShareStack_t *shared = co_alloc_sharestack(1, stack_size);
    owner_that_is_out(shared);
    EXPECT_EQ('x', *leaked);
}

TEST(PrivateOnceCaught, IsSwitchedOnByTheEnvironment) {
    SKIP_UNDER_SANITIZERS();
    child_result r =
        in_fresh_process("PrivateOnceCaughtChild.DISABLED_Touch", {"CORUN_DEBUG=private"});
    EXPECT_TRUE(r.exited_with(0)) << r.status << r.text;
    EXPECT_TRUE(r.says("coroutines of stray_owner get private stacks\n")) << r.text;
    r = in_fresh_process("PrivateOnceCaughtChild.DISABLED_Touch", {"CORUN_DEBUG=stacks"});
    EXPECT_TRUE(r.killed_by(SIGSEGV)) << r.status << r.text;
    EXPECT_FALSE(r.says("private stacks")) << r.text;
}

} // namespace
