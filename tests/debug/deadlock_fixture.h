// SPDX-License-Identifier: Apache-2.0
// Coroutines that wait for each other, for the tests of what is said of them and of when nothing is.
#pragma once

#include "co_routine/co_routine.h"
#include "co_routine/debug/stderr.h"
#include "co_routine/debug/unwinder.h"
#include "co_routine/loop/loop.h"

#include "tests/debug/child.h"

#include <algorithm>
#include <csignal>
#include <dlfcn.h>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <thread>

using body = void (*)();

inline void *call(void *run) {
    reinterpret_cast<body>(run)();
    return nullptr;
}

inline stCoRoutine_t *go(const char *name, body run) {
    stCoRoutine_t *co = nullptr;
    EXPECT_EQ(0, co_go(&co, nullptr, call, reinterpret_cast<void *>(run)));
    co_set_name(co, name);
    return co;
}

class WhereAllMaySleep : public testing::Test {
    void SetUp() override {
        if (under_tsan)
            GTEST_SKIP() << "ThreadSanitizer has a thread of its own, which might wake anybody";
    }
};

// A coroutine for each name of a letter: it locks its own, lets the others run, and locks the next one's.
inline co_mutex_t locks[26];
inline int lock_count;
inline void *lock_two(void *number) {
    auto i = static_cast<int>(reinterpret_cast<intptr_t>(number));
    co_mutex_lock(&locks[i]);
    co_yield_now();
    co_mutex_lock(&locks[(i + 1) % lock_count]);
    return nullptr;
}
inline void go_round(int count) {
    lock_count = count;
    for (int i = 0; i < count; ++i) {
        char name[] = {static_cast<char>('a' + i), '\0'};
        stCoRoutine_t *co = nullptr;
        co_go(&co, nullptr, lock_two, reinterpret_cast<void *>(static_cast<intptr_t>(i)));
        co_set_name(co, name);
    }
}

// The loop of a thread comes to rest and looks, as often as it may.
inline void look(int times = 3) {
    corun::co_env *env = corun::current_env();
    corun::loop_of(env);
    while (env->ready_count > 0)
        corun::loop_turn(env, corun::now_ns());
    for (int i = 0; i < times; ++i) {
        env->event_loop->look_at_cycles = 0;
        corun::look_for_deadlock(env, env->event_loop->timers.empty());
    }
}

// A child that sleeps for ever in the end: what it said until all that is awaited was there, 20 s at most. It
// still lived then.
inline std::string said_by_one_that_hangs(body run, const std::vector<std::string> &awaited) {
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
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM)
        << "it ended by itself: " << status << "\n"
        << text;
    for (const std::string &what : awaited)
        EXPECT_TRUE(is_there(what)) << what << "\nis not in\n" << text;
    return text;
}

inline void lock_twice() {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    go("twice", [] {
        co_enable_hook_sys();
        pthread_mutex_lock(&mutex);
        pthread_mutex_lock(&mutex);
    });
}

// Those that wait, for the next ones; f is what may wake them.
inline void sleep_beside(body f) {
    static co_sem_t sem;
    co_sem_init(&sem, 0);
    go("waiter", [] { co_sem_wait(&sem); });
    f();
    look();
}
