// SPDX-License-Identifier: Apache-2.0
// What is said of coroutines that wait for each other for ever, and when nothing is said.
#include "co_routine/co_routine.h"
#include "co_routine/debug/stderr.h"
#include "co_routine/loop/loop.h"

#include "tests/debug/child.h"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <thread>

namespace {

using body = void (*)();

void *call(void *run) {
    reinterpret_cast<body>(run)();
    return nullptr;
}

stCoRoutine_t *go(const char *name, body run) {
    stCoRoutine_t *co = nullptr;
    EXPECT_EQ(0, co_go(&co, nullptr, call, reinterpret_cast<void *>(run)));
    co_set_name(co, name);
    return co;
}

// A coroutine for each name of a letter: it locks its own, lets the others run, and locks the next one's.
co_mutex_t locks[26];
int lock_count;
void *lock_two(void *number) {
    auto i = static_cast<int>(reinterpret_cast<intptr_t>(number));
    co_mutex_lock(&locks[i]);
    co_yield_now();
    co_mutex_lock(&locks[(i + 1) % lock_count]);
    return nullptr;
}
void go_round(int count) {
    lock_count = count;
    for (int i = 0; i < count; ++i) {
        char name[] = {static_cast<char>('a' + i), '\0'};
        stCoRoutine_t *co = nullptr;
        co_go(&co, nullptr, lock_two, reinterpret_cast<void *>(static_cast<intptr_t>(i)));
        co_set_name(co, name);
    }
}

// The loop of a thread comes to rest and looks, as often as it may.
void look(int times = 3) {
    corun::co_env *env = corun::current_env();
    corun::loop_of(env);
    while (env->ready_count > 0)
        corun::loop_turn(env, corun::now_ns());
    for (int i = 0; i < times; ++i) {
        env->event_loop->look_at_cycles = 0;
        corun::look_for_deadlock(env, env->event_loop->timers.empty());
    }
}

// A child that sleeps for ever in the end: what it said until all of it was there, 20 s at most. It still
// lived then.
std::string said_by_one_that_hangs(body run, const std::vector<std::string> &awaited) {
    int ends[2];
    if (pipe(ends) != 0)
        return "no pipe";
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 2);
        corun::note_stderr(); // as if it had been so from the start
        run();
        _exit(0);
    }
    close(ends[1]);
    std::string text;
    pollfd readable{ends[0], POLLIN, 0};
    auto is_there = [&](const std::string &what) { return text.find(what) != std::string::npos; };
    while (!std::all_of(awaited.begin(), awaited.end(), is_there) &&
           poll(&readable, 1, 20000) == 1) {
        char buffer[4096];
        ssize_t n = read(ends[0], buffer, sizeof buffer);
        if (n <= 0)
            break;
        text.append(buffer, static_cast<size_t>(n));
    }
    close(ends[0]);
    kill(pid, SIGTERM);
    int status = 0;
    waitpid(pid, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGTERM)
        text += "\nit ended by itself";
    return text;
}

constexpr char asleep[] = "corun: all coroutines are asleep: ";
constexpr char deadlock[] = "corun: deadlock: ";

class Deadlock : public testing::Test {
    void SetUp() override {
        if (under_tsan)
            GTEST_SKIP() << "ThreadSanitizer has a thread of its own, which might wake anybody";
    }
};
class Cycle : public testing::Test {};

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
            corun::current_env(); // when number 2 was still the test's
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

TEST_F(Deadlock, OfTwoMutexesIsSaidWithTheCycleAndItSleepsOn) {
    std::string said = said_by_one_that_hangs(
        [] {
            go_round(2);
            co_run();
        },
        {"all coroutines are asleep: 2 wait, and nothing is left that could wake one\n",
         "corun: deadlock: coroutine 'a' (#", "waits for coroutine 'b' (#", "#0 ", "lock_two",
         " 'b' parked in mutex (0x", ", held by #"});
    EXPECT_EQ(1U, count_of(said, asleep)) << said;
    EXPECT_EQ(1U, count_of(said, deadlock)) << said;
    EXPECT_EQ(0U, count_of(said, "ended by itself")) << said;
}

TEST_F(Deadlock, IsSaidOnceHoweverOftenItIsLooked) {
    child_result r = in_child([] {
        go_round(2);
        look();
    });
    EXPECT_TRUE(r.exited_with(0)) << r.status << r.text;
    EXPECT_EQ(1U, count_of(r.text, asleep)) << r.text;
    EXPECT_EQ(1U, count_of(r.text, "corun: deadlock: coroutine 'a' (#N) waits for coroutine 'b' "
                                   "(#N), which waits for coroutine 'a' (#N)\n"))
        << r.text;
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

TEST_F(Deadlock, OfManyCyclesSixteenAreSaid) {
    child_result r = in_child([] {
        static co_mutex_t pairs[17][2];
        for (auto &pair : pairs)
            for (intptr_t first : {0, 1})
                co_go(
                    nullptr, nullptr,
                    [](void *own) -> void * {
                        auto *mine = static_cast<co_mutex_t *>(own);
                        bool is_first = (mine - &pairs[0][0]) % 2 == 0;
                        co_mutex_lock(mine);
                        co_yield_now();
                        co_mutex_lock(is_first ? mine + 1 : mine - 1);
                        return nullptr;
                    },
                    &pair[first]);
        look();
    });
    EXPECT_EQ(16U, count_of(r.text, deadlock)) << r.text;
    EXPECT_EQ(1U, count_of(r.text, "all coroutines are asleep: 34 wait, ")) << r.text;
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
         "), which waits for the thread's own stack\n", "parked in mutex (0x",
         "held by this thread's own stack"});
    EXPECT_EQ(1U, count_of(said, asleep)) << said;
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
    EXPECT_TRUE(r.says("corun: deadlock: coroutine 'a' (#N) waits for coroutine 'b' (#N), which "
                       "waits for coroutine 'c' (#N), which waits for coroutine 'a' (#N)\n"))
        << r.text;
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
    EXPECT_EQ(1U, count_of(r.text, "deadlock: coroutine 'a' (#N) waits")) << r.text;
    EXPECT_EQ(1U, count_of(r.text, "deadlock: coroutine 'writer' (#N) waits for coroutine 'other' "
                                   "(#N), which waits for coroutine 'writer' (#N)\n"))
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
    EXPECT_TRUE(r.says("\ndeadlock: coroutine 'a' (#N) waits for coroutine 'b' (#N), which waits "
                       "for coroutine 'a' (#N)\n"))
        << r.text;
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
    EXPECT_EQ(1U, count_of(r.text, "deadlock: coroutine 'first' (#N) waits for coroutine 'second' "
                                   "(#N), which waits for coroutine 'first' (#N)\n"))
        << r.text;
}

