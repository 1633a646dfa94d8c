// SPDX-License-Identifier: Apache-2.0
// pthread_once and call_once.
#include "both.h"

#include <atomic>
#include <climits>
#include <mutex>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

namespace {

void finish(std::vector<stCoRoutine_t *> &all) {
    for (stCoRoutine_t *co : all) {
        co_join(co, nullptr);
        co_release(co);
    }
    all.clear();
}

// ---- Once ----------------------------------------------------------------------------------------

// What the routine does; it has no argument.
std::function<void()> *routine_body;
void routine() { (*routine_body)(); }

class Once : public testing::Test {
  protected:
    void runs(std::function<void()> f) {
        body_ = std::move(f);
        routine_body = &body_;
    }
    std::function<void()> body_;
    pthread_once_t once_ = PTHREAD_ONCE_INIT;
};

TEST_F(Once, ARoutineThatWaitsIsRunOnceAndAwaitedByAll) {
    std::atomic<int> ran{0}, ended{0};
    runs([&] {
        usleep(3000);
        ++ran;
    });
    in_coroutine([&] {
        std::vector<stCoRoutine_t *> all;
        for (int i = 0; i < 5; ++i)
            all.push_back(go([&] {
                EXPECT_EQ(pthread_once(&once_, routine), 0);
                EXPECT_EQ(ran, 1);
                ++ended;
            }));
        std::thread t([&] {
            EXPECT_EQ(pthread_once(&once_, routine), 0);
            EXPECT_EQ(ran, 1);
            ++ended;
        });
        finish(all);
        t.join();
        EXPECT_EQ(ended, 6);
        EXPECT_EQ(pthread_once(&once_, routine), 0);
    });
    EXPECT_EQ(pthread_once(&once_, routine), 0);
    EXPECT_EQ(ran, 1);
}

TEST_F(Once, AThreadIsAwaitedWhileOthersRun) {
    std::atomic<bool> begun{false}, go_on{false};
    int ticks = 0;
    runs([&] {
        begun = true;
        while (!go_on)
            usleep(100);
    });
    std::thread t([&] { EXPECT_EQ(pthread_once(&once_, routine), 0); });
    while (!begun)
        std::this_thread::yield();
    in_coroutine([&] {
        std::vector<stCoRoutine_t *> all = {go([&] {
            for (; ticks < 5; ++ticks)
                usleep(300);
            go_on = true;
        })};
        EXPECT_EQ(pthread_once(&once_, routine), 0);
        EXPECT_EQ(ticks, 5);
        finish(all);
    });
    t.join();
}

TEST_F(Once, AnExceptionLetsTheNextOneRunIt) {
    int ran = 0;
    runs([&] {
        usleep(1000);
        if (++ran == 1)
            throw 5;
    });
    in_coroutine([&] {
        int caught = 0;
        auto use = [&] {
            try {
                EXPECT_EQ(pthread_once(&once_, routine), 0);
            } catch (int e) {
                caught += e;
            }
        };
        std::vector<stCoRoutine_t *> all = {go(use), go(use), go(use)};
        finish(all);
        EXPECT_EQ(caught, 5);
    });
    EXPECT_EQ(ran, 2);
}

TEST_F(Once, AnExceptionOfAThreadsRoutineLetsACoroutineRunIt) {
    std::atomic<bool> begun{false}, go_on{false};
    std::atomic<int> ran{0};
    runs([&] {
        begun = true;
        if (++ran == 1) {
            while (!go_on)
                usleep(100);
            throw 5;
        }
    });
    std::thread t([&] { EXPECT_THROW(pthread_once(&once_, routine), int); });
    while (!begun)
        std::this_thread::yield();
    in_coroutine([&] {
        std::vector<stCoRoutine_t *> all = {go([&] {
            usleep(2000);
            go_on = true;
        })};
        EXPECT_EQ(pthread_once(&once_, routine), 0);
        finish(all);
    });
    t.join();
    EXPECT_EQ(ran, 2);
}

TEST_F(Once, ACancelledRoutineIsRunAgain) {
    int begun = 0, ended = 0;
    runs([&] {
        ++begun;
        usleep(begun == 1 ? 60000000 : 1000);
        ++ended;
    });
    in_coroutine([&] {
        std::vector<stCoRoutine_t *> all = {go([&] { pthread_once(&once_, routine); }),
                                            go([&] { pthread_once(&once_, routine); })};
        co_yield_now();
        EXPECT_EQ(co_cancel(all[0]), 0);
        finish(all);
    });
    EXPECT_EQ(begun, 2);
    EXPECT_EQ(ended, 1);
}

TEST_F(Once, AWaiterMayBeCancelled) {
    int ran = 0;
    runs([&] {
        usleep(3000);
        ++ran;
    });
    in_coroutine([&] {
        std::vector<stCoRoutine_t *> all = {go([&] { pthread_once(&once_, routine); }), go([&] {
                                                pthread_once(&once_, routine);
                                                ADD_FAILURE() << "it was cancelled";
                                            })};
        co_yield_now();
        EXPECT_EQ(co_cancel(all[1]), 0);
        finish(all);
    });
    EXPECT_EQ(ran, 1);
}

TEST_F(Once, TheChildOfAForkBeginsAnew) {
    int ran = 0;
    runs([&] {
        ++ran;
        usleep(2000);
    });
    for (int generation = 0; generation < 2; ++generation) { // the child forks too
        pthread_once_t once = PTHREAD_ONCE_INIT;
        pid_t child = -1;
        ran = 0;
        in_coroutine([&] {
            std::vector<stCoRoutine_t *> all = {go([&] { pthread_once(&once, routine); })};
            co_yield_now(); // it is under way
            child = fork();
            if (child == 0) {
                EXPECT_EQ(pthread_once(&once, routine), 0); // nobody else will end it
                if (ran != 2)
                    _exit(1);
            } else {
                finish(all);
            }
        });
        if (child != 0) {
            int status = -1;
            EXPECT_EQ(waitpid(child, &status, 0), child);
            EXPECT_EQ(status, 0);
            if (generation == 1)
                _exit(testing::Test::HasFailure() ? 1 : 0);
            return;
        }
    }
    _exit(0);
}

TEST_F(Once, RoutinesThatNeedEachOthersOnces) {
    static pthread_once_t inner = PTHREAD_ONCE_INIT;
    static int inner_ran = 0;
    runs([&] {
        usleep(1000);
        pthread_once(&inner, [] {
            usleep(1000);
            ++inner_ran;
        });
    });
    in_coroutine([&] {
        std::vector<stCoRoutine_t *> all = {go([&] { pthread_once(&once_, routine); }),
                                            go([&] { pthread_once(&inner, [] { ++inner_ran; }); }),
                                            go([&] { pthread_once(&once_, routine); })};
        finish(all);
    });
    EXPECT_EQ(inner_ran, 1);
}

TEST_F(Once, OfC11AndOfTheStandardLibrary) {
    in_coroutine([&] {
        static once_flag c_flag = ONCE_FLAG_INIT;
        static int ran = 0;
        std::once_flag flag;
        int thrown = 0;
        auto use = [&] {
            call_once(&c_flag, [] {
                usleep(1000);
                ++ran;
            });
            try {
                std::call_once(flag, [&] {
                    usleep(1000);
                    ran += 10;
                    if (ran < 20)
                        throw ran;
                });
            } catch (int) {
                ++thrown;
            }
        };
        std::vector<stCoRoutine_t *> all = {go(use), go(use), go(use)};
        finish(all);
        EXPECT_EQ(ran, 21);
        EXPECT_EQ(thrown, 1);
    });
}

} // namespace
