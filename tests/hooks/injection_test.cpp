// SPDX-License-Identifier: Apache-2.0
// Every hooked call meets every error at its first, second and third system call: it gives that error
// or succeeds, and leaves nothing behind: no descriptor, no coroutine, no waiter. Only in the SAN=
// builds, where the system calls of the runtime can be answered by a test (base/raw_sys.h).
#include "co_routine/base/raw_sys.h"

#include "tests/hooks/both.h"
#include "tests/hooks/net.h"

#include <csignal>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/uio.h>

namespace {

#if defined(CO_CHECK_LEVEL) && CO_CHECK_LEVEL >= 2

namespace sys = corun::sys;

// Armed for one coroutine, for its nth system call from now on.
stCoRoutine_t *target;
char under_way[100];
int calls_until, error_to_give, given;

bool answer(long nr, sys::word *result) {
    if (!target || co_self() != target || calls_until == 0)
        return false;
    // What frees cannot fail, and close has closed.
    if (nr == SYS_munmap || nr == SYS_close || nr == SYS_madvise)
        return false;
    if (--calls_until != 0)
        return false;
    *result = -error_to_give;
    ++given;
    return true;
}

struct pair_of_ends {
    int fd[2];
};
using call = long (*)(pair_of_ends e, char *buffer);
using make = void (*)(pair_of_ends &e);
// What ends the wait of a call that waits, however it was disturbed.
using help = void (*)(pair_of_ends e);

void make_pipe(pair_of_ends &e) { ASSERT_EQ(pipe(e.fd), 0); }
void make_sockets(pair_of_ends &e) { ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, e.fd), 0); }
void make_tcp(pair_of_ends &e) { tcp_pair(e.fd); }
void make_event(pair_of_ends &e) { e.fd[0] = e.fd[1] = eventfd(0, 0); }
void make_file(pair_of_ends &e) {
    char name[] = "/tmp/corun-injection-XXXXXX";
    e.fd[0] = e.fd[1] = mkstemp(name);
    unlink(name);
    ASSERT_EQ(pwrite(e.fd[0], "12345678", 8, 0), 8);
}
void make_listener(pair_of_ends &e) {
    e.fd[0] = listener();
    e.fd[1] = socket(AF_INET, SOCK_STREAM, 0);
}
void write_eight(pair_of_ends e) { (void)!write(e.fd[1], "\1\0\0\0\0\0\0\0", 8); }
void connect_it(pair_of_ends e) {
    sockaddr_in to = loopback(port_of(e.fd[0]));
    connect(e.fd[1], any(&to), sizeof to);
}
void nothing(pair_of_ends) {}

struct kind {
    const char *name;
    make prepare;
    call made;
    help helper;
};

long call_recvmsg(pair_of_ends e, char *b) {
    iovec part{b, 8};
    msghdr m{};
    m.msg_iov = &part;
    m.msg_iovlen = 1;
    return recvmsg(e.fd[0], &m, 0);
}
long call_accept(pair_of_ends e, char *) {
    int fd = accept(e.fd[0], nullptr, nullptr);
    if (fd >= 0)
        close(fd);
    return fd;
}
long call_connect(pair_of_ends e, char *) {
    sockaddr_in to = loopback(port_of(e.fd[0]));
    return connect(e.fd[1], any(&to), sizeof to);
}
long call_select(pair_of_ends e, char *) {
    fd_set in;
    FD_ZERO(&in);
    FD_SET(e.fd[0], &in);
    return select(e.fd[0] + 1, &in, nullptr, nullptr, nullptr);
}
long call_poll(pair_of_ends e, char *) {
    pollfd p{e.fd[0], POLLIN, 0};
    return poll(&p, 1, 5000);
}
long call_dup(pair_of_ends e, char *) {
    int fd = dup(e.fd[0]);
    if (fd >= 0)
        close(fd);
    return fd;
}

