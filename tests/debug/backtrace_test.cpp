// SPDX-License-Identifier: Apache-2.0
// co_backtrace. Each function of the chain stands in a section of its own, so that the linker tells
// where it begins and ends:   entry -> outer -> middle -> inner -> (stop here)
#include "co_routine/co_routine.h"

#include "tests/debug/child.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <dlfcn.h>
#include <execinfo.h>
#include <fstream>
#include <gtest/gtest.h>
#include <pthread.h>

namespace {

#define IN_SECTION(name) __attribute__((noinline, noclone, section(#name)))
#define KEEP_FRAME() __asm__ volatile("" ::: "memory") // no tail call

constexpr int most = 64;
using stop_function = void (*)();

IN_SECTION(chain_inner) void inner(stop_function stop) {
    stop();
    KEEP_FRAME();
}
IN_SECTION(chain_middle) void middle(stop_function stop) {
    inner(stop);
    KEEP_FRAME();
}
IN_SECTION(chain_outer) void outer(stop_function stop) {
    middle(stop);
    KEEP_FRAME();
}
IN_SECTION(chain_entry) void *entry(void *stop) {
    outer(reinterpret_cast<stop_function>(stop));
    KEEP_FRAME();
    return nullptr;
}

extern "C" char __start_chain_inner[], __stop_chain_inner[], __start_chain_middle[],
    __stop_chain_middle[], __start_chain_outer[], __stop_chain_outer[], __start_chain_entry[],
    __stop_chain_entry[];

const char *function_of(void *pc) {
    const struct {
        const char *name, *start, *stop;
    } functions[] = {{"inner", __start_chain_inner, __stop_chain_inner},
                     {"middle", __start_chain_middle, __stop_chain_middle},
                     {"outer", __start_chain_outer, __stop_chain_outer},
                     {"entry", __start_chain_entry, __stop_chain_entry}};
    const char *at = static_cast<char *>(pc) - 1; // the call, not what follows it
    for (const auto &f : functions)
        if (at >= f.start && at < f.stop)
            return f.name;
    return "?";
}

std::vector<std::string> names(void **pcs, int n) {
    std::vector<std::string> list;
    for (int i = 0; i < n; ++i)
        list.push_back(function_of(pcs[i]));
    return list;
}

const std::vector<std::string> whole_chain = {"inner", "middle", "outer", "entry"};

// What comes before the first frame of the chain are the library's own frames.
std::vector<std::string> without_leading_strangers(std::vector<std::string> list) {
    while (!list.empty() && list.front() == "?")
        list.erase(list.begin());
    return list;
}

bool have_libunwind() { return dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL) != nullptr; }

// On i386 the running coroutine is walked by libgcc.
bool walks_itself_exactly() { return sizeof(void *) == 4 || have_libunwind(); }

#define NEEDS_LIBUNWIND()                                                                          \
    if (!have_libunwind())                                                                         \
    GTEST_SKIP() << "libunwind.so.8 is not installed for this architecture"

void yield() { co_yield_ct(); }

std::vector<std::string> found_inside;
void backtrace_self() {
    void *pcs[most];
    int n = co_backtrace(co_self(), pcs, most);
    found_inside = names(pcs, n);
}

stCoRoutine_t *create(stop_function stop, stShareStack_t *shared = nullptr, int stack_size = 0) {
    stCoRoutineAttr_t attr;
    attr.share_stack = shared;
    attr.stack_size = stack_size;
    stCoRoutine_t *co = nullptr;
    EXPECT_EQ(0, co_create(&co, &attr, entry, reinterpret_cast<void *>(stop)));
    return co;
}

TEST(Backtrace, OfAYieldedCoroutineEndsWithItsEntryFunction) {
    NEEDS_LIBUNWIND();
    stCoRoutine_t *co = create(yield);
    co_resume(co);
    void *pcs[most];
    int n = co_backtrace(co, pcs, most);
    ASSERT_GE(n, 4);
    EXPECT_EQ(whole_chain, without_leading_strangers(names(pcs, n)));
    co_release(co);
}

TEST(Backtrace, OfTheRunningCoroutineBeginsWithTheCaller) {
    if (!walks_itself_exactly())
        GTEST_SKIP() << "libunwind.so.8 is not installed";
    stCoRoutine_t *co = create(backtrace_self);
    co_resume(co);
    EXPECT_EQ((std::vector<std::string>{"?", "inner", "middle", "outer", "entry"}), found_inside);
    co_release(co);
}

