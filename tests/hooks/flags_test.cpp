// SPDX-License-Identifier: Apache-2.0
// The flags of an open file are the program's: after waits on each kind, /proc/self/fdinfo shows what
// the program set, and stdin, which the parent shares, is as it was. Contract 21.
#include "tests/hooks/both.h"
#include "tests/hooks/net.h"

#include <cstdio>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

namespace {

unsigned long shown_flags(int fd) {
    char path[64], line[64];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE *f = fopen(path, "r");
    unsigned long flags = ~0UL;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "flags: %lo", &flags) == 1)
            break;
    if (f)
        fclose(f);
    return flags;
}

TEST(Flags, OfEveryDescriptorAreThoseThatTheProgramSet) {
    unsigned long of_stdin = shown_flags(0);
    expect_same([](side &s) {
        int fds[8];
        s.says("pipe", pipe2(fds, O_CLOEXEC));
        s.says("pipe", pipe2(fds + 2, O_NONBLOCK));
        s.says("sockets", socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds + 4));
        tcp_pair(fds + 6);
        char c;
        s.partner([&](side &p) {
            usleep(2000);
            p.says("write", write(fds[1], "x", 1));
            p.says("send", send(fds[7], "x", 1, 0));
        });
        s.says("read", read(fds[0], &c, 1)); // waits
        s.says("recv", recv(fds[6], &c, 1, 0));
        s.says("read", read(fds[2], &c, 1)); // does not
        s.says("recv", recv(fds[4], &c, 1, 0));
        pollfd p{0, POLLIN, 0};
        s.says("poll", poll(&p, 1, 0) >= 0 ? 1 : 0);
        for (int fd : fds)
            s.says("flags", shown_flags(fd));
        s.join();
        for (int fd : fds)
            close(fd);
    });
    EXPECT_EQ(shown_flags(0), of_stdin);
}

} // namespace