const kind kinds[] = {
    {"read of a pipe", make_pipe,
     [](pair_of_ends e, char *b) -> long { return read(e.fd[0], b, 8); }, write_eight},
    {"read of a socket", make_sockets,
     [](pair_of_ends e, char *b) -> long { return read(e.fd[0], b, 8); }, write_eight},
    {"recv of TCP", make_tcp,
     [](pair_of_ends e, char *b) -> long { return recv(e.fd[0], b, 8, 0); }, write_eight},
    {"recv of all", make_tcp,
     [](pair_of_ends e, char *b) -> long { return recv(e.fd[0], b, 8, MSG_WAITALL); }, write_eight},
    {"recvmsg", make_sockets, call_recvmsg, write_eight},
    {"read of an eventfd", make_event,
     [](pair_of_ends e, char *b) -> long { return read(e.fd[0], b, 8); }, write_eight},
    {"read of a file", make_file,
     [](pair_of_ends e, char *b) -> long { return read(e.fd[0], b, 8); }, nothing},
    {"pread of a file", make_file,
     [](pair_of_ends e, char *b) -> long { return pread(e.fd[0], b, 8, 0); }, nothing},
    {"write to a pipe", make_pipe,
     [](pair_of_ends e, char *b) -> long { return write(e.fd[1], b, 8); }, nothing},
    {"send", make_sockets, [](pair_of_ends e, char *b) -> long { return send(e.fd[1], b, 8, 0); },
     nothing},
    {"pwrite to a file", make_file,
     [](pair_of_ends e, char *b) -> long { return pwrite(e.fd[1], b, 8, 0); }, nothing},
    {"accept", make_listener, call_accept, connect_it},
    {"connect", make_listener, call_connect, nothing},
    {"poll", make_pipe, call_poll, write_eight},
    {"select", make_pipe, call_select, write_eight},
    {"usleep", make_pipe, [](pair_of_ends, char *) -> long { return usleep(100); }, nothing},
    {"dup", make_pipe, call_dup, nothing},
};

constexpr int errors[] = {EINTR, EAGAIN,     ENOMEM, EMFILE,    EIO,
                          EBADF, ECONNRESET, ENOSPC, EOPNOTSUPP};

int open_descriptors() {
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        ++n;
    closedir(d);
    return n;
}

struct outcome {
    long result = 0;
    int error = 0;
};

// The call in a coroutine, with the nth system call of it failing (0: none), and a helper that ends
// its wait.
outcome call_with(const kind &k, pair_of_ends e, int nth, int error) {
    outcome o;
    stCoRoutine_t *co = go([&] {
        char buffer[16] = {};
        target = co_self();
        error_to_give = error;
        calls_until = nth;
        o.result = k.made(e, buffer);
        o.error = errno;
        target = nullptr;
    });
    stCoRoutine_t *other = go([&] {
        co_yield_now();
        co_yield_now();
        k.helper(e);
    });
    co_run();
    co_release(co);
    co_release(other);
    return o;
}

void shut(pair_of_ends e) {
    close(e.fd[0]);
    if (e.fd[1] != e.fd[0])
        close(e.fd[1]);
}

TEST(Injection, EachErrorAtEachSystemCallIsTheResultOrIsOvercomeAndNothingStays) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, [](int) {
        (void)!write(2, under_way, strlen(under_way));
        co_dump(2, 0);
        abort();
    });
    sys::call_stand_in = answer;
    for (int i = 0; i < 2; ++i) // what is made once is made: the loop, io_uring, helpers
        for (const kind &k : kinds) {
            pair_of_ends e;
            k.prepare(e);
            outcome o = call_with(k, e, 0, 0);
            EXPECT_GE(o.result, 0) << k.name << " undisturbed: " << strerrorname_np(o.error);
            shut(e);
        }
    int before = open_descriptors();
    for (const kind &k : kinds)
        for (int error : errors)
            for (int nth = 1; nth <= 3; ++nth) {
                SCOPED_TRACE(std::string(k.name) + " with " + strerrorname_np(error) +
                             " at its system call " + std::to_string(nth));
                // With data there and its edge gone the kernel never says EAGAIN.
                if (error == EAGAIN && nth > 1)
                    continue;
                snprintf(under_way, sizeof under_way, "no end: %s, errno %d at %d\n", k.name, error,
                         nth);
                alarm(10);
                pair_of_ends e;
                k.prepare(e);
                outcome o = call_with(k, e, nth, error);
                if (o.result < 0) {
                    EXPECT_EQ(o.error, error) << strerrorname_np(o.error);
                }
                shut(e);
                // And the next one, on numbers that are used again, is as if nothing had been.
                k.prepare(e);
                o = call_with(k, e, 0, 0);
                EXPECT_GE(o.result, 0) << "the next: " << strerrorname_np(o.error);
                shut(e);
                EXPECT_EQ(open_descriptors(), before);
                if (HasFailure())
                    before = open_descriptors();
            }
    alarm(0);
    sys::call_stand_in = nullptr;
    EXPECT_GT(given, 100);
    co_stats stats;
    ASSERT_EQ(co_get_stats(&stats), 0);
}

#else

TEST(Injection, EachErrorAtEachSystemCallIsTheResultOrIsOvercomeAndNothingStays) {
    GTEST_SKIP() << "the system calls can be answered by a test in the SAN= builds only";
}

#endif

} // namespace