TEST(Backtrace, OfOneThatHasResumedAnother) {
    NEEDS_LIBUNWIND();
    static stCoRoutine_t *first;
    static std::vector<std::string> found;
    first = create([] {
        stCoRoutine_t *second = create([] {
            void *pcs[most];
            int n = co_backtrace(first, pcs, most);
            found = names(pcs, n);
        });
        co_resume(second);
        co_release(second);
    });
    co_resume(first);
    EXPECT_EQ(whole_chain, without_leading_strangers(found));
    co_release(first);
}

TEST(Backtrace, OfTheThreadsOwnStackFromInsideACoroutine) {
    NEEDS_LIBUNWIND();
    static stCoRoutine_t *root;
    static int frames;
    stCoRoutine_t *co = create([] {
        void *pcs[most];
        frames = co_backtrace(root, pcs, most);
    });
    root = co_self();
    co_resume(co);
    EXPECT_GT(frames, 3); // at least this test, GoogleTest, main
    co_release(co);
}

TEST(Backtrace, OfACoroutineThatNeverRanOrHasEndedIsEmpty) {
    void *pcs[most];
    stCoRoutine_t *co = create([] {});
    EXPECT_EQ(0, co_backtrace(co, pcs, most));
    co_resume(co);
    EXPECT_EQ(0, co_backtrace(co, pcs, most));
    co_reset(co);
    EXPECT_EQ(0, co_backtrace(co, pcs, most));
    co_release(co);
    stCoRoutine_t *ready;
    ASSERT_EQ(0, co_go(&ready, nullptr, entry, reinterpret_cast<void *>(yield)));
    EXPECT_EQ(0, co_backtrace(ready, pcs, most));
    co_release(ready);
}

TEST(Backtrace, GivesTheInnermostFramesWhenThereIsNoRoomForAll) {
    NEEDS_LIBUNWIND();
    stCoRoutine_t *co = create(yield);
    co_resume(co);
    void *all[most], *some[3] = {};
    ASSERT_GT(co_backtrace(co, all, most), 3);
    EXPECT_EQ(2, co_backtrace(co, some, 2));
    EXPECT_EQ(all[0], some[0]);
    EXPECT_EQ(all[1], some[1]);
    EXPECT_EQ(nullptr, some[2]);
    EXPECT_EQ(0, co_backtrace(co, nullptr, 0));
    co_release(co);
}

TEST(Backtrace, RefusesNothingAndForeignCoroutines) {
    void *pcs[1];
    stCoRoutine_t *co = create(yield);
    errno = 0;
    EXPECT_EQ(-1, co_backtrace(nullptr, pcs, 1));
    EXPECT_EQ(EINVAL, errno);
    EXPECT_EQ(-1, co_backtrace(co, pcs, -1));
    EXPECT_EQ(-1, co_backtrace(co, nullptr, 1));
    pthread_t thread;
    static int answer;
    pthread_create(
        &thread, nullptr,
        [](void *foreign) -> void * {
            void *pcs_there[1];
            answer = co_backtrace(static_cast<stCoRoutine_t *>(foreign), pcs_there, 1);
            return nullptr;
        },
        co);
    pthread_join(thread, nullptr);
    EXPECT_EQ(-1, answer);
    co_release(co);
}

//   step        a (in place?)     b
//   resume a    yes               -
//   resume b    out               yes
//   resume a    yes               out
TEST(Backtrace, OnASharedStackIsWholeInPlaceAndOut) {
    NEEDS_LIBUNWIND();
    stShareStack_t *shared = co_alloc_sharestack(1, 64 * 1024);
    stop_function twice = [] { co_yield_ct(), co_yield_ct(); };
    stCoRoutine_t *a = create(twice, shared), *b = create(twice, shared);
    void *pcs[most];
    co_resume(a);
    EXPECT_EQ(whole_chain, without_leading_strangers(names(pcs, co_backtrace(a, pcs, most))));
    EXPECT_EQ(0, co_backtrace(b, pcs, most)); // never ran
    co_resume(b);
    for (stCoRoutine_t *each : {a, b})
        EXPECT_EQ(whole_chain,
                  without_leading_strangers(names(pcs, co_backtrace(each, pcs, most))));
    co_resume(a);
    for (stCoRoutine_t *each : {a, b})
        EXPECT_EQ(whole_chain,
                  without_leading_strangers(names(pcs, co_backtrace(each, pcs, most))));
    co_release(a);
    co_release(b);
    EXPECT_EQ(0, co_release_sharestack(shared));
}

