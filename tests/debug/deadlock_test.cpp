// SPDX-License-Identifier: Apache-2.0
// What is said of coroutines that wait for each other for ever.
#include "tests/debug/deadlock_fixture.h"

namespace {

constexpr char asleep[] = "corun: all coroutines are asleep: ";
constexpr char deadlock[] = "corun: deadlock: ";

class Deadlock : public WhereAllMaySleep {};
class Cycle : public testing::Test {};

// It is said once that each waits for the next one.
void expect_cycle(const child_result &r, const std::vector<std::string> &names,
                  const std::string &before = "corun: ") {
    std::string line = before + "deadlock: coroutine '" + names[0] + "' (#N)";
    for (size_t i = 1; i <= names.size(); ++i)
        line += (i == 1 ? " waits for coroutine '" : ", which waits for coroutine '") +
                names[i % names.size()] + "' (#N)";
    EXPECT_EQ(1U, count_of(r.text, line + "\n")) << line << "\n" << r.text;
}

// Number 2 was closed, and is a data file's now; a reader that is gone; a pipe that takes nothing.
TEST(Cycle, IsNotWrittenWhereItWouldDoHarm) {
    char path[] = "/tmp/corun-deadlock-XXXXXX";
    int file = mkstemp(path), ends[2], full[2];
    ASSERT_TRUE(file >= 0 && pipe(ends) == 0 && pipe2(full, O_NONBLOCK) == 0);
    close(ends[0]);
    char bytes[4096] = {};
    while (write(full[1], bytes, sizeof bytes) > 0) {
    }
    fcntl(full[1], F_SETFL, 0);
    struct {
        int fd;
        bool is_noted;
    } ways[] = {{file, false}, {ends[1], true}, {full[1], true}};
    for (auto way : ways) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(20);
            dup2(way.fd, 2);
            if (way.is_noted)
                corun::note_stderr();
            go_round(2);
            look();
            _exit(7);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
    }
    struct stat s {};
    EXPECT_TRUE(fstat(file, &s) == 0 && s.st_size == 0) << "in the data file: " << s.st_size;
    for (int fd : {file, ends[1], full[0], full[1]})
        close(fd);
    unlink(path);
}

// In a fresh process, where nothing has looked for libunwind, and no descriptor is left to find it with.
TEST(CycleChild, DISABLED_WithoutLibunwind) {
    int ends[2];
    ASSERT_EQ(0, pipe(ends));
    if (getenv("READER_IS_GONE")) {
        close(ends[0]);
        dup2(ends[1], 2);
        corun::note_stderr();
    }
    go_round(2);
    go("sleeper", [] { co_sleep_ms(20000); });
    look(0); // the loop has its descriptors
    int next = dup(2);
    rlimit none{static_cast<rlim_t>(next), static_cast<rlim_t>(next)};
    close(next);
    setrlimit(RLIMIT_NOFILE, &none);
    look();
    EXPECT_FALSE(corun::libunwind_loaded());
    _exit(testing::Test::HasFailure() ? 1 : 7);
}

TEST(Cycle, IsSaidWithoutLibunwindAndWithWhatToInstall) {
    child_result r = in_fresh_process("CycleChild.DISABLED_WithoutLibunwind");
    EXPECT_TRUE(r.exited_with(7)) << r.status << r.text;
    EXPECT_EQ(1U, count_of(r.text, deadlock)) << r.text;
    EXPECT_EQ(1U, count_of(r.text, "apt install libunwind8")) << r.text;
}

TEST(Cycle, WithoutLibunwindAndAReaderDoesNoHarm) {
    child_result r = in_fresh_process("CycleChild.DISABLED_WithoutLibunwind", {"READER_IS_GONE=1"});
    EXPECT_TRUE(r.exited_with(7)) << r.status << r.text;
}

