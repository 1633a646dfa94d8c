// SPDX-License-Identifier: Apache-2.0
// Contract 19 and 26 for message queues and semaphores between processes.
#include "tests/hooks/both.h"
#include "tests/hooks/ticking.h"

#include <fcntl.h>
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr int late_us = 5000;

struct message {
    long type;
    char text[32];
};

timespec real_time_in(long ms) {
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000)
        ++t.tv_sec, t.tv_nsec -= 1000000000;
    return t;
}

int put(int set, int number, int n, int flags = 0) {
    sembuf b{static_cast<unsigned short>(number), static_cast<short>(n), static_cast<short>(flags)};
    return semop(set, &b, 1);
}

mqd_t open_queue(int flags = 0, long most = 2) {
    mq_attr a{};
    a.mq_maxmsg = most;
    a.mq_msgsize = 16;
    mqd_t q = mq_open("/corun-test", O_RDWR | O_CREAT | O_EXCL | flags, 0600, &a);
    if (q < 0)
        abort();
    mq_unlink("/corun-test");
    return q;
}

} // namespace

TEST(Ipc, MessagesOfSystemV) {
    expect_same([](side &s) {
        int q = msgget(IPC_PRIVATE, 0600);
        message m{1, "one"}, got{};
        s.says("none", msgrcv(q, &got, sizeof got.text, 0, IPC_NOWAIT));
        s.says("bad queue", msgrcv(-1, &got, sizeof got.text, 0, 0));
        s.says("bad type", msgsnd(q, &(m = {0, "none"}), 4, 0));
        s.partner([=](side &) {
            usleep(late_us);
            message other{7, "seven"}, wanted{3, "three"};
            msgsnd(q, &other, 6, 0);
            msgsnd(q, &wanted, 6, 0);
        });
        s.says("third", msgrcv(q, &got, sizeof got.text, 3, 0));
        s.says("type", got.type);
        s.text("text", got.text, 5);
        s.join();
        s.says("too long", msgrcv(q, &got, 2, 0, 0));
        s.says("cut", msgrcv(q, &got, 2, 0, MSG_NOERROR));
        msqid_ds about{};
        msgctl(q, IPC_STAT, &about);
        about.msg_qbytes = 40;
        msgctl(q, IPC_SET, &about);
        m = {1, "full"};
        s.says("fits", msgsnd(q, &m, 30, 0));
        s.says("full", msgsnd(q, &m, 30, IPC_NOWAIT));
        s.partner([=](side &) {
            usleep(late_us);
            message taken;
            msgrcv(q, &taken, sizeof taken.text, 0, 0);
        });
        s.says("room", msgsnd(q, &m, 30, 0));
        s.join();
        s.partner([=](side &) {
            usleep(late_us);
            msgctl(q, IPC_RMID, nullptr);
        });
        s.says("removed", msgrcv(q, &got, sizeof got.text, 9, 0));
        s.join();
        s.says("gone", msgrcv(q, &got, sizeof got.text, 9, 0));
    });
}

TEST(Ipc, SemaphoresOfSystemV) {
    expect_same([](side &s) {
        int set = semget(IPC_PRIVATE, 2, 0600);
        sembuf ops[2] = {{0, -1, 0}, {1, -1, 0}};
        timespec t{0, 3000000}, bad{0, -1};
        s.says("not now", put(set, 0, -1, IPC_NOWAIT));
        s.says("3 ms", semtimedop(set, ops, 1, &t));
        s.says("bad time", semtimedop(set, ops, 1, &bad));
        s.says("no such", put(set, 9, -1));
        s.says("none", semop(set, ops, 0));
        s.partner(
            [=](side &) { usleep(late_us), put(set, 0, 1), usleep(late_us), put(set, 1, 1); });
        s.says("both", semop(set, ops, 2));
        s.says("taken", semctl(set, 0, GETVAL));
        s.join();
        put(set, 0, 2);
        s.partner(
            [=](side &) { usleep(late_us), put(set, 0, -1), usleep(late_us), put(set, 0, -1); });
        s.says("zero", put(set, 0, 0));
        s.join();
        ops[0].sem_flg = IPC_NOWAIT;
        s.says("the first may not wait", semop(set, ops, 2));
        put(set, 0, 1);
        ops[0].sem_flg = 0, ops[1].sem_flg = IPC_NOWAIT;
        s.says("the second may not wait", semop(set, ops, 2));
        s.says("nothing taken", semctl(set, 0, GETVAL));
        ops[0].sem_flg = IPC_NOWAIT, ops[1].sem_flg = 0;
        s.partner([=](side &) { usleep(late_us), put(set, 1, 1); });
        s.says("the second waits", semop(set, ops, 2));
        s.join();
        s.says("undo", put(set, 0, 3, SEM_UNDO));
        s.says("undone", put(set, 0, -3, SEM_UNDO));
        s.partner([=](side &) { usleep(late_us), semctl(set, 0, IPC_RMID); });
        s.says("removed", put(set, 0, -1));
        s.join();
    });
}

