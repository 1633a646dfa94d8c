// SPDX-License-Identifier: Apache-2.0
// libco's names for the loop, waiting and conditions.
#include "co_routine/co_routine.h"
#include "tests/api/no_coroutine_left.h"

#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace {

using LibcoLoop = NoCoroutineLeft;
using LibcoCond = NoCoroutineLeft;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::string trace;
stCoCond_t *cond;

stCoRoutine_t *started(void *(*routine)(void *), void *arg = nullptr) {
    stCoRoutine_t *co = nullptr;
    EXPECT_EQ(0, co_create(&co, nullptr, routine, arg));
    co_resume(co);
    return co;
}

int stop_at_zero(void *turns) { return --*static_cast<int *>(turns) == 0 ? -1 : 0; }
void run_turns(int turns) { co_eventloop(co_get_epoll_ct(), stop_at_zero, &turns); }

void *wait_once(void *arg) {
    int result = co_cond_timedwait(cond, static_cast<int>(reinterpret_cast<intptr_t>(arg)));
    trace += result == 0 ? 's' : result == ETIMEDOUT ? 't' : '?';
    return nullptr;
}

} // namespace

TEST_F(LibcoLoop, TheCallbackEndsTheLoopWithMinusOne) {
    int turns = 3;
    co_eventloop(co_get_epoll_ct(), stop_at_zero, &turns);
    EXPECT_EQ(0, turns);
}

TEST_F(LibcoLoop, EachThreadHasALoopOfItsOwn) {
    stCoEpoll_t *other = nullptr;
    std::thread([&] { other = co_get_epoll_ct(); }).join();
    EXPECT_NE(nullptr, co_get_epoll_ct());
    EXPECT_NE(other, co_get_epoll_ct());
    EXPECT_EQ(co_get_epoll_ct(), co_get_epoll_ct());
}

TEST_F(LibcoLoop, PollWithoutDescriptorsSleepsWhileOthersRun) {
    trace.clear();
    auto sleeper = [](void *ms) -> void * {
        EXPECT_EQ(0, co_poll(co_get_epoll_ct(), nullptr, 0,
                             static_cast<int>(reinterpret_cast<intptr_t>(ms))));
        trace += ms == reinterpret_cast<void *>(40) ? "40 " : "10 ";
        return nullptr;
    };
    stCoRoutine_t *slow = started(sleeper, reinterpret_cast<void *>(40));
    stCoRoutine_t *fast = started(sleeper, reinterpret_cast<void *>(10));
    EXPECT_EQ("", trace);
    co_run();
    EXPECT_EQ("10 40 ", trace);
    co_release(slow);
    co_release(fast);
}

TEST_F(LibcoLoop, PollReportsWhatIsReadableAndWhatIsNot) {
    int ends[2];
    ASSERT_EQ(0, pipe(ends));
    static int events, result;
    stCoRoutine_t *reader = started(
        [](void *fd) -> void * {
            pollfd p[2] = {{static_cast<int>(reinterpret_cast<intptr_t>(fd)), POLLIN, 0},
                           {-1, POLLIN, 0}};
            result = co_poll(co_get_epoll_ct(), p, 2, 10000);
            events = p[0].revents;
            EXPECT_EQ(0, p[1].revents);
            return nullptr;
        },
        reinterpret_cast<void *>(static_cast<intptr_t>(ends[0])));
    ASSERT_EQ(1, write(ends[1], "x", 1));
    co_run();
    EXPECT_EQ(1, result);
    EXPECT_EQ(POLLIN, events);
    co_release(reader);
    close(ends[0]);
    close(ends[1]);
}

TEST_F(LibcoLoop, AcceptTakesAConnectionAndDoesNotWaitOnANonblockingSocket) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    sockaddr_in at = {};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof at;
    ASSERT_EQ(0, bind(listener, reinterpret_cast<sockaddr *>(&at), length));
    ASSERT_EQ(0, listen(listener, 4));
    ASSERT_EQ(0, getsockname(listener, reinterpret_cast<sockaddr *>(&at), &length));
    EXPECT_EQ(-1, co_accept(listener, nullptr, nullptr));
    EXPECT_EQ(EAGAIN, errno);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(0, connect(client, reinterpret_cast<sockaddr *>(&at), length));
    sockaddr_in peer = {};
    length = sizeof peer;
    int served = co_accept(listener, reinterpret_cast<sockaddr *>(&peer), &length);
    EXPECT_GE(served, 0);
    EXPECT_EQ(htonl(INADDR_LOOPBACK), peer.sin_addr.s_addr);
    for (int fd : {served, client, listener})
        close(fd);
}

TEST_F(LibcoLoop, EnvironmentListGivesEachCoroutineItsOwnVariables) {
    static const char *names[] = {"CORUN_API_TEST"};
    co_set_env_list(names, 1);
    unsetenv("CORUN_API_TEST");
    auto routine = [](void *value) -> void * {
        co_enable_hook_sys();
        EXPECT_EQ(0, setenv("CORUN_API_TEST", static_cast<char *>(value), 1));
        co_yield_ct();
        const char *now = getenv("CORUN_API_TEST");
        EXPECT_STREQ(static_cast<char *>(value), now);
        return nullptr;
    };
    char one[] = "one", two[] = "two";
    stCoRoutine_t *first = started(routine, one), *second = started(routine, two);
    EXPECT_EQ(nullptr, getenv("CORUN_API_TEST"));
    co_resume(first);
    co_resume(second);
    co_release(first);
    co_release(second);
}

// contract 11
TEST_F(LibcoCond, SignalWakesTheFirstAndBroadcastTheRest) {
    trace.clear();
    cond = co_cond_alloc();
    stCoRoutine_t *co[3];
    for (stCoRoutine_t *&c : co)
        c = started(wait_once, reinterpret_cast<void *>(-1));
    EXPECT_EQ(EBUSY, co_cond_free(cond));
    EXPECT_EQ(0, co_cond_signal(cond));
    run_turns(2);
    EXPECT_EQ("s", trace);
    EXPECT_EQ(0, co_cond_broadcast(cond));
    co_run();
    EXPECT_EQ("sss", trace);
    for (stCoRoutine_t *c : co)
        co_release(c);
    EXPECT_EQ(0, co_cond_free(cond));
}

// contract 11
TEST_F(LibcoCond, ATimeoutIsToldFromASignal) {
    trace.clear();
    cond = co_cond_alloc();
    stCoRoutine_t *co = started(wait_once, reinterpret_cast<void *>(5));
    auto begin = steady_clock::now();
    co_run();
    EXPECT_EQ("t", trace);
    EXPECT_GE(steady_clock::now() - begin, milliseconds(4));
    co_release(co);
    EXPECT_EQ(0, co_cond_free(cond));
}

TEST_F(LibcoCond, ASignalThatNobodyWaitsForIsForgotten) {
    trace.clear();
    cond = co_cond_alloc();
    co_cond_signal(cond);
    co_cond_broadcast(cond);
    stCoRoutine_t *co = started(wait_once, reinterpret_cast<void *>(5));
    co_run();
    EXPECT_EQ("t", trace);
    co_release(co);
    EXPECT_EQ(0, co_cond_free(cond));
}