TEST_F(Deadlock, OfTwoMutexesIsSaidWithTheCycleAndItSleepsOn) {
    std::vector<std::string> awaited = {
        "all coroutines are asleep: 2 wait, and nothing is left that could wake one\n",
        "corun: deadlock: coroutine 'a' (#",
        "waits for coroutine 'b' (#",
        " 'b' parked in mutex (0x",
        ", held by #",
        "#0 "};
    if (dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL))
        awaited.push_back("lock_two");
    std::string said = said_by_one_that_hangs(
        [] {
            go_round(2);
            co_run();
        },
        awaited);
    EXPECT_EQ(1U, count_of(said, asleep)) << said;
    EXPECT_EQ(1U, count_of(said, deadlock)) << said;
}

TEST_F(Deadlock, IsSaidOnceHoweverOftenItIsLooked) {
    child_result r = in_child([] {
        go_round(2);
        look();
    });
    EXPECT_TRUE(r.exited_with(0)) << r.status << r.text;
    EXPECT_EQ(1U, count_of(r.text, asleep)) << r.text;
    expect_cycle(r, {"a", "b"});
}

TEST_F(Deadlock, OfACycleThatWasSaidBeforeIsNotSaidAgainWhenAllSleep) {
    child_result r = in_child([] {
        static stCoRoutine_t *sleeper;
        go_round(2);
        sleeper = go("sleeper", [] { co_sleep_ms(20000); });
        look();
        dprintf(2, "The sleeper goes\n");
        co_cancel(sleeper);
        look();
    });
    size_t goes = r.text.find("The sleeper goes\n");
    ASSERT_NE(std::string::npos, goes) << r.text;
    EXPECT_LT(r.text.find(deadlock), goes) << r.text;
    EXPECT_EQ(1U, count_of(r.text, deadlock)) << r.text;
    EXPECT_EQ(1U, count_of(r.text.substr(goes), "all coroutines are asleep: 2 wait, ")) << r.text;
}

// Two coroutines for each pair of locks.
void go_in_pairs(co_mutex_t (*pairs)[2], int count) {
    static co_mutex_t *first_of_all;
    first_of_all = &pairs[0][0];
    for (int i = 0; i < 2 * count; ++i)
        co_go(
            nullptr, nullptr,
            [](void *own) -> void * {
                auto *mine = static_cast<co_mutex_t *>(own);
                bool is_first = (mine - first_of_all) % 2 == 0;
                co_mutex_lock(mine);
                co_yield_now();
                co_mutex_lock(is_first ? mine + 1 : mine - 1);
                return nullptr;
            },
            &pairs[i / 2][i % 2]);
}

TEST_F(Deadlock, OfManyCyclesSixteenAreSaid) {
    child_result r = in_child([] {
        static co_mutex_t pairs[17][2];
        go_in_pairs(pairs, 17);
        look();
    });
    EXPECT_EQ(16U, count_of(r.text, deadlock)) << r.text;
    EXPECT_EQ(1U, count_of(r.text, "all coroutines are asleep: 34 wait, ")) << r.text;
}

// All of the parent's coroutines but the one that forks end there. The child's loop looks by itself.
TEST_F(Deadlock, IsSaidAnewInTheChildOfAFork) {
    std::string said = said_by_one_that_hangs(
        [] {
            static co_mutex_t pairs[17][2];
            go_in_pairs(pairs, 17);
            look();
            pid_t child = fork();
            if (child != 0) {
                waitpid(child, nullptr, 0);
                return;
            }
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            go_round(2);
            co_run();
        },
        {"all coroutines are asleep: 34 wait, ", "all coroutines are asleep: 2 wait, ",
         "corun: deadlock: coroutine 'a' (#", " 'b' parked in mutex (0x"});
    EXPECT_EQ(17U, count_of(said, deadlock)) << said;
}