TEST(Ipc, QueuesOfPosix) {
    expect_same([](side &s) {
        mqd_t q = open_queue();
        char text[32] = {};
        unsigned priority = 0;
        timespec soon = real_time_in(5), past{1, 0}, bad{0, 1000000000};
        s.says("timed", mq_timedreceive(q, text, sizeof text, &priority, &soon));
        s.says("past", mq_timedreceive(q, text, sizeof text, &priority, &past));
        s.says("bad time", mq_timedreceive(q, text, sizeof text, &priority, &bad));
        s.says("too small", mq_receive(q, text, 4, nullptr));
        s.says("bad queue", mq_receive(-1, text, sizeof text, nullptr));
        s.partner([=](side &) { usleep(late_us), mq_send(q, "hello", 5, 3); });
        s.says("received", mq_receive(q, text, sizeof text, &priority));
        s.text("text", text, 5);
        s.says("priority", priority);
        s.join();
        s.says("sent", mq_send(q, "a", 1, 1));
        s.says("sent", mq_send(q, "b", 1, 2));
        soon = real_time_in(5);
        s.says("full", mq_timedsend(q, "c", 1, 0, &soon));
        s.says("too long", mq_send(q, text, 17, 0));
        s.partner([=](side &) {
            usleep(late_us);
            char taken[16];
            mq_receive(q, taken, sizeof taken, nullptr);
        });
        s.says("room", mq_send(q, "d", 1, 0));
        s.join();
        s.says("close", mq_close(q));
        s.says("closed", mq_receive(q, text, sizeof text, nullptr));
        q = open_queue(O_NONBLOCK);
        s.says("non-blocking", mq_receive(q, text, sizeof text, nullptr));
        s.says("still", fcntl(q, F_GETFL) & O_NONBLOCK);
        mq_close(q);
        s.says("no such", mq_open("/corun-no-such", O_RDONLY));
    });
}

TEST(Ipc, SeveralWaitOnOneQueue) {
    mqd_t q = open_queue(0, 4);
    int got = 0;
    for (int i = 0; i < 12; ++i)
        go([&] {
            char text[16];
            got += mq_receive(q, text, sizeof text, nullptr) == 1;
        });
    go([&] {
        usleep(late_us);
        for (int i = 0; i < 12; ++i)
            EXPECT_EQ(0, mq_send(q, "x", 1, 0));
    });
    co_run();
    EXPECT_EQ(12, got);
    mq_close(q);
}

// A change made by this process wakes at once; 200 turns by looking again alone would take 2 s.
TEST(Ipc, PingPongBetweenCoroutinesDoesNotWaitForTheNextLook) {
    int set = semget(IPC_PRIVATE, 2, 0600);
    auto begin = std::chrono::steady_clock::now();
    for (int side = 0; side < 2; ++side)
        go([=] {
            for (int i = 0; i < 200; ++i) {
                if (side == 0)
                    put(set, 0, 1), put(set, 1, -1);
                else
                    put(set, 0, -1), put(set, 1, 1);
            }
        });
    co_run();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(1000));
    semctl(set, 0, IPC_RMID);
}

// contract 26
TEST(Ipc, OthersTickWhileOneWaitsForAnotherProcess) {
    expect_others_tick([] {
        int q = msgget(IPC_PRIVATE, 0600);
        pid_t pid = fork();
        if (pid == 0) {
            timespec t{0, 60000000};
            syscall(SYS_nanosleep, &t, nullptr);
            message m{1, "late"};
            msgsnd(q, &m, 5, IPC_NOWAIT);
            _exit(0);
        }
        message m{};
        EXPECT_EQ(5, msgrcv(q, &m, sizeof m.text, 0, 0));
        EXPECT_STREQ("late", m.text);
        msgctl(q, IPC_RMID, nullptr);
        EXPECT_EQ(pid, waitpid(pid, nullptr, 0));
    });
}

// contract 37
TEST(Ipc, MessagesOnASharedStack) {
    stShareStack_t *stack = co_alloc_sharestack(1, 128 * 1024);
    int q[2] = {msgget(IPC_PRIVATE, 0600), msgget(IPC_PRIVATE, 0600)}, wrong = 0;
    mqd_t mq[2] = {open_queue(), open_queue()};
    for (int i = 0; i < 2; ++i)
        go(
            [&, i] {
                char canary[128];
                memset(canary, i, sizeof canary);
                for (int n = 0; n < 10; ++n) {
                    message m{};
                    char text[16] = {};
                    wrong += msgrcv(q[i], &m, sizeof m.text, 0, 0) != 2 || m.text[0] != 'a' + i;
                    wrong +=
                        mq_receive(mq[i], text, sizeof text, nullptr) != 1 || text[0] != 'A' + i;
                }
                for (char c : canary)
                    wrong += c != i;
            },
            stack);
    go([&] {
        for (int n = 0; n < 10; ++n)
            for (int i = 1; i >= 0; --i) {
                usleep(100);
                message m{1, {static_cast<char>('a' + i)}};
                msgsnd(q[i], &m, 2, 0);
                usleep(100);
                char text = static_cast<char>('A' + i);
                mq_send(mq[i], &text, 1, 0);
            }
    });
    co_run();
    EXPECT_EQ(0, wrong);
    for (int i = 0; i < 2; ++i)
        msgctl(q[i], IPC_RMID, nullptr), mq_close(mq[i]);
}

TEST(Ipc, CancelledWaitersTakeNothing) {
    int set = semget(IPC_PRIVATE, 1, 0600);
    auto take = [](void *from) { put(*static_cast<int *>(from), 0, -1); };
    stCoRoutine_t *cancelled = go_plain(take, &set), *released = go_plain(take, &set);
    go([=] {
        usleep(late_us);
        co_cancel(cancelled);
        co_release(released);
        put(set, 0, 1);
        usleep(10 * late_us);
        EXPECT_EQ(1, semctl(set, 0, GETVAL));
    });
    co_run();
    co_release(cancelled);
    semctl(set, 0, IPC_RMID);
}