TEST(Backtrace, OnAnAddressRangeOfItsOwnThatIsShut) {
    NEEDS_LIBUNWIND();
    child_result r =
        in_fresh_process("Backtrace.OnASharedStackIsWholeInPlaceAndOut", {"CORUN_DEBUG=stacks"});
    EXPECT_TRUE(r.exited_with(0)) << r.text;
}

// The asker stands on the stack that the other has left.
TEST(Backtrace, OfOneThatIsCopiedOutOfTheCallersOwnStack) {
    NEEDS_LIBUNWIND();
    static stCoRoutine_t *out;
    static std::vector<std::string> found;
    stShareStack_t *shared = co_alloc_sharestack(1, 64 * 1024);
    out = create(yield, shared);
    stCoRoutine_t *asker = create(
        [] {
            void *pcs[most];
            found = names(pcs, co_backtrace(out, pcs, most));
        },
        shared);
    co_resume(out);
    co_resume(asker);
    EXPECT_EQ(whole_chain, without_leading_strangers(found));
    co_release(out);
    co_release(asker);
    EXPECT_EQ(0, co_release_sharestack(shared));
}

TEST(Backtrace, OfAParkedCoroutine) {
    NEEDS_LIBUNWIND();
    stCoRoutine_t *co;
    ASSERT_EQ(0, co_go(&co, nullptr, entry,
                       reinterpret_cast<void *>(stop_function([] { co_sleep_ms(1000000); }))));
    co_yield_now();
    void *pcs[most];
    int n = co_backtrace(co, pcs, most);
    EXPECT_EQ(whole_chain, without_leading_strangers(names(pcs, n)));
    co_release(co);
}

bool is_mapped(const char *name) {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);)
        if (line.find(name) != std::string::npos)
            return true;
    return false;
}

// In a process of its own: nothing has loaded libunwind yet.
TEST(BacktraceChild, DISABLED_FirstCallOnASmallStack) {
    ASSERT_FALSE(is_mapped("libunwind.so.8"));
    stCoRoutine_t *co = create(backtrace_self, nullptr, 16 * 1024);
    co_resume(co);
    co_release(co);
    ASSERT_TRUE(is_mapped("libunwind.so.8"));
    EXPECT_EQ(whole_chain,
              without_leading_strangers({found_inside.begin() + 1, found_inside.end()}));
    co_stats stats;
    co_get_stats(&stats);
    EXPECT_EQ(2U, stats.created); // the one that had room for the loading, too
    EXPECT_EQ(0U, stats.stacks_in_use);
}

TEST(Backtrace, LoadsLibunwindOnAStackWithRoom) {
    NEEDS_LIBUNWIND();
    if (under_asan)
        GTEST_SKIP() << "16 KiB are too little under AddressSanitizer";
    child_result r = in_fresh_process("BacktraceChild.DISABLED_FirstCallOnASmallStack");
    EXPECT_TRUE(r.exited_with(0)) << r.text;
}

TEST(BacktraceChild, DISABLED_WithoutLibunwind) {
    stCoRoutine_t *co = create(yield);
    co_resume(co);
    void *pcs[most], *again[most];
    int n = co_backtrace(co, pcs, most);
    ASSERT_GE(n, 1);
    ASSERT_EQ(n, co_backtrace(co, again, most));
    for (int i = 0; i < n; ++i) {
        Dl_info info;
        EXPECT_NE(0, dladdr(pcs[i], &info)) << i; // code, not data of the stack
    }
    co_release(co);
    stCoRoutine_t *self = create(backtrace_self);
    co_resume(self);
    ASSERT_GE(found_inside.size(), 1U);
    co_release(self);
}