TEST_F(Deadlock, ThatAllSleepIsSaidWhereNobodyHoldsAnything) {
    child_result r = in_child([] {
        static co_chan_t *channel;
        co_chan_create(&channel, sizeof(int), 0);
        static stCoCond_t *cond = co_cond_alloc();
        static co_sem_t sem;
        static co_wg_t group;
        co_sem_init(&sem, 0);
        co_wg_init(&group);
        co_wg_add(&group, 1);
        go("receiver", [] {
            int item;
            co_chan_recv(channel, &item);
        });
        go("conditional", [] { co_cond_timedwait(cond, -1); });
        go("semaphore", [] { co_sem_wait(&sem); });
        go("group", [] { co_wg_wait(&group); });
        look();
    });
    EXPECT_EQ(1U, count_of(r.text, "all coroutines are asleep: 4 wait, ")) << r.text;
    EXPECT_EQ(0U, count_of(r.text, deadlock)) << r.text;
    for (const char *line :
         {"'receiver' parked in channel recv (0x", "'conditional' parked in cond (0x",
          "'semaphore' parked in sem (0x", "'group' parked in wait group (0x"})
        EXPECT_EQ(1U, count_of(r.text, line)) << line << r.text;
}

TEST_F(Deadlock, OfManySixteenAreListed) {
    child_result r = in_child([] {
        static co_sem_t sem;
        co_sem_init(&sem, 0);
        for (int i = 0; i < 40; ++i)
            go("one", [] { co_sem_wait(&sem); });
        look();
    });
    EXPECT_EQ(16U, count_of(r.text, "'one' parked in sem")) << r.text;
    EXPECT_TRUE(r.says("corun: and 24 more\n")) << r.text;
}

TEST_F(Deadlock, OfTheThreadsOwnStackAndOneThatItJoins) {
    std::string said = said_by_one_that_hangs(
        [] {
            co_mutex_lock(&locks[0]);
            co_join(go("joined", [] { co_mutex_lock(&locks[0]); }), nullptr);
        },
        {"corun: deadlock: the thread's own stack waits for coroutine 'joined' (#",
         "), which waits for the thread's own stack\n",
         "\nthe thread's own stack parked in join (0x", " 'joined' parked in mutex (0x",
         "held by this thread's own stack"});
    EXPECT_EQ(1U, count_of(said, asleep)) << said;
}

TEST_F(Deadlock, HasNothingInItThatATerminalObeys) {
    std::string said = said_by_one_that_hangs(
        [] {
            co_mutex_lock(&locks[0]);
            co_join(go("\x1b[2J", [] { co_mutex_lock(&locks[0]); }), nullptr);
        },
        {"stack waits for coroutine '?[2J' (#", " '?[2J' parked in mutex (0x"});
    EXPECT_EQ(0U, count_of(said, "\x1b")) << said;
}

TEST_F(Deadlock, ThatAllSleepIsSaidOfTheThreadsOwnStackAlone) {
    said_by_one_that_hangs(
        [] {
            co_chan_t *channel;
            int item;
            co_chan_create(&channel, sizeof item, 0);
            co_chan_recv(channel, &item);
        },
        {"all coroutines are asleep: 1 wait, ",
         "\nthe thread's own stack parked in channel recv (0x"});
}

// ---- Cycles alone, while others run

TEST(Cycle, OfThreeIsSaidThoughOthersSleepForATime) {
    child_result r = in_child([] {
        go_round(3);
        go("sleeper", [] { co_sleep_ms(20000); });
        look();
    });
    EXPECT_EQ(0U, count_of(r.text, asleep)) << r.text;
    EXPECT_EQ(1U, count_of(r.text, deadlock)) << r.text;
    expect_cycle(r, {"a", "b", "c"});
    EXPECT_EQ(3U, count_of(r.text, " parked in mutex (0x")) << r.text;
}

TEST(Cycle, OfManyIsCutShort) {
    child_result r = in_child([] {
        go_round(26);
        go("sleeper", [] { co_sleep_ms(20000); });
        look();
    });
    EXPECT_TRUE(r.says("waits for coroutine 'i' (#N), and so on: 26 in all\n")) << r.text;
}