// ---- Nothing is said, or only where nobody else runs

void lock_twice() {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    go("twice", [] {
        co_enable_hook_sys();
        pthread_mutex_lock(&mutex);
        pthread_mutex_lock(&mutex);
    });
}
TEST_F(Deadlock, OfOneThatLocksAPthreadMutexTwice) {
    child_result r = in_child([] {
        lock_twice();
        look();
    });
    EXPECT_EQ(1U, count_of(r.text, "deadlock: coroutine 'twice' (#N) waits for coroutine 'twice' "
                                   "(#N)\n"))
        << r.text;
}

void expect_silence(body run) {
    child_result r = in_child(run);
    EXPECT_TRUE(r.exited_with(0)) << r.status << r.text;
    EXPECT_EQ("", r.text);
}

TEST(Cycle, IsNoneOfOneAloneWhileOthersRun) {
    expect_silence([] {
        lock_twice();
        go("sleeper", [] { co_sleep_ms(20000); });
        look();
    });
}

TEST(Cycle, IsNoneWhereOneHasATimeLimit) {
    expect_silence([] {
        static co_mutex_t left, right;
        go("patient", [] {
            co_mutex_lock(&left);
            co_yield_now();
            co_mutex_lock(&right);
        });
        go("impatient", [] {
            co_mutex_lock(&right);
            co_yield_now();
            co_mutex_timedlock(&left, 20000);
        });
        look();
    });
}

TEST(Cycle, IsNoneWhereTheHolderSleeps) {
    expect_silence([] {
        static co_mutex_t m;
        go("holder", [] {
            co_mutex_lock(&m);
            co_sleep_ms(20000);
        });
        for (int i = 0; i < 10; ++i)
            go("waiter", [] { co_mutex_lock(&m); });
        look();
    });
}

// Locks pass from thread to thread, in one order, and each sleep of a loop looks.
int rounds_made; // under the locks
void hand_over_locks() {
    for (int i = 0; i < 8; ++i)
        go("user", [] {
            for (int n = 0; n < 3000; ++n) {
                corun::env_or_null()->event_loop->look_at_cycles = 0;
                for (int m = 0; m < 3; ++m) {
                    co_mutex_lock(&locks[m]);
                    if (n % 4 == m)
                        co_yield_now();
                }
                ++rounds_made;
                for (int m = 0; m < 3; ++m)
                    co_mutex_unlock(&locks[m]);
            }
        });
    co_run();
}
TEST(Cycle, IsNoneWhereThreadsHandLocksToEachOther) {
    if (under_tsan)
        GTEST_SKIP() << "ThreadSanitizer starts no threads in the child of a fork";
    expect_silence([] {
        std::thread other(hand_over_locks), third(hand_over_locks);
        hand_over_locks();
        other.join();
        third.join();
        if (rounds_made != 3 * 8 * 3000)
            dprintf(2, "only %d rounds\n", rounds_made);
    });
}

// Those that wait, for the next ones; f is what may wake them.
void sleep_beside(body f) {
    static co_sem_t sem;
    co_sem_init(&sem, 0);
    go("waiter", [] { co_sem_wait(&sem); });
    f();
    look();
}

TEST_F(Deadlock, IsNoneWhileSomebodyWaitsForADescriptor) {
    expect_silence([] {
        sleep_beside([] {
            go("reader", [] {
                static int ends[2];
                EXPECT_EQ(0, pipe(ends));
                pollfd readable{ends[0], POLLIN, 0};
                co_poll(co_get_epoll_ct(), &readable, 1, -1);
            });
        });
    });
}

TEST_F(Deadlock, IsNoneWhileAHelperIsAtWork) {
    expect_silence([] {
        static char fifo[] = "/tmp/corun-fifo-XXXXXX";
        close(mkstemp(fifo));
        unlink(fifo);
        EXPECT_EQ(0, mkfifo(fifo, 0600));
        sleep_beside([] {
            go("opener", [] {
                co_enable_hook_sys();
                open(fifo, O_RDONLY); // waits for a writer, on a helper
            });
        });
        unlink(fifo);
    });
}

TEST_F(Deadlock, IsNoneWhileAnotherThreadLives) {
    expect_silence([] { sleep_beside([] { std::thread([] { pause(); }).detach(); }); });
}

TEST_F(Deadlock, IsNoneWhileASignalIsHandled) {
    expect_silence([] { sleep_beside([] { signal(SIGUSR1, [](int) {}); }); });
}

TEST_F(Deadlock, IsNoneWhereNobodyWaitsForOthers) {
    expect_silence([] {
        go("yields", [] { co_yield_ct(); });
        look();
    });
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
        look();
    });
    EXPECT_EQ(1U, count_of(r.text, asleep)) << r.text;
}

} // namespace