TEST(Backtrace, WithoutLibunwindSaysOnceWhatToInstall) {
    char directory[] = "/tmp/corun-no-libunwind-XXXXXX";
    ASSERT_NE(nullptr, mkdtemp(directory));
    std::string fake = std::string(directory) + "/libunwind.so.8";
    std::ofstream(fake) << "not a library";
    child_result r = in_fresh_process("BacktraceChild.DISABLED_WithoutLibunwind",
                                      {"LD_LIBRARY_PATH=" + std::string(directory)});
    unlink(fake.c_str());
    rmdir(directory);
    EXPECT_TRUE(r.exited_with(0)) << r.text;
    size_t first = r.text.find("apt install libunwind8");
    ASSERT_NE(std::string::npos, first) << r.text;
    EXPECT_EQ(std::string::npos, r.text.find("apt install libunwind8", first + 1)) << r.text;
}

// ---- Signals ------------------------------------------------------------------------------------

volatile sig_atomic_t handled, empty, cut_short;
void *outermost_of_thread; // where a walk of the thread's own stack ends

// i386: __x86.get_pc_thunk.bx (mov (%esp),%ebx; ret) comes from crti.o, which has no unwind data:
// no unwinder gets beyond a signal there.
bool is_pc_thunk(const char *pc) {
    static const char code[] = {'\x8b', '\x1c', '\x24', '\xc3'};
    return memcmp(pc, code, 4) == 0 || (*pc == '\xc3' && memcmp(pc - 3, code, 4) == 0);
}

bool is_whole(void **pcs, int n) {
    if (sizeof(void *) == 4 && is_pc_thunk(static_cast<char *>(pcs[n - 1])))
        return true;
    return pcs[n - 1] == outermost_of_thread || strcmp(function_of(pcs[n - 1]), "entry") == 0;
}

void on_prof(int) {
    int saved_errno = errno;
    void *pcs[most];
    int n = co_backtrace(co_self(), pcs, most);
    empty = empty + (n <= 0);
    cut_short = cut_short + (n > 0 && !is_whole(pcs, n));
    backtrace(pcs, most);
    handled = handled + 1;
    errno = saved_errno;
}

struct storm {
    static constexpr int signals = 2000;
    pthread_t target = pthread_self(), thread;
    storm() {
        void *pcs[1];
        backtrace(pcs, 1); // both load what they need
        handled = 0;
        empty = 0;
        cut_short = 0;
        struct sigaction action {};
        action.sa_handler = on_prof;
        action.sa_flags = SA_RESTART;
        sigaction(SIGPROF, &action, nullptr);
        pthread_create(
            &thread, nullptr,
            [](void *self) -> void * {
                while (handled < signals)
                    pthread_kill(static_cast<storm *>(self)->target, SIGPROF);
                return nullptr;
            },
            this);
    }
    ~storm() {
        pthread_join(thread, nullptr);
        signal(SIGPROF, SIG_IGN);
    }
};

void yield_for_ever() {
    for (;;)
        co_yield_ct();
}

void resume_through_a_storm(stCoRoutine_t *a, stCoRoutine_t *b) {
    void *pcs[most];
    int n = co_backtrace(co_self(), pcs, most);
    outermost_of_thread = pcs[n - 1];
    {
        storm blowing;
        while (handled < storm::signals) {
            co_resume(a);
            co_resume(b);
        }
    }
    EXPECT_EQ(0, empty);
    co_release(a);
    co_release(b);
}

// contract 3
TEST(Backtrace, InASignalHandlerDuringSwitchesOfPrivateStacks) {
    if (under_tsan)
        GTEST_SKIP() << "ThreadSanitizer delays signals";
    resume_through_a_storm(create(yield_for_ever), create(yield_for_ever));
    if (walks_itself_exactly()) {
        EXPECT_EQ(0, cut_short);
    }
}

// contract 3: a resumes b on the stack that both live on, so the copier's own stack is met too.
TEST(Backtrace, InASignalHandlerDuringSwitchesOfOneSharedStack) {
    if (under_tsan)
        GTEST_SKIP() << "ThreadSanitizer delays signals";
    stShareStack_t *shared = co_alloc_sharestack(1, 64 * 1024);
    static stCoRoutine_t *inner_one;
    inner_one = create(yield_for_ever, shared);
    stop_function resume_and_yield = [] {
        for (;;) {
            co_resume(inner_one);
            co_yield_ct();
        }
    };
    stCoRoutine_t *outer_one = create(resume_and_yield, shared);
    resume_through_a_storm(outer_one, create(yield_for_ever, shared));
    co_release(inner_one);
    EXPECT_EQ(0, co_release_sharestack(shared));
}

} // namespace
