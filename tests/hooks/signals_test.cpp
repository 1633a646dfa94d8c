// SPDX-License-Identifier: Apache-2.0
// Waiting for signals, waiting for handlers, and what handlers may do.
#include "tests/hooks/both.h"
#include "tests/hooks/net.h"
#include "tests/hooks/ticking.h"

#include <csetjmp>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <sys/time.h>
#include <unistd.h>

extern "C" int __xpg_sigpause(int);

namespace {

constexpr int late_us = 5000;

// For the length of a test: these signals are blocked, so that only sigwait takes them.
struct blocked {
    sigset_t set, before;
    blocked(std::initializer_list<int> signals) {
        sigemptyset(&set);
        for (int s : signals)
            sigaddset(&set, s);
        pthread_sigmask(SIG_BLOCK, &set, &before);
    }
    ~blocked() {
        timespec none{};
        while (sigtimedwait(&set, nullptr, &none) > 0) {
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
};

void say_info(side &s, const siginfo_t &i) {
    s.says("signo", i.si_signo);
    s.says("code", i.si_code);
    s.says("value", i.si_value.sival_int);
    s.says("from us", i.si_pid == getpid());
    s.says("errno", i.si_errno);
}

struct handler {
    int signal;
    struct sigaction before;
    handler(int s, void (*f)(int), int flags = 0) : signal(s) {
        struct sigaction act {};
        act.sa_handler = f;
        act.sa_flags = flags;
        sigaction(s, &act, &before);
    }
    ~handler() { sigaction(signal, &before, nullptr); }
};

} // namespace

TEST(Signals, SigwaitAndItsKin) {
    blocked b{SIGUSR1, SIGUSR2, SIGRTMIN}; // in all threads: some signals are the process's
    expect_same([&](side &s) {
        pthread_t self = pthread_self();
        int signal = 0;
        siginfo_t info{};
        timespec t{0, 3000000}, bad{0, 1000000000}, none{};
        s.says("none", sigtimedwait(&b.set, &info, &none));
        s.says("3 ms", sigtimedwait(&b.set, &info, &t));
        s.says("bad", sigtimedwait(&b.set, &info, &bad));
        pthread_kill(self, SIGUSR1);
        s.says("pending", sigwait(&b.set, &signal));
        s.says("which", signal);
        s.partner([=](side &) { usleep(late_us), pthread_kill(self, SIGUSR2); });
        s.says("to the thread", sigwaitinfo(&b.set, &info));
        s.says("code", info.si_code); // libc shows tkill's as user's
        s.join();
        s.partner([=](side &) {
            usleep(late_us);
            sigval v;
            v.sival_int = 4711;
            sigqueue(getpid(), SIGRTMIN, v);
        });
        s.says("queued", sigwaitinfo(&b.set, &info));
        say_info(s, info);
        s.join();
        s.partner([=](side &) { usleep(late_us), kill(getpid(), SIGUSR1); });
        s.says("to the process", sigwait(&b.set, &signal));
        s.says("which", signal);
        s.join();
        sigval v;
        for (int i = 1; i < 4; ++i) {
            v.sival_int = i;
            sigqueue(getpid(), SIGRTMIN, v);
        }
        for (int i = 1; i < 4; ++i) {
            s.says("in order", sigwaitinfo(&b.set, &info));
            s.says("value", info.si_value.sival_int);
        }
        s.says("no info wanted", sigtimedwait(&b.set, nullptr, &t));
    });
}

TEST(Signals, ATimersSignalIsWhole) {
    blocked b{SIGRTMIN};
    expect_same([&](side &s) {
        sigevent e{};
        e.sigev_notify = SIGEV_SIGNAL;
        e.sigev_signo = SIGRTMIN;
        e.sigev_value.sival_int = 17;
        timer_t timer;
        s.says("create", timer_create(CLOCK_MONOTONIC, &e, &timer));
        itimerspec t{{0, 0}, {0, 5000000}};
        timer_settime(timer, 0, &t, nullptr);
        siginfo_t info{};
        s.says("wait", sigwaitinfo(&b.set, &info));
        s.says("code", info.si_code);
        s.says("value", info.si_value.sival_int);
        s.says("overrun", info.si_overrun);
        timer_delete(timer);
    });
}

TEST(Signals, SeveralWaitersTakeOneEach) {
    blocked b{SIGUSR1, SIGRTMIN};
    int got = 0, sum = 0;
    for (int i = 0; i < 10; ++i)
        go([&] {
            siginfo_t info{};
            EXPECT_EQ(SIGRTMIN, sigwaitinfo(&b.set, &info));
            sum += info.si_value.sival_int;
            ++got;
        });
    go([&] {
        for (int i = 0; i < 10; ++i) {
            sigval v;
            v.sival_int = i;
            sigqueue(getpid(), SIGRTMIN, v);
            if (i == 4)
                usleep(late_us);
        }
    });
    co_run();
    EXPECT_EQ(10, got);
    EXPECT_EQ(45, sum);
}

// contract 26
TEST(Signals, OthersTickWhileOneWaits) {
    blocked b{SIGALRM};
    expect_others_tick([&] {
        itimerval t{{0, 0}, {0, 60000}};
        setitimer(ITIMER_REAL, &t, nullptr);
        int signal = 0;
        EXPECT_EQ(0, sigwait(&b.set, &signal));
        EXPECT_EQ(SIGALRM, signal);
    });
}

TEST(Signals, CancelledAndReleasedWaitersLeaveNothing) {
    blocked b{SIGUSR1};
    auto descriptors = [] {
        int n = 0;
        for (int fd = 0; fd < 1024; ++fd)
            n += fcntl(fd, F_GETFD) >= 0;
        return n;
    };
    in_coroutine([] { usleep(1); }); // the loop has its descriptors
    int before = descriptors();
    for (int round = 0; round < 2; ++round) {
        stCoRoutine_t *waiter = go_plain(
            [](void *set) {
                int signal;
                sigwait(static_cast<sigset_t *>(set), &signal);
                ADD_FAILURE();
            },
            &b.set);
        go([=] {
            usleep(late_us);
            if (round == 0)
                co_cancel(waiter);
            else
                co_release(waiter);
        });
        co_run();
        if (round == 0)
            co_release(waiter);
    }
    EXPECT_EQ(before, descriptors());
}

TEST(Signals, PauseEndsWhenAHandlerHasRun) {
    static volatile int handled;
    handler h(SIGUSR1, [](int) { handled = handled + 1; });
    expect_same([](side &s) {
        handled = 0;
        pthread_t self = pthread_self();
        std::thread other([=] {
            ::usleep(3 * late_us);
            pthread_kill(self, SIGUSR1);
        });
        s.says("pause", pause());
        s.says("handled", static_cast<int>(handled));
        other.join();
        // Raised by the thread itself, from another coroutine, while one waits.
        s.partner([=](side &) { usleep(late_us), pthread_kill(self, SIGUSR1); });
        s.says("pause", pause());
        s.says("handled", static_cast<int>(handled));
    });
}

TEST(Signals, SigsuspendLetsItsSignalIn) {
    static volatile int handled;
    handler h(SIGUSR2, [](int) { handled = handled + 1; });
    expect_same([](side &s) {
        handled = 0;
        blocked b{SIGUSR2};
        sigset_t mask = b.before, now;
        sigdelset(&mask, SIGUSR2);
        pthread_t self = pthread_self();
        pthread_kill(self, SIGUSR2);
        s.says("blocked", static_cast<int>(handled));
        s.says("pending already", sigsuspend(&mask));
        s.says("handled", static_cast<int>(handled));
        std::thread other([=] {
            ::usleep(3 * late_us);
            pthread_kill(self, SIGUSR2);
        });
        s.says("later", sigsuspend(&mask));
        s.says("handled", static_cast<int>(handled));
        other.join();
        pthread_sigmask(SIG_BLOCK, nullptr, &now);
        s.says("the mask is as it was", sigismember(&now, SIGUSR2));
        pthread_kill(self, SIGUSR2);
        s.says("one signal", __xpg_sigpause(SIGUSR2));
        s.says("bad", __xpg_sigpause(99));
    });
}

// What the program is told of its handlers is its own.
TEST(Signals, SigactionGivesBackWhatWasInstalled) {
    static volatile int last;
    expect_same([](side &s) {
        struct Handlers {
            static void plain(int) { last = 1; }
            static void with_info(int, siginfo_t *i, void *c) { last = i && c ? i->si_signo : -1; }
        };
        struct sigaction act {};
        struct sigaction old {};
        act.sa_sigaction = Handlers::with_info;
        act.sa_flags = SA_SIGINFO;
        s.says("info", sigaction(SIGUSR1, &act, nullptr));
        s.says("query", sigaction(SIGUSR1, nullptr, &old));
        s.says("same", old.sa_sigaction == Handlers::with_info);
        s.says("flags", old.sa_flags & ~0x04000000);
        raise(SIGUSR1);
        s.says("called", last == SIGUSR1);
        s.says("former", reinterpret_cast<void *>(signal(SIGUSR1, Handlers::plain)) ==
                             reinterpret_cast<void *>(Handlers::with_info));
        raise(SIGUSR1);
        s.says("called", last == 1);
        s.says("former", signal(SIGUSR1, SIG_IGN) == Handlers::plain);
        raise(SIGUSR1);
        s.says("former", signal(SIGUSR1, SIG_DFL) == SIG_IGN);
        s.says("sysv", sysv_signal(SIGUSR1, Handlers::plain) == SIG_DFL);
        last = 0;
        raise(SIGUSR1);
        s.says("called", last == 1);
        s.says("and reset", signal(SIGUSR1, SIG_DFL) == SIG_DFL);
        s.says("kill", sigaction(SIGKILL, &act, nullptr));
        s.says("no such", sigaction(99, &act, nullptr));
        s.says("no such", signal(99, Handlers::plain) == SIG_ERR);
        s.says("unharmed", sigaction(SIGKILL, nullptr, &old));
        s.says("default", old.sa_handler == SIG_DFL);
    });
}

namespace {
int storm_pipe[2], storm_empty;
volatile int storm_wrong, storm_count, storm_inside;
// What a handler may call: everything here is native, whatever was interrupted.
void storm(int) {
    int e = errno;
    storm_inside = 1;
    storm_wrong = storm_wrong + (write(storm_pipe[1], "x", 1) != 1);
    pollfd p{storm_pipe[0], POLLIN, 0};
    storm_wrong = storm_wrong + (poll(&p, 1, 0) != 1);
    char c;
    storm_wrong = storm_wrong + (read(storm_pipe[0], &c, 1) != 1);
    p = {storm_empty, POLLIN, 0};
    int ms = storm_count % 16 == 0; // would park
    storm_wrong = storm_wrong + (poll(&p, 1, ms) > 0);
    int copy = dup(storm_pipe[0]);
    storm_wrong = storm_wrong + (close(copy) != 0);
    storm_count = storm_count + 1;
    storm_inside = 0;
    errno = e;
}
} // namespace

// contract: never yield in a signal handler.
TEST(Signals, AStormOfHandlersThatCall) {
    int empty[2];
    ASSERT_EQ(0, pipe(storm_pipe));
    ASSERT_EQ(0, pipe(empty));
    storm_empty = empty[0];
    storm_wrong = 0;
    storm_count = 0;
    handler h(SIGALRM, storm, SA_RESTART);
    int moved = 0;
    bool done = false;
    constexpr int pairs = 8;
    for (int i = 0; i < pairs; ++i) {
        int fd[2];
        ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
        go([=, &done] {
            char data[100] = {};
            while (!done) {
                send(fd[1], data, sizeof data, 0);
                co_yield_now();
                storm_wrong = storm_wrong + storm_inside; // it has not let us run
            }
            close(fd[1]);
        });
        go([=, &moved] {
            char data[100];
            while (recv(fd[0], data, sizeof data, 0) > 0) {
                ++moved;
                storm_wrong = storm_wrong + storm_inside;
            }
            close(fd[0]);
        });
    }
    go([&] {
        itimerval t{{0, 500}, {0, 500}};
        setitimer(ITIMER_REAL, &t, nullptr);
        while (storm_count < 400)
            usleep(500);
        t = {};
        setitimer(ITIMER_REAL, &t, nullptr);
        done = true;
    });
    co_run();
    EXPECT_EQ(0, storm_wrong);
    EXPECT_GT(moved, 100);
    close(storm_pipe[0]), close(storm_pipe[1]), close(empty[0]), close(empty[1]);
}

// A handler closes what a coroutine waits for: as for any close, it hears EBADF.
TEST(Signals, AHandlerClosesWhatIsWaitedFor) {
    static int victim;
    int fd[2];
    ASSERT_EQ(0, pipe(fd));
    victim = fd[0];
    handler h(SIGUSR1, [](int) { close(victim); });
    in_coroutine([&] {
        stCoRoutine_t *reader = go([&] {
            char c;
            EXPECT_EQ(-1, read(fd[0], &c, 1));
            EXPECT_EQ(EBADF, errno);
        });
        usleep(late_us);
        raise(SIGUSR1);
        co_join(reader, nullptr);
        co_release(reader);
    });
    close(fd[1]);
}

// A handler that is left by a jump leaves no coroutine native for ever.
TEST(Signals, HooksAreBackAfterALongjmpOutOfAHandler) {
    static sigjmp_buf back;
    handler h(SIGUSR1, [](int) { siglongjmp(back, 1); });
    int fd[2];
    ASSERT_EQ(0, pipe(fd));
    bool other_ran = false;
    stCoRoutine_t *reader = go([&] {
        if (sigsetjmp(back, 1) == 0)
            raise(SIGUSR1);
        char c;
        EXPECT_EQ(1, read(fd[0], &c, 1)); // native, it would block the thread
        EXPECT_TRUE(other_ran);
    });
    go([&] {
        other_ran = true;
        EXPECT_EQ(1, write(fd[1], "x", 1));
    });
    alarm(10);
    co_run();
    alarm(0);
    co_release(reader);
    close(fd[0]), close(fd[1]);
}