TEST(Cycle, EachIsSaidOnce) {
    child_result r = in_child([] {
        go("sleeper", [] { co_sleep_ms(20000); });
        go_round(2);
        look();
        static co_rwlock_t left, right;
        go("writer", [] {
            co_rwlock_wrlock(&left);
            co_yield_now();
            co_rwlock_rdlock(&right);
        });
        go("other", [] {
            co_rwlock_wrlock(&right);
            co_yield_now();
            co_rwlock_wrlock(&left);
        });
        look();
    });
    expect_cycle(r, {"a", "b"});
    expect_cycle(r, {"writer", "other"});
    EXPECT_EQ(2U, count_of(r.text, deadlock)) << r.text;
}

// A coroutine that ends each as soon as the loop has looked.
TEST(Cycle, EachThroughTheThreadsOwnStackIsSaid) {
    child_result r = in_child([] {
        static stCoRoutine_t *joined;
        go("rescuer", [] {
            for (;;) {
                corun::loop *l = corun::current_env()->event_loop;
                l->look_at_cycles = 0;
                while (l->look_at_cycles == 0)
                    co_sleep_ms(1);
                co_cancel(joined);
            }
        });
        co_mutex_lock(&locks[0]);
        for (const char *name : {"first", "second"}) {
            joined = go(name, [] { co_mutex_lock(&locks[0]); });
            co_join(joined, nullptr);
        }
    });
    EXPECT_TRUE(r.exited_with(0)) << r.status << r.text;
    for (const char *name : {"first", "second"})
        EXPECT_EQ(1U, count_of(r.text, "corun: deadlock: the thread's own stack waits for "
                                       "coroutine '" +
                                           std::string(name) +
                                           "' (#N), which waits for the thread's own stack\n"))
            << r.text;
    EXPECT_EQ(2U, count_of(r.text, deadlock)) << r.text;
}

TEST(Cycle, IsInTheDump) {
    child_result r = in_child([] {
        go("sleeper", [] { co_sleep_ms(20000); });
        go_round(2);
        look(0);
        EXPECT_EQ(3, co_dump(2, 0));
    });
    expect_cycle(r, {"a", "b"}, "\n");
    EXPECT_TRUE(r.exited_with(0)) << r.status << r.text;
}

TEST(Cycle, OfPthreadMutexesUnderTheHooks) {
    child_result r = in_child([] {
        static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER, two = PTHREAD_MUTEX_INITIALIZER;
        go("first", [] {
            co_enable_hook_sys();
            pthread_mutex_lock(&one);
            co_yield_now();
            pthread_mutex_lock(&two);
        });
        go("second", [] {
            co_enable_hook_sys();
            pthread_mutex_lock(&two);
            co_yield_now();
            pthread_mutex_lock(&one);
        });
        go("sleeper", [] { co_sleep_ms(20000); });
        look();
    });
    expect_cycle(r, {"first", "second"});
}

// ---- Nothing is said, or only where nobody else runs

TEST_F(Deadlock, OfOneThatLocksAPthreadMutexTwice) {
    child_result r = in_child([] {
        lock_twice();
        look();
    });
    expect_cycle(r, {"twice"});
}

TEST_F(Deadlock, IsSaidThoughFaultsAreReported) {
    child_result r = in_child([] {
        EXPECT_EQ(0, co_set_debug(CO_DEBUG_OVERFLOW));
        sleep_beside([] {});
    });
    EXPECT_EQ(1U, count_of(r.text, asleep)) << r.text;
}

// One that is joined is a thread still, for a moment.
void wait_until_alone() {
    std::filesystem::directory_iterator end;
    for (int i = 0; i < 10000; ++i) {
        if (std::distance(std::filesystem::directory_iterator("/proc/self/task"), end) == 1)
            return;
        usleep(1000);
    }
}

TEST_F(Deadlock, IsSaidOnceTheOtherThreadIsGone) {
    child_result r = in_child([] {
        static pthread_t other;
        sleep_beside([] {
            pthread_create(
                &other, nullptr,
                [](void *a) {
                    pause();
                    return a;
                },
                nullptr);
        });
        pthread_cancel(other);
        pthread_join(other, nullptr);
        wait_until_alone();
        look();
    });
    EXPECT_EQ(1U, count_of(r.text, asleep)) << r.text;
}

} // namespace
